// One function for each opcode and each set of splat operands. Included only by kernels_<isa>.cpp, see simd.h.
#pragma once

#include "vector_math.h"

namespace ostinato::OSTINATO_ISA {

// One instruction on vectors.
template <class T, Opcode op>
OSTINATO_INLINE Vector<T> compute(Vector<T> a, [[maybe_unused]] Vector<T> b, [[maybe_unused]] Vector<T> c) {
  const Vector<T> zero{}, one = splat(T(1));
  if constexpr (op == op_copy) return a;
  else if constexpr (op == op_neg) return -a;
  else if constexpr (op == op_abs) return abs<T>(a);
  else if constexpr (op == op_sign) return flag<T>(less<T>(zero, a)) - flag<T>(less<T>(a, zero));
  else if constexpr (op == op_floor) return rounded<T, down>(a);
  else if constexpr (op == op_ceil) return rounded<T, up>(a);
  else if constexpr (op == op_round) return rounded<T, to_even>(a);
  else if constexpr (op == op_relu) return high<T>(zero, a);
  else if constexpr (op == op_exp) return exp<T>(a);
  else if constexpr (op == op_expm1) return expm1<T>(a);
  else if constexpr (op == op_log) return log<T>(a);
  else if constexpr (op == op_log1p) return log1p<T>(a);
  else if constexpr (op == op_tanh) return tanh<T>(a);
  else if constexpr (op == op_sigmoid) return sigmoid<T>(a);
  else if constexpr (op == op_sqrt) return sqrt<T>(a);
  else if constexpr (op == op_rsqrt) return one / sqrt<T>(a);
  else if constexpr (op == op_reciprocal) return one / a;
  else if constexpr (op == op_sin) return sin<T>(a);
  else if constexpr (op == op_cos) return cos<T>(a);
  else if constexpr (op == op_erf) return erf<T>(a);
  else if constexpr (op == op_not) return flag<T>(equal<T>(a, zero));
  else if constexpr (op == op_truth) return flag<T>(differ<T>(a, zero));
  else if constexpr (op == op_add) return a + b;
  else if constexpr (op == op_sub) return a - b;
  else if constexpr (op == op_mul) return a * b;
  else if constexpr (op == op_div) return a / b;
  else if constexpr (op == op_maximum) return select<T>(is_nan<T>(a), a, high<T>(a, b));
  else if constexpr (op == op_minimum) return select<T>(is_nan<T>(a), a, low<T>(a, b));
  else if constexpr (op == op_pow) return pow<T>(a, b);
  else if constexpr (op == op_gt) return flag<T>(less<T>(b, a));
  else if constexpr (op == op_ge) return flag<T>(at_most<T>(b, a));
  else if constexpr (op == op_lt) return flag<T>(less<T>(a, b));
  else if constexpr (op == op_le) return flag<T>(at_most<T>(a, b));
  else if constexpr (op == op_eq) return flag<T>(equal<T>(a, b));
  else if constexpr (op == op_ne) return flag<T>(differ<T>(a, b));
  else if constexpr (op == op_and) return flag<T>(differ<T>(a, zero) & differ<T>(b, zero));
  else if constexpr (op == op_or) return flag<T>(differ<T>(a, zero) | differ<T>(b, zero));
  else if constexpr (op == op_xor) return flag<T>(differ<T>(a, zero) ^ differ<T>(b, zero));
  else if constexpr (op == op_where) return select<T>(differ<T>(a, zero), b, c);
  else if constexpr (op == op_muladd) return fma<T>(a, b, c);
  else if constexpr (op == op_dtanh) return a * fma<T>(-b, b, one);
  else if constexpr (op == op_dsigmoid) return a * (b * (one - b));
  else if constexpr (op == op_lerp) return fma<T>(c, b, (one - c) * a);
  else if constexpr (op == op_submul) return fma<T>(-b, c, a);
  else static_assert(op == opcode_count, "an opcode without a function");
}

// An operand of one row: a vector at a time, or one value all along.
template <class T, bool used, bool is_splat>
struct Operand {
  const T* at;
  Vector<T> all{};

  OSTINATO_INLINE explicit Operand(const T* row) : at(row) {
    if constexpr (used && is_splat) all = splat(*row);
  }
  OSTINATO_INLINE Vector<T> whole(Index i) const {
    if constexpr (used && !is_splat) return load(at + i);
    else return all;
  }
  OSTINATO_INLINE Vector<T> part(Index i, Index n) const {
    if constexpr (used && !is_splat) return load_part(at + i, n);
    else return all;
  }
};

template <class T, Opcode op, int arity, int mask>
void apply(Index rows, Index cols, T* y, Index ys, const T* a, Index as, const T* b, Index bs, const T* c, Index cs) {
  constexpr Index L = lanes<T>;
  constexpr bool all_splat = mask == (1 << arity) - 1;
  for (; rows > 0; --rows) {
    const Operand<T, true, (mask & splat_a) != 0> ra(a);
    const Operand<T, (arity > 1), (mask & splat_b) != 0> rb(b);
    const Operand<T, (arity > 2), (mask & splat_c) != 0> rc(c);
    [[maybe_unused]] Vector<T> same;
    if constexpr (all_splat) same = compute<T, op>(ra.all, rb.all, rc.all);
    const auto at = [&](Index i) __attribute__((always_inline)) {
      if constexpr (all_splat) return same;
      else return compute<T, op>(ra.whole(i), rb.whole(i), rc.whole(i));
    };
    Index i = 0;
    for (; i + 4 * L <= cols; i += 4 * L) {  // several at once, for none waits for another
      const Vector<T> y0 = at(i), y1 = at(i + L), y2 = at(i + 2 * L), y3 = at(i + 3 * L);
      store(y + i, y0);
      store(y + i + L, y1);
      store(y + i + 2 * L, y2);
      store(y + i + 3 * L, y3);
    }
    if (i + 2 * L <= cols) {
      const Vector<T> y0 = at(i), y1 = at(i + L);
      store(y + i, y0);
      store(y + i + L, y1);
      i += 2 * L;
    }
    if (i + L <= cols) {
      store(y + i, at(i));
      i += L;
    }
    if (const Index n = cols - i; n > 0) {
      if constexpr (all_splat) store_part(y + i, same, n);
      else store_part(y + i, compute<T, op>(ra.part(i, n), rb.part(i, n), rc.part(i, n)), n);
    }
    y += ys;
    a += as;
    if constexpr (arity > 1) b += bs;
    if constexpr (arity > 2) c += cs;
  }
}

template <class T>
void gather(Index rows, Index cols, T* y, Index ys, const T* a, Index as, Index col) {
  for (; rows > 0; --rows, y += ys, a += as)
    for (Index j = 0; j < cols; ++j) y[j] = a[j * col];
}
template <class T>
void scatter(Index rows, Index cols, T* y, Index ys, Index col, const T* a, Index as) {
  for (; rows > 0; --rows, y += ys, a += as)
    for (Index j = 0; j < cols; ++j) y[j * col] = a[j];
}
template <class T>
void widen(Index rows, Index cols, T* y, Index ys, const std::uint8_t* a, Index as, Index col) {
  for (; rows > 0; --rows, y += ys, a += as) {
    if (col == 1)
      for (Index j = 0; j < cols; ++j) y[j] = a[j] ? T(1) : T(0);
    else
      for (Index j = 0; j < cols; ++j) y[j] = a[j * col] ? T(1) : T(0);
  }
}
template <class T>
void narrow(Index rows, Index cols, std::uint8_t* y, Index ys, Index col, const T* a, Index as) {
  for (; rows > 0; --rows, y += ys, a += as) {
    if (col == 1)
      for (Index j = 0; j < cols; ++j) y[j] = a[j] != T(0);
    else
      for (Index j = 0; j < cols; ++j) y[j * col] = a[j] != T(0);
  }
}

template <class T, Opcode op>
OSTINATO_INLINE T joined(T u, T v) {
  if constexpr (op == op_add) return u + v;
  else return v != v || v > u ? v : u;
}

// Each row to one value. The order of the terms depends on their number alone: four running vectors, then those in
// pairs, then the lanes in pairs.
template <class T, Opcode op>
void reduce(Index rows, Index cols, T* y, Index ys, const T* a, Index as) {
  constexpr Index L = lanes<T>;
  const Vector<T> none = splat(op == op_add ? T(0) : T(-__builtin_inf()));
  const auto join = [](Vector<T> u, Vector<T> v) __attribute__((always_inline)) { return compute<T, op>(u, v, v); };
  for (; rows > 0; --rows, y += ys, a += as) {
    Vector<T> r0 = none, r1 = none, r2 = none, r3 = none;
    Index i = 0;
    for (; i + 4 * L <= cols; i += 4 * L) {
      r0 = join(r0, load(a + i));
      r1 = join(r1, load(a + i + L));
      r2 = join(r2, load(a + i + 2 * L));
      r3 = join(r3, load(a + i + 3 * L));
    }
    for (; i + L <= cols; i += L) r0 = join(r0, load(a + i));
    T lane[2 * L];
    store(lane, join(join(r0, r1), join(r2, r3)));
    store(lane + L, none);
    for (Index j = 0; i + j < cols; ++j) lane[L + j] = a[i + j];
    for (Index half = L; half > 0; half /= 2)
      for (Index j = 0; j < half; ++j) lane[j] = joined<T, op>(lane[j], lane[j + half]);
    *y = lane[0];
  }
}

template <class T, Opcode op, int arity>
constexpr void fill(Kernels<T>& k) {
  k.apply[op][0] = apply<T, op, arity, 0>;
  k.apply[op][splat_a] = apply<T, op, arity, splat_a>;
  if constexpr (arity > 1) k.apply[op][splat_b] = apply<T, op, arity, splat_b>;
  if constexpr (arity > 2) {
    k.apply[op][splat_c] = apply<T, op, arity, splat_c>;
    k.apply[op][splat_a | splat_b] = apply<T, op, arity, splat_a | splat_b>;
    k.apply[op][splat_a | splat_c] = apply<T, op, arity, splat_a | splat_c>;
    k.apply[op][splat_b | splat_c] = apply<T, op, arity, splat_b | splat_c>;
  }
}

template <class T>
constexpr Kernels<T> make_kernels() {
  Kernels<T> k{};
  k.lanes = lanes<T>;
  k.pack = pack<T>;
  k.gemm = gemm<T, T>;
  if constexpr (single<T>) k.gemm_half = gemm<T, Half>;
  k.pack_sums = pack_sums<T>;
#define OSTINATO_FILL(name, arity) fill<T, op_##name, arity>(k);
  OSTINATO_OPCODES(OSTINATO_FILL)
#undef OSTINATO_FILL
  k.gather = gather<T>;
  k.scatter = scatter<T>;
  k.widen = widen<T>;
  k.narrow = narrow<T>;
  k.sum = reduce<T, op_add>;
  k.max = reduce<T, op_maximum>;
  return k;
}

}  // namespace ostinato::OSTINATO_ISA
