// ost_multiply on random shapes and strides against a plain loop.
#include <algorithm>
#include <cstring>

#include "check.h"
#include "parallel.h"
#include "words.h"

namespace {

struct Sides {
  Word m, n, k;
  bool a_turned, b_turned;
  Word gap;
  enum { none, bias, matrix } init;
  bool sums;
  Word rights = 1;
};

// An operand of rows x columns with `gap` elements between what is stored side by side.
template <class T>
struct Operand {
  std::vector<T> values;
  Word row, column;

  Operand(Random& random, Word rows, Word columns, bool turned, Word gap)
      : row(turned ? 1 : columns + gap), column(turned ? rows + gap : 1) {
    std::uniform_real_distribution<double> any(-1, 1);
    values.resize(turned ? columns * column : rows * row);
    for (T& value : values) value = T(any(random));
  }
  double at(Word r, Word c) const { return values[r * row + c * column]; }
};

// A right side, each a column wider than the one before.
template <class T>
struct Right {
  Word n;
  Operand<T> b, init, c, before;

  Right(Random& random, const Sides& s, Word more)
      : n(s.n + more), b(random, s.k, n, s.b_turned, s.gap),
        init(random, s.init == Sides::bias ? 1 : s.m, n, false, s.gap), c(random, s.m, n, false, s.gap), before(c) {}

  ost_right given(const Sides& s) {
    ost_right r{n, b.values.data(), b.row, b.column, nullptr, 0, c.values.data(), c.row};
    if (s.init != Sides::none) r.init = init.values.data(), r.init_m = s.init == Sides::bias ? 0 : init.row;
    return r;
  }
};

template <class T>
void multiply(Random& random, const Sides& s, Word threads, ost_parallel parallel, double tolerance) {
  const Operand<T> a(random, s.m, s.k, s.a_turned, s.gap);
  std::vector<Right<T>> rights;
  for (Word j = 0; j < s.rights; ++j) rights.emplace_back(random, s, j);
  std::vector<ost_right> given;
  for (Right<T>& right : rights) given.push_back(right.given(s));
  std::vector<T> sums(s.m, T(99));
  ost_product p{};
  p.bytes = sizeof(T);
  p.m = s.m, p.k = s.k;
  p.a = a.values.data(), p.a_m = a.row, p.a_k = a.column;
  p.rights = s.rights, p.right = given.data();
  if (s.sums) p.sums = sums.data();
  p.threads = threads, p.parallel = parallel;
  CHECK(ost_multiply(&p) == OST_OK, ost_message());
  const auto what = [&] {
    return std::to_string(s.m) + " x " + std::to_string(s.n) + " x " + std::to_string(s.k) + ", " +
           std::to_string(s.rights) + " right sides, " + std::to_string(threads) + " threads";
  };
  const double within = tolerance * std::sqrt(double(s.k) + 1);
  for (const Right<T>& right : rights) {
    for (Word m = 0; m < s.m; ++m)
      for (Word n = 0; n < right.n; ++n) {
        double sum = s.init == Sides::none ? 0 : right.init.at(s.init == Sides::bias ? 0 : m, n);
        for (Word k = 0; k < s.k; ++k) sum += a.at(m, k) * right.b.at(k, n);
        CHECK(check::close(right.c.at(m, n), sum, within), what(), " at ", m, ", ", n);
      }
    for (Word m = 0; m + 1 < s.m; ++m)
      for (Word i = m * right.c.row + right.n; i < (m + 1) * right.c.row; ++i)
        CHECK(right.c.values[i] == right.before.values[i], what(), ", gap");
  }
  for (Word m = 0; s.sums && m < s.m; ++m) {
    double sum = 0;
    for (Word k = 0; k < s.k; ++k) sum += a.at(m, k);
    CHECK(check::close(sums[m], sum, within), what(), ", sums at ", m);
  }
}

Sides random_sides(Random& random, Word most) {
  const auto size = [&] { return pick(random, 0, 3) ? pick(random, 1, most / 4) : pick(random, 1, most); };
  return {size(), size(), size(), pick(random, 0, 1) == 1, pick(random, 0, 1) == 1, pick(random, 0, 1) * 3,
          decltype(Sides::init)(pick(random, 0, 2)), pick(random, 0, 1) == 1, pick(random, 0, 3)};
}

}  // namespace

TEST(random_products) {
  for (std::uint64_t seed = 0; seed < 150; ++seed) {
    Random random(seed);
    const Sides sides = random_sides(random, 120);
    multiply<float>(random, sides, 1, nullptr, 1e-6);
    multiply<double>(random, sides, 1, nullptr, 1e-15);
  }
}

TEST(large_and_thin_products) {
  Random random(1);
  const Sides all[] = {
      {3, 2, 1500, true, false, 0, Sides::matrix, true}, {700, 3, 2, false, true, 3, Sides::bias, false},
      {2, 900, 5, false, false, 0, Sides::none, true},   {70, 80, 600, true, true, 3, Sides::bias, true},
      {1, 1, 1, false, false, 0, Sides::none, true},     {130, 290, 270, true, false, 0, Sides::bias, true}};
  for (const Sides& sides : all) {
    multiply<float>(random, sides, 1, nullptr, 1e-6);
    multiply<double>(random, sides, 2, granted::all, 1e-15);
  }
}

TEST(products_of_nothing) {
  Random random(1);
  for (auto init : {Sides::none, Sides::bias, Sides::matrix}) {
    multiply<float>(random, {3, 4, 0, false, false, 0, init, true}, 1, nullptr, 1e-6);
    multiply<float>(random, {0, 4, 3, false, false, 0, init, true}, 1, nullptr, 1e-6);
    multiply<double>(random, {3, 0, 3, false, false, 0, init, true}, 2, granted::all, 1e-15);
  }
}

TEST(products_by_threads) {
  for (const ost_parallel parallel : {granted::all, granted::fewer, granted::one, granted::late})
    for (Word threads : {2, 3, 8})
      for (std::uint64_t seed = 0; seed < 4; ++seed) {
        Random random(seed);
        Sides sides = random_sides(random, 160);
        if (seed == 0) sides.k = 3000, sides.m = 9, sides.n = 40;
        multiply<float>(random, sides, threads, parallel, 1e-6);
        multiply<double>(random, sides, threads, parallel, 1e-15);
      }
}

// The same number of threads asked for gives the same bits, however many come.
TEST(products_repeat) {
  const Word n = 60, m = 50, k = 2000;
  Random random(1);
  const Operand<float> a(random, k, m, false, 0), b(random, k, n, false, 0);
  std::vector<float> first;
  for (const ost_parallel parallel : {granted::all, granted::fewer, granted::one, granted::late}) {
    std::vector<float> c(m * n), sums(m);
    const ost_right right{n, b.values.data(), b.row, 1, nullptr, 0, c.data(), n};
    const ost_product p{4, m, k, a.values.data(), 1, a.row, 1, &right, sums.data(), 4, parallel};
    CHECK(ost_multiply(&p) == OST_OK, ost_message());
    c.insert(c.end(), sums.begin(), sums.end());
    if (first.empty()) first = c;
    CHECK(c == first);
  }
}

TEST(products_that_cannot_be) {
  std::vector<float> values(16, 1);
  const auto code = [&](auto&& change) {
    std::vector<float> c(16);
    ost_right right{4, values.data(), 4, 1, nullptr, 0, c.data(), 4};
    ost_product p{4, 4, 4, values.data(), 4, 1, 1, &right, nullptr, 1, nullptr};
    change(p, right);
    return ost_multiply(&p);
  };
  CHECK(code([](ost_product&, ost_right&) {}) == OST_OK);
  CHECK(code([](ost_product& p, ost_right&) { p.bytes = 2; }) == OST_INVALID);
  CHECK(code([](ost_product& p, ost_right&) { p.m = -1; }) == OST_INVALID);
  CHECK(code([](ost_product&, ost_right& r) { r.n = -1; }) == OST_INVALID);
  CHECK(code([](ost_product& p, ost_right&) { p.k = -1; }) == OST_INVALID);
  CHECK(code([](ost_product& p, ost_right&) { p.rights = -1; }) == OST_INVALID);
  CHECK(code([](ost_product& p, ost_right&) { p.a = nullptr; }) == OST_INVALID);
  CHECK(code([](ost_product& p, ost_right&) { p.right = nullptr; }) == OST_INVALID);
  CHECK(code([](ost_product&, ost_right& r) { r.b = nullptr; }) == OST_INVALID);
  CHECK(code([](ost_product&, ost_right& r) { r.c = nullptr; }) == OST_INVALID);
  CHECK(ost_multiply(nullptr) == OST_INVALID);
}
