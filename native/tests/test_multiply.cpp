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

template <class T>
void multiply(Random& random, const Sides& s, Word threads, ost_parallel parallel, double tolerance) {
  const Operand<T> a(random, s.m, s.k, s.a_turned, s.gap), b(random, s.k, s.n, s.b_turned, s.gap);
  const Operand<T> init(random, s.init == Sides::bias ? 1 : s.m, s.n, false, s.gap);
  Operand<T> c(random, s.m, s.n, false, s.gap);
  const Operand<T> before = c;
  std::vector<T> sums(s.n, T(99));
  ost_product p{};
  p.bytes = sizeof(T);
  p.m = s.m, p.n = s.n, p.k = s.k;
  p.a = a.values.data(), p.a_m = a.row, p.a_k = a.column;
  p.b = b.values.data(), p.b_k = b.row, p.b_n = b.column;
  if (s.init != Sides::none) p.init = init.values.data(), p.init_m = s.init == Sides::bias ? 0 : init.row;
  p.c = c.values.data(), p.c_m = c.row;
  if (s.sums) p.sums = sums.data();
  p.threads = threads, p.parallel = parallel;
  CHECK(ost_multiply(&p) == OST_OK, ost_message());
  const auto what = [&] {
    return std::to_string(s.m) + " x " + std::to_string(s.n) + " x " + std::to_string(s.k) + ", " +
           std::to_string(threads) + " threads";
  };
  for (Word m = 0; m < s.m; ++m)
    for (Word n = 0; n < s.n; ++n) {
      double sum = s.init == Sides::none ? 0 : init.at(s.init == Sides::bias ? 0 : m, n);
      for (Word k = 0; k < s.k; ++k) sum += a.at(m, k) * b.at(k, n);
      CHECK(check::close(c.at(m, n), sum, tolerance * std::sqrt(double(s.k) + 1)), what(), " at ", m, ", ", n);
    }
  for (Word n = 0; s.sums && n < s.n; ++n) {
    double sum = 0;
    for (Word k = 0; k < s.k; ++k) sum += b.at(k, n);
    CHECK(check::close(sums[n], sum, tolerance * std::sqrt(double(s.k) + 1)), what(), ", sums at ", n);
  }
  for (Word m = 0; m + 1 < s.m; ++m)
    for (Word i = s.n; i < c.row; ++i) CHECK(c.values[m * c.row + i] == before.values[m * c.row + i], what(), ", gap");
}

Sides random_sides(Random& random, Word most) {
  const auto size = [&] { return pick(random, 0, 3) ? pick(random, 1, most / 4) : pick(random, 1, most); };
  return {size(), size(), size(), pick(random, 0, 1) == 1, pick(random, 0, 1) == 1, pick(random, 0, 1) * 3,
          decltype(Sides::init)(pick(random, 0, 2)), pick(random, 0, 1) == 1};
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
    std::vector<float> c(m * n), sums(n);
    ost_product p{4, m, n, k, a.values.data(), 1, a.row, b.values.data(), b.row, 1, nullptr, 0,
                  c.data(), n, sums.data(), 4, parallel};
    CHECK(ost_multiply(&p) == OST_OK, ost_message());
    c.insert(c.end(), sums.begin(), sums.end());
    if (first.empty()) first = c;
    CHECK(c == first);
  }
}

TEST(products_that_cannot_be) {
  std::vector<float> values(16, 1);
  const ost_product good{4, 4, 4, 4, values.data(), 4, 1, values.data(), 4, 1,
                         nullptr, 0, nullptr, 4, nullptr, 1, nullptr};
  const auto code = [&](auto&& change) {
    std::vector<float> c(16);
    ost_product p = good;
    p.c = c.data();
    change(p);
    return ost_multiply(&p);
  };
  CHECK(code([](ost_product&) {}) == OST_OK);
  CHECK(code([](ost_product& p) { p.bytes = 2; }) == OST_INVALID);
  CHECK(code([](ost_product& p) { p.m = -1; }) == OST_INVALID);
  CHECK(code([](ost_product& p) { p.n = -1; }) == OST_INVALID);
  CHECK(code([](ost_product& p) { p.k = -1; }) == OST_INVALID);
  CHECK(code([](ost_product& p) { p.a = nullptr; }) == OST_INVALID);
  CHECK(code([](ost_product& p) { p.b = nullptr; }) == OST_INVALID);
  CHECK(code([](ost_product& p) { p.c = nullptr; }) == OST_INVALID);
  CHECK(ost_multiply(nullptr) == OST_INVALID);
}
