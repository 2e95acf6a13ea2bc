// Vectors of one instruction set. Included only by kernels_<isa>.cpp, which defines OSTINATO_ISA (a namespace, so that
// no two translation units share a template's instance) and OSTINATO_VECTOR_BYTES.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels.h"

namespace ostinato::OSTINATO_ISA {

template <class T>
constexpr int lanes = OSTINATO_VECTOR_BYTES / static_cast<int>(sizeof(T));

template <class T> struct VectorOf;
template <> struct VectorOf<float> {
  typedef float type __attribute__((vector_size(OSTINATO_VECTOR_BYTES)));
  typedef float loose __attribute__((vector_size(OSTINATO_VECTOR_BYTES), aligned(4), may_alias));
  typedef std::int32_t whole __attribute__((vector_size(OSTINATO_VECTOR_BYTES)));
};
template <> struct VectorOf<double> {
  typedef double type __attribute__((vector_size(OSTINATO_VECTOR_BYTES)));
  typedef double loose __attribute__((vector_size(OSTINATO_VECTOR_BYTES), aligned(8), may_alias));
  typedef std::int64_t whole __attribute__((vector_size(OSTINATO_VECTOR_BYTES)));
};
template <class T> using Vector = typename VectorOf<T>::type;
template <class T> using Whole = typename VectorOf<T>::whole;  // integers of the same width; also what == and < give

template <class T>
[[gnu::always_inline]] inline Vector<T> load(const T* p) {
  return *reinterpret_cast<const typename VectorOf<T>::loose*>(p);
}
template <class T>
[[gnu::always_inline]] inline void store(T* p, Vector<T> v) {
  *reinterpret_cast<typename VectorOf<T>::loose*>(p) = v;
}
template <class T>
[[gnu::always_inline]] inline Vector<T> splat(T value) {
  return value - Vector<T>{};  // not a sum: that would lose the sign of -0
}

}  // namespace ostinato::OSTINATO_ISA
