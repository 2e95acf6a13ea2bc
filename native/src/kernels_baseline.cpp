#define OSTINATO_ISA baseline
#define OSTINATO_VECTOR_BYTES 16
#include "gemm.h"
#include "pointwise.h"

namespace ostinato {

template <class T>
const Kernels<T>* kernels_baseline() {
  static constexpr Kernels<T> table = baseline::make_kernels<T>();
  return &table;
}
template const Kernels<float>* kernels_baseline<float>();
template const Kernels<double>* kernels_baseline<double>();

}  // namespace ostinato
