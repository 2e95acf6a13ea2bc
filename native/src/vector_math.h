// Functions of vectors, right to a few units in the last place; NaN and infinities pass as in torch. Included only by
// kernels_<isa>.cpp, see simd.h. The polynomials are minimax ones, made for these intervals.
#pragma once

#include "simd.h"

namespace ostinato::OSTINATO_ISA {

// c[0] + c[1] x + c[2] x^2 + ...
template <class T, class... Rest>
OSTINATO_INLINE Vector<T> polynomial(Vector<T> x, T first, Rest... rest) {
  if constexpr (sizeof...(rest) == 0) return splat(first);
  else return fma<T>(polynomial<T>(x, rest...), x, splat(first));
}

// A function of the C library, lane by lane.
template <class T, class Function>
[[gnu::noinline]] Vector<T> by_lanes(Vector<T> a, Vector<T> b, Function function) {
  for (int i = 0; i < lanes<T>; ++i) a[i] = function(a[i], b[i]);
  return a;
}
template <class T, class Function>
OSTINATO_INLINE Vector<T> by_lanes(Vector<T> a, Function function) {
  return by_lanes<T>(a, a, [=](T x, T) { return function(x); });
}

// exp. With x = n log(2) + r, n whole, |r| <= log(2)/2: exp(x) = 2^n (1 + p), p = exp(r) - 1.

template <class T> struct Exponential;
template <> struct Exponential<float> {
  static constexpr float log2e = 1.44269504f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  static constexpr float least = -104, most = 89;  // 0 and infinity from there on
  static constexpr float flat = -20;               // exp(x) - 1 is -1
  static constexpr float big = 0x1p64f, small = 0x1p-64f;
};
template <> struct Exponential<double> {
  static constexpr double log2e = 1.4426950408889634, ln2_high = 6.93145751953125e-1,
                          ln2_low = 1.42860682030941723212e-6;
  static constexpr double least = -746, most = 710, flat = -40;
  static constexpr double big = 0x1p512, small = 0x1p-512;
};

template <class T>
struct Parts {
  Vector<T> t, p;  // t = rounder + n
};

template <class T>
OSTINATO_INLINE Parts<T> exp_parts(Vector<T> x) {
  using E = Exponential<T>;
  const Vector<T> t = fma<T>(x, splat(E::log2e), splat(rounder<T>));
  const Vector<T> n = t - rounder<T>;
  const Vector<T> r = fma<T>(n, splat(-E::ln2_low), fma<T>(n, splat(-E::ln2_high), x));
  Vector<T> q;
  if constexpr (single<T>)
    q = polynomial<T>(r, 0.5f, 0.166666657f, 0.0416663587f, 0.00833338965f, 0.00139407197f, 0.00019845886f);
  else
    q = polynomial<T>(r, 0.5, 0.16666666666666677, 0.041666666666666701, 0.0083333333333215781, 0.0013888888888866772,
                      0.00019841269886266888, 2.4801587360690541e-5, 2.7557244061276625e-6, 2.7557242642169767e-7,
                      2.510909063431283e-8, 2.0924480298354744e-9);
  return {t, fma<T>(q, r * r, r)};
}

#if OSTINATO_VECTOR_BYTES == 64
// exp(x) = 2^n 2^(j/16) (1 + p) for |r| <= log(2)/32: sixteen powers fill a register. The scaling rounds n down, so
// n + j/16 will do, and underflows gradually. Unless `bounded`, x may be too large for r to mean anything.
template <bool bounded>
OSTINATO_INLINE Vector<float> exp_by_table(Vector<float> x) {
  constexpr float sixteenths = rounder<float> / 16;
  const Vector<float> powers = {1.0f,         1.04427378f, 1.09050773f, 1.13878863f, 1.18920712f, 1.24185781f,
                                1.29683955f,  1.35425555f, 1.41421356f, 1.47682615f, 1.54221083f, 1.61049033f,
                                1.68179283f,  1.75625216f, 1.83400809f, 1.91520656f};
  using E = Exponential<float>;
  const Vector<float> t = fma<float>(x, splat(E::log2e), splat(sixteenths)), n = t - sixteenths;
  Vector<float> r = fma<float>(n, splat(-E::ln2_low), fma<float>(n, splat(-E::ln2_high), x));
  if constexpr (!bounded) r = _mm512_maskz_range_ps(every<float>, r, splat(0.5f), 2);  // the smaller, or 0.5 for NaN
  const Vector<float> p = fma<float>(r * r, polynomial<float>(r, 0.500016212f, 0.166670397f), r);
  const Vector<float> power = _mm512_maskz_permutexvar_ps(every<float>, (__m512i)t, powers);
  return _mm512_maskz_scalef_ps(every<float>, fma<float>(power, p, power), n);
}
#endif

template <class T>
OSTINATO_INLINE Vector<T> exp(Vector<T> x) {
#if OSTINATO_VECTOR_BYTES == 64
  if constexpr (single<T>) return exp_by_table<false>(x);
#endif
  using E = Exponential<T>;
  const Parts<T> e = exp_parts<T>(low<T>(splat(E::most), high<T>(splat(E::least), x)));
  // In two steps: 2^n itself may be out of range where the result is not.
  const Vector<T> n = e.t - rounder<T>, half = fma<T>(n, splat(T(0.5)), splat(rounder<T>));
  const Vector<T> rest = (n - (half - rounder<T>)) + rounder<T>;
  return (e.p + T(1)) * times_power(T(1), half) * times_power(T(1), rest);
}

// exp(x) for x <= 0.
template <class T>
OSTINATO_INLINE Vector<T> exp_below(Vector<T> x) {
#if OSTINATO_VECTOR_BYTES == 64
  if constexpr (single<T>) return exp_by_table<false>(x);
#endif
  using E = Exponential<T>;
  const Parts<T> e = exp_parts<T>(high<T>(splat(E::least), x));
  return (e.p + T(1)) * times_power(E::big, e.t) * E::small;
}

// 1 + exp(x), for x and exp(x) well within range.
template <class T>
OSTINATO_INLINE Vector<T> one_and_exp(Vector<T> x) {
#if OSTINATO_VECTOR_BYTES == 64
  if constexpr (single<T>) return exp_by_table<true>(x) + 1.0f;
#endif
  const Parts<T> e = exp_parts<T>(x);
  const Vector<T> power = times_power(T(1), e.t);
  return fma<T>(power, e.p, power + T(1));
}

// exp(x) - 1 for x <= 0.
template <class T>
OSTINATO_INLINE Vector<T> expm1_below(Vector<T> x) {
  const Parts<T> e = exp_parts<T>(high<T>(splat(Exponential<T>::flat), x));
  const Vector<T> scale = times_power(T(1), e.t);
  return fma<T>(scale, e.p, scale - T(1));
}

template <class T>
OSTINATO_INLINE Vector<T> expm1(Vector<T> x) {
  using E = Exponential<T>;
  const Parts<T> e = exp_parts<T>(low<T>(splat(E::most), high<T>(splat(2 * E::flat), x)));
  const Vector<T> half = times_power(T(0.5), e.t);  // 2^n may be out of range where the result is not
  const Vector<T> y = T(2) * fma<T>(half, e.p, half - T(0.5));
  const Vector<T> tiny = splat(single<T> ? T(0x1p-60) : T(0x1p-500));
  return select<T>(less<T>(abs<T>(x), tiny), x, y);  // -0, and what cannot be halved
}

template <class T>
OSTINATO_INLINE Vector<T> sigmoid(Vector<T> x) {
  const Vector<T> e = exp_below<T>(negative_abs<T>(x));
  return select_by_sign<T>(x, e, splat(T(1))) / (e + T(1));
}

template <class T>
OSTINATO_INLINE Vector<T> tanh(Vector<T> x) {
  const Vector<T> size = abs<T>(x);
  if constexpr (single<T>) {
    const Vector<T> z = x * x;
    const Vector<T> series =
        polynomial<T>(z, -0.333332807f, 0.133314416f, -0.0537397154f, 0.020639088f, -0.00570498733f);
    const Vector<T> inner = fma<T>(size * z, series, size);
    const Vector<T> outer = 1.0f - 2.0f / one_and_exp<T>(low<T>(splat(20.0f), size + size));
    return with_sign<T>(select<T>(less<T>(size, splat(0.625f)), inner, outer), x);
  } else {
    const Vector<T> e = expm1_below<T>(T(-2) * size);
    return with_sign<T>(abs<T>(e / (e + T(2))), x);
  }
}

// log. x = 2^k (1 + f).

template <class T>
struct Split {
  Vector<T> k, f;
};

// For positive normal numbers; f in [least - 1, 2 least - 1).
template <class T>
OSTINATO_INLINE Split<T> split(Vector<T> x, T least) {
  const Natural<T> whole = (Natural<T>)x, from = (Natural<T>)splat(least), one = (Natural<T>)splat(T(1));
  const Natural<T> biased = (whole - from + one) >> mantissa<T>;  // k + the bias of exponents
  const Vector<T> k = (Vector<T>)(biased + (Natural<T>)splat(rounder<T>)) - (rounder<T> + T(single<T> ? 127 : 1023));
  return {k, (Vector<T>)(whole - (biased << mantissa<T>) + one) - T(1)};
}

// k log(2) + log(1 + f)
OSTINATO_INLINE Vector<float> log_of(Vector<float> k, Vector<float> f) {
  const Vector<float> q =
      polynomial<float>(f, 0.333333403f, -0.250001639f, 0.199996054f, -0.166552961f, 0.142762393f, -0.127277792f,
                        0.117006615f, -0.0911618993f, 0.0376729108f);
  const Vector<float> u = fma<float>(q, f, splat(-0.5f)) * (f * f);
  return fma<float>(k, splat(Exponential<float>::ln2_high), fma<float>(k, splat(Exponential<float>::ln2_low), u) + f);
}
OSTINATO_INLINE Vector<double> log_of(Vector<double> k, Vector<double> f) {
  const Vector<double> s = f / (f + 2.0), z = s * s;
  const Vector<double> r = z * polynomial<double>(z, 0.66666666666667354, 0.39999999999407483, 0.28571428744142522,
                                                  0.22222198378361815, 0.18183575171491549, 0.15313755605136406,
                                                  0.14799067666548991);
  const Vector<double> square = 0.5 * f * f;
  const Vector<double> rest = fma<double>(s, square + r, k * Exponential<double>::ln2_low);
  return fma<double>(k, splat(Exponential<double>::ln2_high), f - (square - rest));
}

template <class T>
OSTINATO_INLINE Vector<T> log(Vector<T> x) {
  constexpr T infinity = T(__builtin_inf()), least_normal = single<T> ? T(0x1p-126) : T(0x1p-1022);
  constexpr T up = single<T> ? T(0x1p23) : T(0x1p52);
  const Mask<T> tiny = less<T>(x, splat(least_normal));
  const Split<T> s = split<T>(select<T>(tiny, x * up, x), single<T> ? T(0.75) : T(0.70710678118654752));
  Vector<T> y = log_of(s.k - select<T>(tiny, splat(T(mantissa<T>)), splat(T(0))), s.f);
  y = select<T>(less<T>(x, splat(infinity)), y, x);  // infinity and NaN pass
  y = select<T>(less<T>(x, splat(T(0))), splat(T(__builtin_nan(""))), y);
  return select<T>(equal<T>(x, splat(T(0))), splat(-infinity), y);
}

template <class T>
OSTINATO_INLINE Vector<T> log1p(Vector<T> x) {
  if constexpr (single<T>) {
    constexpr float infinity = __builtin_inff();
    // 2^k from 1 + x; then f = (1 + x) / 2^k - 1 from x itself, in quarters to keep 2^-k in range.
    const Vector<T> k = split<T>(x + 1.0f, 0.75f).k;
    const Vector<T> down = times_power(4.0f, rounder<T> - k);
    Vector<T> y = log_of(k, fma<T>(0.25f * x, down, fma<T>(down, splat(0.25f), splat(-1.0f))));
    y = select<T>(less<T>(x, splat(infinity)), y, x);  // infinity and NaN pass
    y = select<T>(less<T>(x, splat(-1.0f)), splat(__builtin_nanf("")), y);
    y = select<T>(equal<T>(x, splat(-1.0f)), splat(-infinity), y);
    return select<T>(less<T>(abs<T>(x), splat(0x1p-30f)), x, y);  // -0
  } else {
    return by_lanes<T>(x, [](T v) { return __builtin_log1p(v); });
  }
}

// Functions of float by way of double, where rounding needs no care: a vector is two.

typedef float HalfVector __attribute__((vector_size(OSTINATO_VECTOR_BYTES / 2)));

OSTINATO_INLINE Vector<double> widened(Vector<float> v, int half) {
  HalfVector h;
  std::memcpy(&h, reinterpret_cast<const char*>(&v) + half * sizeof h, sizeof h);
#if OSTINATO_VECTOR_BYTES == 64  // of GCC 12's own making, each would be two
  return _mm512_maskz_cvtps_pd(every<double>, h);
#else
  return __builtin_convertvector(h, Vector<double>);
#endif
}
OSTINATO_INLINE Vector<float> narrowed(Vector<double> a, Vector<double> b) {
#if OSTINATO_VECTOR_BYTES == 64
  const HalfVector halves[2] = {_mm512_maskz_cvtpd_ps(every<double>, a), _mm512_maskz_cvtpd_ps(every<double>, b)};
#else
  const HalfVector halves[2] = {__builtin_convertvector(a, HalfVector), __builtin_convertvector(b, HalfVector)};
#endif
  Vector<float> v;
  std::memcpy(&v, halves, sizeof v);
  return v;
}

// sin(x + quarters * pi/2) for |x| <= 1e6, to the precision of float.
OSTINATO_INLINE Vector<double> sine(Vector<double> x, double quarters) {
  const Vector<double> t = fma<double>(x, splat(0.63661977236758134), splat(rounder<double>)), n = t - rounder<double>;
  const Vector<double> r = fma<double>(n, splat(-6.07710050650619224932e-11),
                                       fma<double>(n, splat(-1.57079632673412561417), x));
  const Vector<double> z = r * r;
  const Vector<double> odd = r * polynomial<double>(z, 1.0, -1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880);
  const Vector<double> even = polynomial<double>(z, 1.0, -0.5, 1.0 / 24, -1.0 / 720, 1.0 / 40320, -1.0 / 3628800);
  const Natural<double> turn = (Natural<double>)(t + quarters);  // its lowest bits count quarters of a circle
  const Vector<double> negative = (Vector<double>)((turn >> 1) << 63), cosine = (Vector<double>)(turn << 63);
  return (Vector<double>)(bits<double>(select_by_sign<double>(cosine, even, odd)) ^ bits<double>(negative));
}

// Lanes that no vector version serves are the library's; the others do not depend on them.
template <class T, class Library>
OSTINATO_INLINE Vector<T> circular(Vector<T> x, double quarters, Library library) {
  if constexpr (single<T>) {
    const Vector<T> y = narrowed(sine(widened(x, 0), quarters), sine(widened(x, 1), quarters));
    const Mask<T> well = less<T>(abs<T>(x), splat(1e6f));
    return all<T>(well) ? y : select<T>(well, y, by_lanes<T>(x, library));
  } else {
    return by_lanes<T>(x, library);
  }
}
template <class T>
OSTINATO_INLINE Vector<T> sin(Vector<T> x) {
  const auto library = [](T v) { return single<T> ? __builtin_sinf(v) : __builtin_sin(v); };
  return select<T>(equal<T>(x, splat(T(0))), x, circular<T>(x, 0, library));  // -0
}
template <class T>
OSTINATO_INLINE Vector<T> cos(Vector<T> x) {
  return circular<T>(x, 1, [](T v) { return single<T> ? __builtin_cosf(v) : __builtin_cos(v); });
}

template <class T>
OSTINATO_INLINE Vector<T> erf(Vector<T> x) {
  if constexpr (single<T>) {
    const Vector<T> size = abs<T>(x), z = x * x;
    const Vector<T> inner = fma<T>(x, polynomial<T>(z, 0.128379166f, -0.376126319f, 0.112836875f, -0.0268589407f,
                                                    0.00519990688f, -0.000813001301f, 8.31677535e-05f), x);
    const Vector<T> t = low<T>(splat(4.0f), size);  // 1 - exp(t P(t)) from there on is 1
    const Vector<T> outer = -expm1_below<T>(
        t * polynomial<T>(t, -1.12855172f, -0.635625303f, -0.105262689f, 0.0226741266f, -0.0029301499f, 4.95838722e-05f,
                          4.55817644e-05f, -4.93826292e-06f));
    return select<T>(less<T>(size, splat(0.925f)), with_sign<T>(abs<T>(inner), x), with_sign<T>(outer, x));
  } else {
    return by_lanes<T>(x, [](T v) { return __builtin_erf(v); });
  }
}

// a^b for positive a.
OSTINATO_INLINE Vector<double> power(Vector<double> a, Vector<double> b) {
  constexpr double log2e = Exponential<double>::log2e, ln2 = 0.69314718055994531;
  const Split<double> s = split<double>(a, 0.70710678118654752);
  const Vector<double> q = s.f / (s.f + 2.0);
  const Vector<double> series = q * polynomial<double>(q * q, 2.0, 2.0 / 3, 2.0 / 5, 2.0 / 7, 2.0 / 9, 2.0 / 11);
  const Vector<double> x = b * fma<double>(s.k, splat(ln2), series);
  const Vector<double> in = low<double>(splat(200.0), high<double>(splat(-200.0), x));
  const Vector<double> t = fma<double>(in, splat(log2e), splat(rounder<double>));
  const Vector<double> r = fma<double>(t - rounder<double>, splat(-ln2), in);
  return times_power(1.0, t) * polynomial<double>(r, 1.0, 1.0, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720,
                                                  1.0 / 5040, 1.0 / 40320);
}

template <class T>
OSTINATO_INLINE Vector<T> pow(Vector<T> a, Vector<T> b) {
  const auto library = [](T x, T y) { return single<T> ? __builtin_powf(x, y) : __builtin_pow(x, y); };
  if constexpr (single<T>) {
    const Vector<T> size = abs<T>(a), zero{}, infinity = splat(__builtin_inff());
    // Zeros, infinities and NaN are the library's.
    const Mask<T> well = less<T>(zero, size) & less<T>(size, infinity) & less<T>(abs<T>(b), infinity);
    const Vector<T> y = narrowed(power(widened(size, 0), widened(b, 0)), power(widened(size, 1), widened(b, 1)));
    const Vector<T> half = b * 0.5f;  // a negative base: odd, even or no power
    const Vector<T> odd = select<T>(differ<T>(rounded<T, to_even>(half), half), -y, y);
    const Vector<T> power = select<T>(equal<T>(rounded<T, to_even>(b), b), odd, splat(__builtin_nanf("")));
    const Vector<T> result = select_by_sign<T>(a, power, y);
    return all<T>(well) ? result : select<T>(well, result, by_lanes<T>(a, b, library));
  } else {
    return by_lanes<T>(a, b, library);
  }
}

}  // namespace ostinato::OSTINATO_ISA
