// Every pointwise kernel of every instruction set that this machine runs, against the C library in long double: values
// within units in the last place, all splat masks, odd sizes, memory that ends where the operands end.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "kernels.h"
#include "ostinato.h"

using namespace ostinato;
using Real = long double;

namespace {

int failures = 0;

#define CHECK(condition, ...)                                  \
  do {                                                         \
    if (!(condition) && ++failures <= 50) {                    \
      std::printf("%s:%d: %s: ", __FILE__, __LINE__, #condition); \
      std::printf(__VA_ARGS__);                                \
      std::printf("\n");                                       \
    }                                                          \
  } while (0)

template <class T>
const Kernels<T>* table_of(const std::string& isa) {
#if defined(__x86_64__)
  if (isa == "avx512") return kernels_avx512<T>();
  if (isa == "avx2") return kernels_avx2<T>();
#endif
#if defined(__aarch64__)
  if (isa == "neon") return kernels_neon<T>();
#endif
  return isa == "baseline" ? kernels_baseline<T>() : nullptr;
}

constexpr int arity[] = {
#define OSTINATO_ARITY(name, n) n,
    OSTINATO_OPCODES(OSTINATO_ARITY)
#undef OSTINATO_ARITY
};

// `n` elements that end where a page begins which may not be touched.
template <class T>
class Guarded {
 public:
  explicit Guarded(Index n) {
    const std::size_t page = sysconf(_SC_PAGESIZE), bytes = n * sizeof(T);
    size_ = (bytes + page - 1) / page * page;
    base_ = static_cast<char*>(mmap(nullptr, size_ + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (base_ == MAP_FAILED || mprotect(base_ + size_, page, PROT_NONE)) std::abort();
    size_ += page;
    at = reinterpret_cast<T*>(base_ + size_ - page - bytes);
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  ~Guarded() { munmap(base_, size_); }

  T* at;

 private:
  char* base_;
  std::size_t size_;
};

// The exact value, and the largest number on the way to it: the result may carry its rounding, or its overflow.
struct Exact {
  Real value, size;
  bool rounded_within = false;
};

// `least`: the smallest normal number, for what is lost below it.
Exact exact(int op, Real a, Real b, Real c, Real least) {
  const auto just = [](Real v) { return Exact{v, std::abs(v)}; };
  const auto sum = [](Real v, Real one, Real two, Real three = 0) {
    return Exact{v, std::max({std::abs(one), std::abs(two), std::abs(three)}), true};
  };
  switch (op) {
    case op_copy: return just(a);
    case op_neg: return just(-a);
    case op_abs: return just(std::abs(a));
    case op_sign: return just((a > 0) - (a < 0));
    case op_floor: return just(std::floor(a));
    case op_ceil: return just(std::ceil(a));
    case op_round: return just(std::nearbyint(a));
    case op_relu: return just(std::isnan(a) ? a : std::max<Real>(a, 0));
    case op_exp: return just(std::exp(a));
    case op_expm1: return just(std::expm1(a));
    case op_log: return just(std::log(a));
    case op_log1p: return just(std::log1p(a));
    case op_tanh: return just(std::tanh(a));
    case op_sigmoid: return just(a < 0 ? std::exp(a) / (1 + std::exp(a)) : 1 / (1 + std::exp(-a)));
    case op_sqrt: return just(std::sqrt(a));
    case op_rsqrt: return just(1 / std::sqrt(a));
    case op_reciprocal: return just(1 / a);
    case op_sin: return just(std::sin(a));
    case op_cos: return just(std::cos(a));
    case op_erf: return just(std::erf(a));
    case op_not: return just(a == 0);
    case op_truth: return just(a != 0);
    case op_add: return just(a + b);
    case op_sub: return just(a - b);
    case op_mul: return just(a * b);
    case op_div: return just(a / b);
    case op_maximum: return just(std::isnan(a) ? a : std::isnan(b) ? b : std::max(a, b));
    case op_minimum: return just(std::isnan(a) ? a : std::isnan(b) ? b : std::min(a, b));
    case op_pow: return just(std::pow(a, b));
    case op_gt: return just(a > b);
    case op_ge: return just(a >= b);
    case op_lt: return just(a < b);
    case op_le: return just(a <= b);
    case op_eq: return just(a == b);
    case op_ne: return just(a != b);
    case op_and: return just(a != 0 && b != 0);
    case op_or: return just(a != 0 || b != 0);
    case op_xor: return just((a != 0) != (b != 0));
    case op_where: return just(a != 0 ? b : c);
    case op_muladd: return sum(a * b + c, a * b, c);
    case op_submul: return sum(a - b * c, a, b * c);
    case op_dtanh: return sum(a * (1 - b * b), a, a * b * b, b * b);
    case op_dsigmoid: return sum(a * (b * (1 - b)), a * std::max<Real>(std::abs(b), least), a * b * b, b * b);
    case op_lerp: return sum((1 - c) * a + c * b, (1 - c) * a, c * b);
  }
  std::abort();
}

// In units of the last place of T.
template <class T>
double limit(int op) {
  switch (op) {
    case op_exp: case op_expm1: case op_log: case op_log1p: case op_tanh: return 2.5;
    case op_sigmoid: return 3;
    case op_erf: return sizeof(T) == 4 ? 3 : 2;
    case op_sin: case op_cos: case op_pow: case op_rsqrt: return 1.6;
    case op_muladd: case op_submul: case op_dtanh: return 2.5;
    case op_dsigmoid: case op_lerp: return 4;
    default: return 0.51;
  }
}

template <class T>
Real unit(Real size) {
  using L = std::numeric_limits<T>;
  const int exponent = std::ilogb(std::clamp<Real>(std::abs(size), L::min(), L::max()));
  return std::ldexp(Real(1), exponent + 1 - L::digits);
}

template <class T>
double error(T got, const Exact& want) {
  const T rounded = static_cast<T>(want.value);
  if (want.rounded_within && !(want.size < std::numeric_limits<T>::max()) && !std::isfinite(got)) return 0;
  if (std::isnan(want.value) || std::isnan(got)) return std::isnan(want.value) == std::isnan(got) ? 0 : HUGE_VAL;
  if (got == rounded) return std::isinf(got) ? 0 : static_cast<double>(std::abs(got - want.value) / unit<T>(want.size));
  // Beyond the largest number by less than a rounding, and before it by as much.
  if (std::isinf(rounded) && !std::isinf(got)) return std::abs(got) == std::numeric_limits<T>::max() ? 1 : HUGE_VAL;
  if (std::isinf(got)) return std::isinf(want.size) || std::isnan(want.size) ||
                                      std::abs(want.size) > 0.99L * std::numeric_limits<T>::max() ? 1 : HUGE_VAL;
  return static_cast<double>(std::abs(got - want.value) / unit<T>(want.size));
}

template <class T>
bool same(T a, T b) {
  return (std::isnan(a) && std::isnan(b)) || std::memcmp(&a, &b, sizeof(T)) == 0;
}

template <class T>
std::vector<T> specials() {
  using L = std::numeric_limits<T>;
  const T tiny = L::denorm_min(), least = L::min(), most = L::max(), infinity = L::infinity();
  std::vector<T> v = {T(0), tiny, 3 * tiny, least, least / 2, L::epsilon(), T(1) - L::epsilon(), T(1) + L::epsilon(),
                      most / 4, most / 2, most, infinity};
  for (double value : {1e-6, 0.25, 0.3, 0.5, 0.624, 0.626, 0.9, 1., 1.5, 2., 2.5, 3., 3.5, 5.9, 8., 9.01, 9.03, 17.5,
                       20., 36.7, 40., 87.3, 88.5, 88.7, 88.8, 90., 100., 103.5, 104., 150., 708., 709.7, 710., 744., 746.,
                       1e4, 1e5, 1e6, 1.1e6, 8388607.5, 8388609., 1e9, 4503599627370497., 1e20, 1e30})
    v.push_back(static_cast<T>(value));
  const std::size_t n = v.size();
  for (std::size_t i = 0; i < n; ++i) v.push_back(-v[i]);
  v.push_back(L::quiet_NaN());
  return v;
}

template <class T>
T random_value(std::mt19937_64& random) {
  std::uniform_real_distribution<double> one(-1, 1);
  switch (random() % 5) {
    case 0: return static_cast<T>(one(random));
    case 1: return static_cast<T>(10 * one(random));
    case 2: return static_cast<T>((sizeof(T) == 4 ? 110 : 760) * one(random));
    case 3: return static_cast<T>(std::ldexp(one(random), static_cast<int>(random() % 64) - 32));
    default: return static_cast<T>(std::ldexp(one(random), static_cast<int>(random() % 250) - 125));
  }
}

template <class T>
void values(const Kernels<T>& k, const char* isa, bool report) {
  std::mt19937_64 random(1);
  const Real least = std::numeric_limits<T>::min();
  const std::vector<T> special = specials<T>();
  const Index n = static_cast<Index>(special.size());
  for (int op = 0; op < opcode_count; ++op) {
    std::vector<T> a, b, c;
    const auto add = [&](T x, T y, T z) { a.push_back(x), b.push_back(y), c.push_back(z); };
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < (arity[op] > 1 ? n : 1); ++j)
        for (Index l = 0; l < (arity[op] > 2 ? 8 : 1); ++l) add(special[i], special[j], special[random() % n]);
    for (int i = 0; i < 20000; ++i) add(random_value<T>(random), random_value<T>(random), random_value<T>(random));
    if (op == op_pow)
      for (int i = -300; i < 300; ++i) add(random_value<T>(random), T(i) / 2, T(0));
    const Index m = static_cast<Index>(a.size());
    std::vector<T> y(m);
    k.apply[op][0](1, m, y.data(), 0, a.data(), 0, b.data(), 0, c.data(), 0);
    double worst = 0;
    for (Index i = 0; i < m; ++i) {
      const double e = error(y[i], exact(op, a[i], b[i], c[i], least));
      worst = std::max(worst, e);
      CHECK(e <= limit<T>(op), "%s %s of %zu bytes: (%.9g, %.9g, %.9g) -> %.9g, not %.9Lg: %.2f units", isa,
            ost_opcode(op), sizeof(T), double(a[i]), double(b[i]), double(c[i]), double(y[i]),
            exact(op, a[i], b[i], c[i], least).value, e);
    }
    if (report) std::printf("%s %s %s: %.2f\n", isa, sizeof(T) == 4 ? "float" : "double", ost_opcode(op), worst);
  }
}

// What arithmetic alone does not tell: signs of zero, and values that must be exact.
template <class T>
void exactly(const Kernels<T>& k, const char* isa) {
  const T minus = T(-0.0), nan = std::numeric_limits<T>::quiet_NaN(), infinity = std::numeric_limits<T>::infinity();
  const struct {
    int op;
    T a, b, c, y;
  } cases[] = {
      {op_tanh, T(-0.0), 0, 0, minus},  {op_expm1, minus, 0, 0, minus},      {op_log1p, minus, 0, 0, minus},
      {op_sin, minus, 0, 0, minus},     {op_erf, minus, 0, 0, minus},        {op_relu, minus, 0, 0, minus},
      {op_relu, nan, 0, 0, nan},        {op_sign, nan, 0, 0, 0},             {op_floor, minus, 0, 0, minus},
      {op_ceil, T(-0.3), 0, 0, minus},  {op_round, T(-0.5), 0, 0, minus},    {op_round, T(2.5), 0, 0, 2},
      {op_copy, minus, 0, 0, minus},    {op_neg, 0, 0, 0, minus},            {op_sqrt, minus, 0, 0, minus},
      {op_tanh, infinity, 0, 0, 1},     {op_tanh, -infinity, 0, 0, -1},      {op_sigmoid, -infinity, 0, 0, 0},
      {op_sigmoid, infinity, 0, 0, 1},  {op_exp, -infinity, 0, 0, 0},        {op_exp, infinity, 0, 0, infinity},
      {op_log, 0, 0, 0, -infinity},     {op_log, minus, 0, 0, -infinity},    {op_log, -1, 0, 0, nan},
      {op_log1p, -1, 0, 0, -infinity},  {op_pow, nan, 0, 0, 1},              {op_pow, -8, T(1) / 3, 0, nan},
      {op_pow, -2, 3, 0, -8},           {op_pow, minus, -1, 0, -infinity},   {op_eq, nan, nan, 0, 0},
      {op_ne, nan, nan, 0, 1},          {op_not, nan, 0, 0, 0},              {op_truth, nan, 0, 0, 1},
      {op_and, nan, 1, 0, 1},           {op_where, nan, 2, 3, 2},            {op_where, minus, 2, 3, 3},
      {op_where, 1, minus, nan, minus}, {op_where, 0, infinity, nan, nan},   {op_maximum, minus, 0, 0, 0},
      {op_maximum, 0, minus, 0, minus},     {op_maximum, nan, 1, 0, nan},        {op_minimum, 1, nan, 0, nan}};
  for (const auto& t : cases) {
    T y;
    k.apply[t.op][0](1, 1, &y, 0, &t.a, 0, &t.b, 0, &t.c, 0);
    CHECK(same(y, t.y), "%s %s(%g, %g, %g) = %g, not %g", isa, ost_opcode(t.op), double(t.a), double(t.b), double(t.c),
          double(y), double(t.y));
  }
  if (sizeof(T) == 4) {
    const T x = T(1e-6f);
    T y;
    k.apply[op_tanh][0](1, 1, &y, 0, &x, 0, nullptr, 0, nullptr, 0);
    CHECK(y == x, "%s tanh(1e-6) = %.9g", isa, double(y));
  }
}

template <class T>
struct Tile {
  Index rows, cols, stride;
  Guarded<T> data;

  Tile(Index rows, Index cols, Index stride, std::mt19937_64& random)
      : rows(rows), cols(cols), stride(stride), data((rows - 1) * stride + cols) {
    for (Index i = 0; i < size(); ++i) data.at[i] = std::numeric_limits<T>::quiet_NaN();
    for (Index r = 0; r < rows; ++r)
      for (Index j = 0; j < cols; ++j)
        data.at[r * stride + j] = random() % 4 ? random_value<T>(random) : T(random() % 3);
  }
  Index size() const { return (rows - 1) * stride + cols; }
  T& operator()(Index r, Index j) { return data.at[r * stride + j]; }
};

// Each value must be the one that its operands give alone, wherever it stands, and nothing else may change.
template <class T>
void shape(const Kernels<T>& k, const char* isa, int op, int mask, Index rows, Index cols, int in_place,
           std::mt19937_64& random) {
  const auto apply = k.apply[op][mask];
  const Index gap = random() % 3;
  const auto stride = [&](int bit) -> Index {
    if (mask & bit) return random() % 2 ? 0 : 1 + gap;
    return random() % 4 ? cols + gap : 0;
  };
  Tile<T> y(rows, cols, cols + gap, random);
  const Index strides[3] = {in_place == 0 ? cols + gap : stride(1), in_place == 1 ? cols + gap : stride(2),
                            in_place == 2 ? cols + gap : stride(4)};
  Tile<T> a(rows, mask & 1 ? 1 : cols, strides[0], random), b(rows, mask & 2 ? 1 : cols, strides[1], random),
      c(rows, mask & 4 ? 1 : cols, strides[2], random);
  Tile<T>* operands[] = {&a, &b, &c};
  std::vector<T> want(rows * cols);
  for (Index r = 0; r < rows; ++r)
    for (Index j = 0; j < cols; ++j)
      k.apply[op][0](1, 1, &want[r * cols + j], 0, &a(r, mask & 1 ? 0 : j), 0, &b(r, mask & 2 ? 0 : j), 0,
                     &c(r, mask & 4 ? 0 : j), 0);
  T* to = in_place >= 0 ? operands[in_place]->data.at : y.data.at;
  apply(rows, cols, to, cols + gap, a.data.at, a.stride, arity[op] > 1 ? b.data.at : nullptr, b.stride,
        arity[op] > 2 ? c.data.at : nullptr, c.stride);
  for (Index r = 0; r < rows; ++r) {
    for (Index j = 0; j < cols; ++j)
      CHECK(same(to[r * (cols + gap) + j], want[r * cols + j]),
            "%s %s mask %d, %d x %d at %d, %d in place %d: %g, not %g", isa, ost_opcode(op), mask, int(rows), int(cols),
            int(r), int(j), in_place, double(to[r * (cols + gap) + j]), double(want[r * cols + j]));
    for (Index j = cols; j < cols + gap && r + 1 < rows; ++j)
      CHECK(std::isnan(to[r * (cols + gap) + j]), "%s %s mask %d wrote past a row", isa, ost_opcode(op), mask);
  }
}

template <class T>
void shapes(const Kernels<T>& k, const char* isa) {
  std::mt19937_64 random(2);
  const Index L = k.lanes;
  std::vector<Index> cols;
  for (Index n = 1; n <= 2 * L + 1; ++n) cols.push_back(n);
  for (Index n : {4 * L, 4 * L + 1, 5 * L - 1, 9 * L + 3}) cols.push_back(n);
  for (int op = 0; op < opcode_count; ++op) {
    const int full = (1 << arity[op]) - 1;
    for (int mask = 0; mask < splat_kinds; ++mask) {
      const bool sense = mask == 0 || (mask <= full && (mask != full || arity[op] == 1));
      CHECK((k.apply[op][mask] != nullptr) == sense, "%s %s mask %d", isa, ost_opcode(op), mask);
      if (!k.apply[op][mask]) continue;
      for (Index n : cols)
        for (int in_place = -1; in_place < arity[op]; ++in_place)
          if (in_place < 0 || !(mask >> in_place & 1)) shape(k, isa, op, mask, 1 + random() % 3, n, in_place, random);
    }
  }
}

template <class T>
void moves(const Kernels<T>& k, const char* isa) {
  std::mt19937_64 random(3);
  for (Index cols : {1, 2, 3, 7, 8, 16, 17, 31, 64, 65})
    for (Index col : {0, 1, 2, 5}) {
      const Index rows = 1 + random() % 3, gap = random() % 3, wide = (cols - 1) * col + 1, stride = wide + gap;
      Tile<T> strided(rows, wide, stride, random), tile(rows, cols, cols + gap, random);
      k.gather(rows, cols, tile.data.at, tile.stride, strided.data.at, stride, col);
      for (Index r = 0; r < rows; ++r)
        for (Index j = 0; j < cols; ++j) CHECK(same(tile(r, j), strided(r, j * col)), "%s gather", isa);
      Guarded<std::uint8_t> bytes((rows - 1) * stride + wide);
      for (Index i = 0; i < strided.size(); ++i) bytes.at[i] = random() % 2;
      k.widen(rows, cols, tile.data.at, tile.stride, bytes.at, stride, col);
      for (Index r = 0; r < rows; ++r)
        for (Index j = 0; j < cols; ++j) CHECK(tile(r, j) == T(bytes.at[r * stride + j * col]), "%s widen", isa);
      if (col == 0) continue;
      Tile<T> target(rows, wide, stride, random), before(rows, wide, stride, random);
      Tile<T> from(rows, cols, cols + gap, random);
      std::memcpy(before.data.at, target.data.at, target.size() * sizeof(T));
      k.scatter(rows, cols, target.data.at, stride, col, from.data.at, from.stride);
      std::memset(bytes.at, 7, target.size());
      k.narrow(rows, cols, bytes.at, stride, col, from.data.at, from.stride);
      for (Index i = 0; i < target.size(); ++i) {
        const bool inside = i % stride < wide && i % stride % col == 0;
        const T value = from(inside ? i / stride : 0, inside ? i % stride / col : 0);
        CHECK(same(target.data.at[i], inside ? value : before.data.at[i]), "%s scatter", isa);
        CHECK(bytes.at[i] == (inside ? value != T(0) : 7), "%s narrow", isa);
      }
    }
}

template <class T>
void reductions(const Kernels<T>& k, const char* isa) {
  std::mt19937_64 random(4);
  for (Index cols = 1; cols < 200; cols += 1 + cols / 16)
    for (int nan = 0; nan < 2; ++nan) {
      const Index rows = 3;
      Tile<T> a(rows, cols, cols + random() % 3, random), sums(rows, 1, 2, random), most(rows, 1, 2, random);
      for (Index r = 0; r < rows; ++r)
        for (Index j = 0; j < cols; ++j) a(r, j) = T(std::uniform_real_distribution<double>(-1, 1)(random));
      if (nan) a(1, random() % cols) = std::numeric_limits<T>::quiet_NaN();
      k.sum(rows, cols, sums.data.at, 2, a.data.at, a.stride);
      k.max(rows, cols, most.data.at, 2, a.data.at, a.stride);
      for (Index r = 0; r < rows; ++r) {
        Real sum = 0, largest = -HUGE_VALL, size = 0;
        for (Index j = 0; j < cols; ++j) {
          sum += a(r, j);
          size += std::abs(a(r, j));
          largest = std::max<Real>(largest, a(r, j));
        }
        const bool bad = nan && r == 1;
        CHECK(bad ? std::isnan(sums(r, 0)) : std::abs(sums(r, 0) - sum) <= 4 * size * std::numeric_limits<T>::epsilon(),
              "%s sum of %d: %g", isa, int(cols), double(sums(r, 0)));
        CHECK(bad ? std::isnan(most(r, 0)) : most(r, 0) == largest, "%s max of %d: %g", isa, int(cols),
              double(most(r, 0)));
      }
    }
}

template <class T>
void test(const std::string& isa, bool report) {
  const Kernels<T>* k = table_of<T>(isa);
  CHECK(k, "%s", isa.c_str());
  if (!k) return;
  values(*k, isa.c_str(), report);
  exactly(*k, isa.c_str());
  shapes(*k, isa.c_str());
  moves(*k, isa.c_str());
  reductions(*k, isa.c_str());
}

}  // namespace

// With an argument, prints the largest error of each opcode.
int main(int arguments, char**) {
  std::istringstream isas(ost_isas());
  for (std::string isa; isas >> isa;) {
    test<float>(isa, arguments > 1);
    test<double>(isa, arguments > 1);
  }
  if (failures) std::printf("%d failures\n", failures);
  return failures != 0;
}
