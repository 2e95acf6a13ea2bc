// Empty for other processors.
#if defined(__x86_64__)
#define OSTINATO_ISA avx512
#define OSTINATO_VECTOR_BYTES 64
#include "gemm.h"
#include "pointwise.h"

namespace ostinato {

template <class T>
const Kernels<T>* kernels_avx512() {
  static constexpr Kernels<T> table = avx512::make_kernels<T>();
  return &table;
}
template const Kernels<float>* kernels_avx512<float>();
template const Kernels<double>* kernels_avx512<double>();

}  // namespace ostinato
#endif
