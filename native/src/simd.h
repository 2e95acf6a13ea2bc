// Vectors of one instruction set. Included only by kernels_<isa>.cpp, which defines OSTINATO_ISA (a namespace, so that
// no two translation units share a template's instance) and OSTINATO_VECTOR_BYTES.
//
// No inline function of the standard library is called here or in what includes this: the linker could keep the copy of
// the widest translation unit for all of them. Builtins and intrinsics leave no copies.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "kernels.h"

#define OSTINATO_INLINE [[gnu::always_inline]] inline

namespace ostinato::OSTINATO_ISA {

template <class T>
constexpr int lanes = OSTINATO_VECTOR_BYTES / static_cast<int>(sizeof(T));

template <class T> struct VectorOf;
template <> struct VectorOf<float> {
  typedef float type __attribute__((vector_size(OSTINATO_VECTOR_BYTES)));
  typedef float loose __attribute__((vector_size(OSTINATO_VECTOR_BYTES), aligned(4), may_alias));
  typedef std::int32_t whole __attribute__((vector_size(OSTINATO_VECTOR_BYTES)));
  typedef std::uint32_t natural __attribute__((vector_size(OSTINATO_VECTOR_BYTES)));
};
template <> struct VectorOf<double> {
  typedef double type __attribute__((vector_size(OSTINATO_VECTOR_BYTES)));
  typedef double loose __attribute__((vector_size(OSTINATO_VECTOR_BYTES), aligned(8), may_alias));
  typedef std::int64_t whole __attribute__((vector_size(OSTINATO_VECTOR_BYTES)));
  typedef std::uint64_t natural __attribute__((vector_size(OSTINATO_VECTOR_BYTES)));
};
template <class T> using Vector = typename VectorOf<T>::type;
template <class T> using Whole = typename VectorOf<T>::whole;  // integers of the same width; also what == and < give
template <class T> using Natural = typename VectorOf<T>::natural;

template <class T>
constexpr bool single = sizeof(T) == 4;

template <class T>
OSTINATO_INLINE Vector<T> load(const T* p) {
  return *reinterpret_cast<const typename VectorOf<T>::loose*>(p);
}
// The upper halves of floats (bfloat16), as floats.
OSTINATO_INLINE Vector<float> load(const Half* p) {
  typedef Half Halves __attribute__((vector_size(2 * lanes<float>), aligned(2), may_alias));
  const auto wide = __builtin_convertvector(*reinterpret_cast<const Halves*>(p), Natural<float>);
  return (Vector<float>)(wide << 16);
}
template <class T>
OSTINATO_INLINE void store(T* p, Vector<T> v) {
  *reinterpret_cast<typename VectorOf<T>::loose*>(p) = v;
}
template <class T>
OSTINATO_INLINE Vector<T> splat(T value) {
  return value - Vector<T>{};  // not a sum: that would lose the sign of -0
}
template <class T>
OSTINATO_INLINE Whole<T> bits(Vector<T> v) {
  return (Whole<T>)v;
}
template <class T>
OSTINATO_INLINE Vector<T> from_bits(Whole<T> v) {
  return (Vector<T>)v;
}
template <class T>
OSTINATO_INLINE Vector<T> abs(Vector<T> v) {
  return from_bits<T>(bits<T>(v) & ~bits<T>(splat(T(-0.0))));
}
template <class T>
OSTINATO_INLINE Vector<T> negative_abs(Vector<T> v) {
  return from_bits<T>(bits<T>(v) | bits<T>(splat(T(-0.0))));
}
// `size` (not negative) with the sign of `sign`.
template <class T>
OSTINATO_INLINE Vector<T> with_sign(Vector<T> size, Vector<T> sign) {
  return from_bits<T>(bits<T>(size) | (bits<T>(sign) & bits<T>(splat(T(-0.0)))));
}

// A value of 2^mantissa * 1.5: what is added to it is rounded to a whole number, found in the sum's low bits.
template <class T>
constexpr T rounder = single<T> ? T(12582912) : T(6755399441055744);
template <class T>
constexpr int mantissa = single<T> ? 23 : 52;

// scale * 2^n for t = rounder + n, scale a power of two, where that is a normal number.
template <class T>
OSTINATO_INLINE Vector<T> times_power(T scale, Vector<T> t) {
  return (Vector<T>)(((Natural<T>)t << mantissa<T>) + (Natural<T>)splat(scale));
}

// The functions that instruction sets have or lack: `Mask<T>` is what a comparison gives; low and high are b where a or
// b is NaN or both are equal; load_part and store_part take 0 < n < lanes elements, the others being zero.
#if OSTINATO_VECTOR_BYTES == 64

template <class T> struct MaskOf;
template <> struct MaskOf<float> { using type = __mmask16; };
template <> struct MaskOf<double> { using type = __mmask8; };
template <class T> using Mask = typename MaskOf<T>::type;

// The masked intrinsics with a full mask are the plain ones, without GCC 12's warnings of uninitialized values in them.
template <class T>
constexpr Mask<T> every = static_cast<Mask<T>>(-1);

template <class T, int predicate>
OSTINATO_INLINE Mask<T> compare(Vector<T> a, Vector<T> b) {
  if constexpr (single<T>) return _mm512_cmp_ps_mask(a, b, predicate);
  else return _mm512_cmp_pd_mask(a, b, predicate);
}
template <class T> OSTINATO_INLINE Mask<T> less(Vector<T> a, Vector<T> b) { return compare<T, _CMP_LT_OQ>(a, b); }
template <class T> OSTINATO_INLINE Mask<T> at_most(Vector<T> a, Vector<T> b) { return compare<T, _CMP_LE_OQ>(a, b); }
template <class T> OSTINATO_INLINE Mask<T> equal(Vector<T> a, Vector<T> b) { return compare<T, _CMP_EQ_OQ>(a, b); }
template <class T> OSTINATO_INLINE Mask<T> differ(Vector<T> a, Vector<T> b) { return compare<T, _CMP_NEQ_UQ>(a, b); }
template <class T> OSTINATO_INLINE bool all(Mask<T> m) { return m == every<T>; }
template <class T>
OSTINATO_INLINE Vector<T> select(Mask<T> m, Vector<T> a, Vector<T> b) {
  if constexpr (single<T>) return _mm512_mask_blend_ps(m, b, a);
  else return _mm512_mask_blend_pd(m, b, a);
}
template <class T>
OSTINATO_INLINE Vector<T> flag(Mask<T> m) {
  if constexpr (single<T>) return _mm512_maskz_mov_ps(m, splat(1.0f));
  else return _mm512_maskz_mov_pd(m, splat(1.0));
}
template <class T>
OSTINATO_INLINE Vector<T> fma(Vector<T> a, Vector<T> b, Vector<T> c) {
  if constexpr (single<T>) return _mm512_fmadd_ps(a, b, c);
  else return _mm512_fmadd_pd(a, b, c);
}
template <class T>
OSTINATO_INLINE Vector<T> low(Vector<T> a, Vector<T> b) {
  if constexpr (single<T>) return _mm512_maskz_min_ps(every<T>, a, b);
  else return _mm512_maskz_min_pd(every<T>, a, b);
}
template <class T>
OSTINATO_INLINE Vector<T> high(Vector<T> a, Vector<T> b) {
  if constexpr (single<T>) return _mm512_maskz_max_ps(every<T>, a, b);
  else return _mm512_maskz_max_pd(every<T>, a, b);
}
template <class T>
OSTINATO_INLINE Vector<T> sqrt(Vector<T> a) {
  if constexpr (single<T>) return _mm512_maskz_sqrt_ps(every<T>, a);
  else return _mm512_maskz_sqrt_pd(every<T>, a);
}
enum Rounding : int { to_even = _MM_FROUND_TO_NEAREST_INT, down = _MM_FROUND_TO_NEG_INF, up = _MM_FROUND_TO_POS_INF };
template <class T, Rounding how>
OSTINATO_INLINE Vector<T> rounded(Vector<T> a) {
  if constexpr (single<T>) return _mm512_maskz_roundscale_ps(every<T>, a, how | _MM_FROUND_NO_EXC);
  else return _mm512_maskz_roundscale_pd(every<T>, a, how | _MM_FROUND_NO_EXC);
}
template <class T>
OSTINATO_INLINE Vector<T> load_part(const T* p, Index n) {
  const auto m = static_cast<Mask<T>>((1u << n) - 1);
  if constexpr (single<T>) return _mm512_maskz_loadu_ps(m, p);
  else return _mm512_maskz_loadu_pd(m, p);
}
template <class T>
OSTINATO_INLINE void store_part(T* p, Vector<T> v, Index n) {
  const auto m = static_cast<Mask<T>>((1u << n) - 1);
  if constexpr (single<T>) _mm512_mask_storeu_ps(p, m, v);
  else _mm512_mask_storeu_pd(p, m, v);
}

#else

template <class T> using Mask = Whole<T>;

template <class T> OSTINATO_INLINE Mask<T> less(Vector<T> a, Vector<T> b) { return a < b; }
template <class T> OSTINATO_INLINE Mask<T> at_most(Vector<T> a, Vector<T> b) { return a <= b; }
template <class T> OSTINATO_INLINE Mask<T> equal(Vector<T> a, Vector<T> b) { return a == b; }
template <class T> OSTINATO_INLINE Mask<T> differ(Vector<T> a, Vector<T> b) { return a != b; }
template <class T>
OSTINATO_INLINE Vector<T> flag(Mask<T> m) {
  return from_bits<T>(m & bits<T>(splat(T(1))));
}

template <class T>
OSTINATO_INLINE void store_part(T* p, Vector<T> v, Index n) {
  const char* from = reinterpret_cast<const char*>(&v);
  char* to = reinterpret_cast<char*>(p);
  if constexpr (lanes<T> > 4)
    if (n & 4) std::memcpy(to, from, 4 * sizeof(T)), to += 4 * sizeof(T), from += 4 * sizeof(T);
  if constexpr (lanes<T> > 2)
    if (n & 2) std::memcpy(to, from, 2 * sizeof(T)), to += 2 * sizeof(T), from += 2 * sizeof(T);
  if (n & 1) std::memcpy(to, from, sizeof(T));
}

#if OSTINATO_VECTOR_BYTES == 32

template <class T>
OSTINATO_INLINE bool all(Mask<T> m) {
  return _mm256_movemask_epi8((__m256i)m) == -1;
}
template <class T>
OSTINATO_INLINE Vector<T> select(Mask<T> m, Vector<T> a, Vector<T> b) {
  if constexpr (single<T>) return _mm256_blendv_ps(b, a, (__m256)m);
  else return _mm256_blendv_pd(b, a, (__m256d)m);
}
template <class T>
OSTINATO_INLINE Vector<T> fma(Vector<T> a, Vector<T> b, Vector<T> c) {
  if constexpr (single<T>) return _mm256_fmadd_ps(a, b, c);
  else return _mm256_fmadd_pd(a, b, c);
}
template <class T>
OSTINATO_INLINE Vector<T> low(Vector<T> a, Vector<T> b) {
  if constexpr (single<T>) return _mm256_min_ps(a, b);
  else return _mm256_min_pd(a, b);
}
template <class T>
OSTINATO_INLINE Vector<T> high(Vector<T> a, Vector<T> b) {
  if constexpr (single<T>) return _mm256_max_ps(a, b);
  else return _mm256_max_pd(a, b);
}
template <class T>
OSTINATO_INLINE Vector<T> sqrt(Vector<T> a) {
  if constexpr (single<T>) return _mm256_sqrt_ps(a);
  else return _mm256_sqrt_pd(a);
}
enum Rounding : int { to_even = _MM_FROUND_TO_NEAREST_INT, down = _MM_FROUND_TO_NEG_INF, up = _MM_FROUND_TO_POS_INF };
template <class T, Rounding how>
OSTINATO_INLINE Vector<T> rounded(Vector<T> a) {
  if constexpr (single<T>) return _mm256_round_ps(a, how | _MM_FROUND_NO_EXC);
  else return _mm256_round_pd(a, how | _MM_FROUND_NO_EXC);
}
template <class T>
OSTINATO_INLINE Vector<T> load_part(const T* p, Index n) {
  if constexpr (single<T>) {
    const Whole<T> lane = {0, 1, 2, 3, 4, 5, 6, 7};
    return _mm256_maskload_ps(p, (__m256i)(lane < static_cast<std::int32_t>(n)));
  } else {
    const Whole<T> lane = {0, 1, 2, 3};
    return _mm256_maskload_pd(p, (__m256i)(lane < n));
  }
}

#else

template <class T>
OSTINATO_INLINE bool all(Mask<T> m) {
  std::int64_t halves[2];
  std::memcpy(halves, &m, sizeof halves);
  return (halves[0] & halves[1]) == -1;
}
template <class T>
OSTINATO_INLINE Vector<T> select(Mask<T> m, Vector<T> a, Vector<T> b) {
  return from_bits<T>((bits<T>(a) & m) | (bits<T>(b) & ~m));
}
template <class T>
OSTINATO_INLINE Vector<T> load_part(const T* p, Index n) {
  Vector<T> v{};
  char* to = reinterpret_cast<char*>(&v);
  const char* from = reinterpret_cast<const char*>(p);
  if constexpr (lanes<T> > 2)
    if (n & 2) std::memcpy(to, from, 2 * sizeof(T)), to += 2 * sizeof(T), from += 2 * sizeof(T);
  if (n & 1) std::memcpy(to, from, sizeof(T));
  return v;
}

#if defined(__x86_64__)
template <class T>
OSTINATO_INLINE Vector<T> low(Vector<T> a, Vector<T> b) {
  if constexpr (single<T>) return _mm_min_ps(a, b);
  else return _mm_min_pd(a, b);
}
template <class T>
OSTINATO_INLINE Vector<T> high(Vector<T> a, Vector<T> b) {
  if constexpr (single<T>) return _mm_max_ps(a, b);
  else return _mm_max_pd(a, b);
}
template <class T>
OSTINATO_INLINE Vector<T> sqrt(Vector<T> a) {
  if constexpr (single<T>) return _mm_sqrt_ps(a);
  else return _mm_sqrt_pd(a);
}
#else
template <class T> OSTINATO_INLINE Vector<T> low(Vector<T> a, Vector<T> b) { return select<T>(a < b, a, b); }
template <class T> OSTINATO_INLINE Vector<T> high(Vector<T> a, Vector<T> b) { return select<T>(a > b, a, b); }
template <class T>
OSTINATO_INLINE Vector<T> sqrt(Vector<T> a) {
#if defined(__aarch64__)
  if constexpr (single<T>) return (Vector<T>)vsqrtq_f32((float32x4_t)a);
  else return (Vector<T>)vsqrtq_f64((float64x2_t)a);
#else
  for (int i = 0; i < lanes<T>; ++i) a[i] = single<T> ? __builtin_sqrtf(a[i]) : __builtin_sqrt(a[i]);
  return a;
#endif
}
#endif

#if defined(__aarch64__)
template <class T>
OSTINATO_INLINE Vector<T> fma(Vector<T> a, Vector<T> b, Vector<T> c) {
  if constexpr (single<T>) return (Vector<T>)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
  else return (Vector<T>)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
}
#else
template <class T>
OSTINATO_INLINE Vector<T> fma(Vector<T> a, Vector<T> b, Vector<T> c) {
  return a * b + c;  // rounded twice: what is made of it allows for that
}
#endif

enum Rounding : int { to_even, down, up };
template <class T, Rounding how>
OSTINATO_INLINE Vector<T> rounded(Vector<T> a) {
  constexpr T whole = single<T> ? T(8388608) : T(4503599627370496);  // from here on every number is whole
  const Vector<T> size = abs<T>(a);
  Vector<T> r = with_sign<T>((size + whole) - whole, a);
  if constexpr (how == down) r = r - flag<T>(a < r);
  if constexpr (how == up) r = with_sign<T>(abs<T>(r + flag<T>(r < a)), a);
  return select<T>(size < splat(whole), r, a);  // NaN passes
}

#endif  // 32
#endif  // 64

// For what is no NaN.
template <class T>
OSTINATO_INLINE Vector<T> select_by_sign(Vector<T> sign, Vector<T> if_negative, Vector<T> otherwise) {
#if OSTINATO_VECTOR_BYTES == 64
  if constexpr (single<T>) return select<T>(_mm512_movepi32_mask((__m512i)sign), if_negative, otherwise);
  else return select<T>(_mm512_movepi64_mask((__m512i)sign), if_negative, otherwise);
#elif OSTINATO_VECTOR_BYTES == 32
  return select<T>(bits<T>(sign), if_negative, otherwise);  // a blend looks at the sign bit alone
#else
  return select<T>(bits<T>(sign) < 0, if_negative, otherwise);
#endif
}

template <class T>
OSTINATO_INLINE Mask<T> is_nan(Vector<T> a) {
  return differ<T>(a, a);
}

}  // namespace ostinato::OSTINATO_ISA
