// Functions of vectors. Included only by kernels_<isa>.cpp, see simd.h.
#pragma once

#include <cmath>
#include <limits>

#include "simd.h"

namespace ostinato::OSTINATO_ISA {

template <class T>
[[gnu::always_inline]] inline Vector<T> choose(Whole<T> where, Vector<T> a, Vector<T> b) {
  return where ? a : b;
}
template <class T>
[[gnu::always_inline]] inline Whole<T> bits(Vector<T> v) {
  return (Whole<T>)v;
}
template <class T>
[[gnu::always_inline]] inline Vector<T> from_bits(Whole<T> v) {
  return (Vector<T>)v;
}

template <class T> struct Exponential;
template <> struct Exponential<float> {
  static constexpr int terms = 7, mantissa = 23, bias = 127;
  static constexpr float shift = 12582912.0f, log2e = 1.44269504088896341f, ln2_high = 0.693359375f,
                         ln2_low = -2.12194440e-4f, least = -104.0f, most = 89.0f, flat = -40.0f;
};
template <> struct Exponential<double> {
  static constexpr int terms = 13, mantissa = 52, bias = 1023;
  static constexpr double shift = 6755399441055744.0, log2e = 1.44269504088896340736,
                          ln2_high = 6.93145751953125e-1, ln2_low = 1.42860682030941723212e-6, least = -746.0,
                          most = 710.0, flat = -80.0;
};

template <class T>
constexpr T one_over_factorial(int n) {
  T value = 1;
  for (int i = 2; i <= n; ++i) value /= i;
  return value;
}

// exp(x) = 2^n (1 + p), n whole and p = exp(r) - 1 for a remainder |r| <= log(2)/2, by Taylor's series.
template <class T>
struct Parts {
  Whole<T> n;
  Vector<T> p;
};

template <class T>
[[gnu::always_inline]] inline Parts<T> exp_parts(Vector<T> x) {
  using E = Exponential<T>;
  const Vector<T> shifted = x * splat(E::log2e) + splat(E::shift);
  const Vector<T> n = shifted - splat(E::shift);
  const Vector<T> r = (x - n * splat(E::ln2_high)) - n * splat(E::ln2_low);
  Vector<T> q = splat(one_over_factorial<T>(E::terms));
#pragma GCC unroll 16
  for (int i = E::terms - 1; i >= 2; --i) q = q * r + splat(one_over_factorial<T>(i));
  return {bits<T>(shifted) - bits<T>(splat(E::shift)), q * r * r + r};
}

template <class T>
[[gnu::always_inline]] inline Vector<T> power_of_two(Whole<T> n) {
  using E = Exponential<T>;
  return from_bits<T>((n + E::bias) << E::mantissa);
}

template <class T>
[[gnu::always_inline]] inline Vector<T> exp_(Vector<T> x) {
  using E = Exponential<T>;
  const Vector<T> in = choose<T>(x < splat(E::least), splat(E::least), choose<T>(x > splat(E::most), splat(E::most), x));
  const Parts<T> e = exp_parts<T>(in);
  const Whole<T> half = e.n >> 1;  // in two steps: 2^n itself may be out of range where the result is not
  return (e.p + T(1)) * power_of_two<T>(half) * power_of_two<T>(e.n - half);
}

// exp(x) - 1 for x <= 0, relatively right near 0.
template <class T>
[[gnu::always_inline]] inline Vector<T> expm1_below(Vector<T> x) {
  const Parts<T> e = exp_parts<T>(choose<T>(x < splat(Exponential<T>::flat), splat(Exponential<T>::flat), x));
  const Vector<T> scale = power_of_two<T>(e.n);
  return e.p * scale + (scale - T(1));
}

template <class T>
[[gnu::always_inline]] inline Vector<T> abs_(Vector<T> x) {
  return from_bits<T>(bits<T>(x) & ~bits<T>(splat(T(-0.0))));
}
template <class T>
[[gnu::always_inline]] inline Vector<T> with_sign(Vector<T> size, Vector<T> sign) {
  const Whole<T> bit = bits<T>(splat(T(-0.0)));
  return from_bits<T>(bits<T>(size) | (bits<T>(sign) & bit));
}

template <class T>
[[gnu::always_inline]] inline Vector<T> tanh_(Vector<T> x) {
  const Vector<T> e = expm1_below<T>(abs_<T>(x) * T(-2));
  return with_sign<T>(abs_<T>(e / (e + T(2))), x);
}

template <class T>
[[gnu::always_inline]] inline Vector<T> sigmoid_(Vector<T> x) {
  const Vector<T> e = exp_<T>(-abs_<T>(x));
  return choose<T>(x < T(0), e, splat(T(1))) / (e + T(1));
}

// A function of the C library, lane by lane.
template <class T, class Function>
[[gnu::always_inline]] inline Vector<T> by_lane(Vector<T> x, Function function) {
  Vector<T> y = x;
  for (int i = 0; i < lanes<T>; ++i) y[i] = function(x[i]);
  return y;
}

}  // namespace ostinato::OSTINATO_ISA
