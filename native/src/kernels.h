// What the machine needs of an instruction set: one table of functions for each element type. Each instruction set is
// one translation unit (kernels_<isa>.cpp) that includes the same templates with its own vector width.
#pragma once

#include <cstdint>

namespace ostinato {

using Index = std::int64_t;
using Half = std::uint16_t;  // the upper half of a float: bfloat16

// One instruction over a tile of rows x cols: y = f(a, b, c). A row begins `stride` elements after the one before; an
// operand is a vector along the columns, or (where the function's name says S) one value for the whole row.
template <class T>
using Apply = void (*)(Index rows, Index cols, T* y, Index ys, const T* a, Index as, const T* b, Index bs, const T* c,
                       Index cs);

// The opcodes: name, number of operands. The order is part of the C interface (ost_opcode).
#define OSTINATO_OPCODES(X)                                                                                           \
  X(copy, 1) X(neg, 1) X(abs, 1) X(sign, 1) X(floor, 1) X(ceil, 1) X(round, 1) X(relu, 1) X(exp, 1) X(expm1, 1)       \
  X(log, 1) X(log1p, 1) X(tanh, 1) X(sigmoid, 1) X(sqrt, 1) X(rsqrt, 1) X(reciprocal, 1) X(sin, 1) X(cos, 1)          \
  X(erf, 1) X(not, 1) X(truth, 1) X(add, 2) X(sub, 2) X(mul, 2) X(div, 2) X(maximum, 2) X(minimum, 2) X(pow, 2)      \
  X(gt, 2) X(ge, 2) X(lt, 2) X(le, 2) X(eq, 2) X(ne, 2) X(and, 2) X(or, 2) X(xor, 2) X(where, 3) X(muladd, 3)         \
  X(dtanh, 2) X(dsigmoid, 2) X(lerp, 3) X(submul, 3)
// truth(a) = (a != 0); booleans are 0 and 1. muladd(a, b, c) = a*b + c; submul(a, b, c) = a - b*c;
// dtanh(g, y) = g*(1 - y*y); dsigmoid(g, y) = g*(y*(1 - y)); lerp(a, b, z) = (1 - z)*a + z*b.

enum Opcode : int {
#define OSTINATO_ENUM(name, arity) op_##name,
  OSTINATO_OPCODES(OSTINATO_ENUM)
#undef OSTINATO_ENUM
  opcode_count
};

enum Splat : int { splat_a = 1, splat_b = 2, splat_c = 4, splat_kinds = 8 };

template <class T>
struct Kernels {
  Index lanes;  // elements of a vector; tile slots and scratch rows are multiples of it

  // Products. Panels of `lanes` columns: [ceil(N / lanes)][K][lanes], zero beyond N.
  // Packs the panels [first, last).
  void (*pack)(const T* w, Index in, Index out, Index K, Index N, Index first, Index last, T* panels);
  // c[rows, cols] = init + a[rows, K] @ panels. `panels` begins at the first wanted column, a multiple of lanes; cols
  // need not be one. init may be null, or have row stride 0; it may be c itself. a_k: the stride along K, 1 usually.
  void (*gemm)(Index rows, Index cols, Index K, const T* a, Index a_m, Index a_k, const T* panels, const T* init,
               Index init_m, T* c, Index c_m);
  // The same with panels of halves; null for double.
  void (*gemm_half)(Index rows, Index cols, Index K, const T* a, Index a_m, Index a_k, const Half* panels,
                    const T* init, Index init_m, T* c, Index c_m);

  // Pointwise: apply[opcode][splat mask]; null where a mask makes no sense (all operands splat: use copy first).
  Apply<T> apply[opcode_count][splat_kinds];
  // Tile slots and strided or byte-wide memory. `col` is the stride along the columns.
  void (*gather)(Index rows, Index cols, T* y, Index ys, const T* a, Index as, Index col);
  void (*scatter)(Index rows, Index cols, T* y, Index ys, Index col, const T* a, Index as);
  void (*widen)(Index rows, Index cols, T* y, Index ys, const std::uint8_t* a, Index as, Index col);
  void (*narrow)(Index rows, Index cols, std::uint8_t* y, Index ys, Index col, const T* a, Index as);
  // y[row] = sum or max of a's cols.  y += / max= where `onto`.
  void (*sum)(Index rows, Index cols, T* y, Index ys, const T* a, Index as);
  void (*max)(Index rows, Index cols, T* y, Index ys, const T* a, Index as);

  // Packs all panels and adds the sums of w along K to sums[N].
  void (*pack_sums)(const T* w, Index in, Index out, Index K, Index N, T* panels, T* sums);
};

// The table of an instruction set, null where it was not compiled in.
template <class T> const Kernels<T>* kernels_baseline();
template <class T> const Kernels<T>* kernels_avx2();
template <class T> const Kernels<T>* kernels_avx512();
template <class T> const Kernels<T>* kernels_neon();

// The table in use: the best that this processor runs, or OSTINATO_ISA's. Null when that one cannot run here.
template <class T> const Kernels<T>* kernels();

}  // namespace ostinato
