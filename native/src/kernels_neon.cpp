// Empty for other processors.
#if defined(__aarch64__)
#define OSTINATO_ISA neon
#define OSTINATO_VECTOR_BYTES 16
#include "gemm.h"
#include "pointwise.h"

namespace ostinato {

template <class T>
const Kernels<T>* kernels_neon() {
  static constexpr Kernels<T> table = neon::make_kernels<T>();
  return &table;
}
template const Kernels<float>* kernels_neon<float>();
template const Kernels<double>* kernels_neon<double>();

}  // namespace ostinato
#endif
