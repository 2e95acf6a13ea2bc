// One function for each opcode and each set of splat operands. Included only by kernels_<isa>.cpp, see simd.h.
#pragma once

#include "math.h"

namespace ostinato::OSTINATO_ISA {

template <class T>
inline Vector<T> load_some(const T* p, Index n) {
  Vector<T> v{};
  for (Index i = 0; i < n; ++i) v[i] = p[i];
  return v;
}
template <class T>
inline void store_some(T* p, Vector<T> v, Index n) {
  for (Index i = 0; i < n; ++i) p[i] = v[i];
}
template <class T>
[[gnu::always_inline]] inline Vector<T> flag(Whole<T> where) {
  return choose<T>(where, splat(T(1)), splat(T(0)));
}

#define OSTINATO_FUNCTION(name, ...)                                                         \
  struct name##_function {                                                                   \
    template <class T>                                                                       \
    [[gnu::always_inline]] static inline Vector<T> of([[maybe_unused]] Vector<T> a,          \
                                                      [[maybe_unused]] Vector<T> b,          \
                                                      [[maybe_unused]] Vector<T> c) {        \
      return __VA_ARGS__;                                                                    \
    }                                                                                        \
  };
#define OSTINATO_LIBRARY(name, function) \
  OSTINATO_FUNCTION(name, by_lane<T>(a, [](T v) { return function; }))

OSTINATO_FUNCTION(copy, a)
OSTINATO_FUNCTION(neg, -a)
OSTINATO_FUNCTION(abs, abs_<T>(a))
OSTINATO_FUNCTION(sign, flag<T>(a > T(0)) - flag<T>(a < T(0)))
OSTINATO_LIBRARY(floor, std::floor(v))
OSTINATO_LIBRARY(ceil, std::ceil(v))
OSTINATO_LIBRARY(round, std::nearbyint(v))
OSTINATO_FUNCTION(relu, choose<T>(a < T(0), splat(T(0)), a))
OSTINATO_FUNCTION(exp, exp_<T>(a))
OSTINATO_LIBRARY(expm1, std::expm1(v))
OSTINATO_LIBRARY(log, std::log(v))
OSTINATO_LIBRARY(log1p, std::log1p(v))
OSTINATO_FUNCTION(tanh, tanh_<T>(a))
OSTINATO_FUNCTION(sigmoid, sigmoid_<T>(a))
OSTINATO_LIBRARY(sqrt, std::sqrt(v))
OSTINATO_LIBRARY(rsqrt, T(1) / std::sqrt(v))
OSTINATO_FUNCTION(reciprocal, T(1) / a)
OSTINATO_LIBRARY(sin, std::sin(v))
OSTINATO_LIBRARY(cos, std::cos(v))
OSTINATO_LIBRARY(erf, std::erf(v))
OSTINATO_FUNCTION(not, flag<T>(a == T(0)))
OSTINATO_FUNCTION(truth, flag<T>(a != T(0)))
OSTINATO_FUNCTION(add, a + b)
OSTINATO_FUNCTION(sub, a - b)
OSTINATO_FUNCTION(mul, a* b)
OSTINATO_FUNCTION(div, a / b)
OSTINATO_FUNCTION(maximum, choose<T>(a != a, a, choose<T>(b != b, b, choose<T>(a > b, a, b))))
OSTINATO_FUNCTION(minimum, choose<T>(a != a, a, choose<T>(b != b, b, choose<T>(a < b, a, b))))
struct pow_function {
  template <class T>
  static Vector<T> of(Vector<T> a, Vector<T> b, Vector<T>) {
    Vector<T> y = a;
    for (int i = 0; i < lanes<T>; ++i) y[i] = std::pow(a[i], b[i]);
    return y;
  }
};
OSTINATO_FUNCTION(gt, flag<T>(a > b))
OSTINATO_FUNCTION(ge, flag<T>(a >= b))
OSTINATO_FUNCTION(lt, flag<T>(a < b))
OSTINATO_FUNCTION(le, flag<T>(a <= b))
OSTINATO_FUNCTION(eq, flag<T>(a == b))
OSTINATO_FUNCTION(ne, flag<T>(a != b))
OSTINATO_FUNCTION(and, flag<T>((a != T(0)) & (b != T(0))))
OSTINATO_FUNCTION(or, flag<T>((a != T(0)) | (b != T(0))))
OSTINATO_FUNCTION(xor, flag<T>((a != T(0)) ^ (b != T(0))))
OSTINATO_FUNCTION(where, choose<T>(a != T(0), b, c))
OSTINATO_FUNCTION(muladd, a* b + c)
OSTINATO_FUNCTION(dtanh, a*(T(1) - b * b))
OSTINATO_FUNCTION(dsigmoid, a*(b * (T(1) - b)))
OSTINATO_FUNCTION(lerp, a + c * (b - a))
OSTINATO_FUNCTION(submul, a - b * c)

#undef OSTINATO_FUNCTION
#undef OSTINATO_LIBRARY

// An operand of one row: a vector at a time, or one value all along.
template <class T, bool is_splat>
struct Row {
  const T* at;
  Vector<T> all{};

  [[gnu::always_inline]] Row(const T* row) : at(row) {
    if constexpr (is_splat) all = splat(*row);
  }
  [[gnu::always_inline]] Vector<T> whole(Index i) const {
    if constexpr (is_splat) return all;
    else return load(at + i);
  }
  [[gnu::always_inline]] Vector<T> some(Index i, Index n) const {
    if constexpr (is_splat) return all;
    else return load_some(at + i, n);
  }
};

template <class T, class Function, int arity, int mask>
void apply(Index rows, Index cols, T* y, Index ys, const T* a, Index as, const T* b, Index bs, const T* c, Index cs) {
  constexpr Index L = lanes<T>;
  for (Index r = 0; r < rows; ++r, y += ys, a += as, b += arity > 1 ? bs : 0, c += arity > 2 ? cs : 0) {
    const Row<T, (mask & splat_a) != 0> ra(a);
    const Row<T, arity < 2 || (mask & splat_b) != 0> rb(arity > 1 ? b : a);
    const Row<T, arity < 3 || (mask & splat_c) != 0> rc(arity > 2 ? c : a);
    Index i = 0;
#pragma GCC unroll 4
    for (; i + L <= cols; i += L) store(y + i, Function::template of<T>(ra.whole(i), rb.whole(i), rc.whole(i)));
    if (i < cols)
      store_some(y + i, Function::template of<T>(ra.some(i, cols - i), rb.some(i, cols - i), rc.some(i, cols - i)),
                 cols - i);
  }
}

template <class T, class Memory, class Get>
void copy_rows(Index rows, Index cols, Get get, Memory* y, Index ys, Index col) {
  for (Index r = 0; r < rows; ++r)
    for (Index j = 0; j < cols; ++j) y[r * ys + j * col] = get(r, j);
}

template <class T>
void gather(Index rows, Index cols, T* y, Index ys, const T* a, Index as, Index col) {
  copy_rows<T>(rows, cols, [&](Index r, Index j) { return a[r * as + j * col]; }, y, ys, 1);
}
template <class T>
void scatter(Index rows, Index cols, T* y, Index ys, Index col, const T* a, Index as) {
  copy_rows<T>(rows, cols, [&](Index r, Index j) { return a[r * as + j]; }, y, ys, col);
}
template <class T>
void widen(Index rows, Index cols, T* y, Index ys, const std::uint8_t* a, Index as, Index col) {
  copy_rows<T>(rows, cols, [&](Index r, Index j) { return T(a[r * as + j * col] != 0); }, y, ys, 1);
}
template <class T>
void narrow(Index rows, Index cols, std::uint8_t* y, Index ys, Index col, const T* a, Index as) {
  copy_rows<T>(rows, cols, [&](Index r, Index j) { return std::uint8_t(a[r * as + j] != T(0)); }, y, ys, col);
}

// Each row to one value; the order of the terms depends on their number alone.
template <class T, class Function>
void reduce(Index rows, Index cols, T* y, Index ys, const T* a, Index as) {
  constexpr Index L = lanes<T>;
  for (Index r = 0; r < rows; ++r, a += as, y += ys) {
    const auto two = [](T u, T v) { return Function::template of<T>(splat(u), splat(v), splat(v))[0]; };
    Index i = 1;
    T total = a[0];
    if (cols >= 2 * L) {
      Vector<T> sum = load(a);
      for (i = L; i + L <= cols; i += L) sum = Function::template of<T>(sum, load(a + i), sum);
      total = sum[0];
      for (Index j = 1; j < L; ++j) total = two(total, sum[j]);
    }
    for (; i < cols; ++i) total = two(total, a[i]);
    *y = total;
  }
}

template <class T>
Kernels<T> make_kernels() {
  Kernels<T> k{};
  k.lanes = lanes<T>;
  k.pack = pack<T>;
  k.gemm = gemm<T>;
#define OSTINATO_ENTRY(name, n)                                                                     \
  k.apply[op_##name][0] = apply<T, name##_function, n, 0>;                                          \
  k.apply[op_##name][splat_a] = apply<T, name##_function, n, splat_a>;                              \
  if constexpr (n > 1) k.apply[op_##name][splat_b] = apply<T, name##_function, n, splat_b>;         \
  if constexpr (n > 2) {                                                                            \
    k.apply[op_##name][splat_c] = apply<T, name##_function, n, splat_c>;                            \
    k.apply[op_##name][splat_a | splat_b] = apply<T, name##_function, n, splat_a | splat_b>;        \
    k.apply[op_##name][splat_a | splat_c] = apply<T, name##_function, n, splat_a | splat_c>;        \
    k.apply[op_##name][splat_b | splat_c] = apply<T, name##_function, n, splat_b | splat_c>;        \
  }
  OSTINATO_OPCODES(OSTINATO_ENTRY)
#undef OSTINATO_ENTRY
  k.gather = gather<T>;
  k.scatter = scatter<T>;
  k.widen = widen<T>;
  k.narrow = narrow<T>;
  k.sum = reduce<T, add_function>;
  k.max = reduce<T, maximum_function>;
  return k;
}

}  // namespace ostinato::OSTINATO_ISA
