// Empty for other processors.
#if defined(__x86_64__)
#define OSTINATO_ISA avx2
#define OSTINATO_VECTOR_BYTES 32
#include "gemm.h"
#include "pointwise.h"

namespace ostinato {

template <class T>
const Kernels<T>* kernels_avx2() {
  static constexpr Kernels<T> table = avx2::make_kernels<T>();
  return &table;
}
template const Kernels<float>* kernels_avx2<float>();
template const Kernels<double>* kernels_avx2<double>();

}  // namespace ostinato
#endif
