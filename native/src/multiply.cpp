// Large products: the input's for all steps at once, and the gradients of weights and inputs.
#include <algorithm>
#include <new>

#include "message.h"
#include "threads.h"
#include "workspace.h"

namespace ostinato {
namespace {

constexpr Index block_rows = 96, block_depth = 256, block_panels = 3;

thread_local Workspace panel_space;

template <class T>
struct Product {
  const ost_product& p;
  const Kernels<T>& table;

  const T* a(Index i, Index k) const { return static_cast<const T*>(p.a) + i * p.a_m + k * p.a_k; }
  const T* b(Index k, Index j) const { return static_cast<const T*>(p.b) + k * p.b_k + j * p.b_n; }
  T* c(Index i, Index j) const { return static_cast<T*>(p.c) + i * p.c_m + j; }
  const T* init(Index i, Index j) const {
    return p.init ? static_cast<const T*>(p.init) + i * p.init_m + j : nullptr;
  }

  // Rows [i0, i1) of columns [j0, j1), for the terms [k0, k1): onto what is there, after the first.
  void block(Index i0, Index i1, Index j0, Index j1, Index k0, Index k1, const T* panels) const {
    const bool first = k0 == 0;
    table.gemm(i1 - i0, j1 - j0, k1 - k0, a(i0, k0), p.a_m, p.a_k, panels, first ? init(i0, j0) : c(i0, j0),
               first ? p.init_m : p.c_m, c(i0, j0), p.c_m);
  }

  // Many rows: all of b as panels, then the rows in blocks.
  int by_rows() const {
    const Index L = table.lanes, panels = (p.n + L - 1) / L;
    T* packed = static_cast<T*>(panel_space.reserve(panels * L * p.k * sizeof(T)));
    if (!packed) return fail(OST_MEMORY, "no memory for a product");
    const Index depths = (p.k + block_depth - 1) / block_depth;
    const Index some = std::max<Index>(1, (Index{1} << 16) / (block_depth * L)), parts = (panels + some - 1) / some;
    each(depths * parts, p.threads, p.parallel, [&](Index i) {
      const Index k0 = i / parts * block_depth, k1 = std::min(p.k, k0 + block_depth);
      table.pack(b(k0, 0), p.b_k, p.b_n, k1 - k0, p.n, i % parts * some, std::min(panels, (i % parts + 1) * some),
                 packed + k0 * panels * L);
    });
    const Index blocks = (p.m + block_rows - 1) / block_rows, share = (blocks + p.threads - 1) / p.threads * p.threads;
    const Index all = std::min(p.m, share);  // as many for every thread
    each(all, p.threads, p.parallel, [&](Index i) {
      const Index i0 = p.m * i / all, i1 = p.m * (i + 1) / all;
      for (Index k0 = 0; k0 < p.k; k0 += block_depth) {
        const Index k1 = std::min(p.k, k0 + block_depth);
        for (Index q = 0; q < panels; q += block_panels)
          block(i0, i1, q * L, std::min(p.n, (q + block_panels) * L), k0, k1,
                packed + k0 * panels * L + q * L * (k1 - k0));
      }
    });
    return OST_OK;
  }

  // Few rows and many terms: columns in groups, each packed as it goes.
  int by_columns(Index group) const {
    const Index L = table.lanes, width = group * L, groups = (p.n + width - 1) / width;
    std::atomic<bool> failed{false};
    each(groups, p.threads, p.parallel, [&](Index g) {
      const Index j0 = g * width, j1 = std::min(p.n, j0 + width), own = (j1 - j0 + L - 1) / L;
      T* packed = static_cast<T*>(panel_space.reserve(width * block_depth * sizeof(T)));
      if (!packed) {
        failed = true;
        return;
      }
      for (Index k0 = 0; k0 < p.k; k0 += block_depth) {
        const Index k1 = std::min(p.k, k0 + block_depth);
        table.pack(b(k0, j0), p.b_k, p.b_n, k1 - k0, j1 - j0, 0, own, packed);
        for (Index i0 = 0; i0 < p.m; i0 += block_rows)
          for (Index q = 0; q < own; q += block_panels)
            block(i0, std::min(p.m, i0 + block_rows), j0 + q * L, std::min(j1, j0 + (q + block_panels) * L), k0, k1,
                  packed + q * L * (k1 - k0));
      }
    });
    return failed ? fail(OST_MEMORY, "no memory for a product") : OST_OK;
  }

  // The sum over k of b, in groups of columns.
  void sums() const {
    constexpr Index width = 64;
    T* const to = static_cast<T*>(p.sums);
    each((p.n + width - 1) / width, p.threads, p.parallel, [&](Index g) {
      const Index j0 = g * width, n = std::min(p.n - j0, width);
      if (p.b_n != 1) {
        for (Index j = j0; j < j0 + n; ++j) {
          T total = 0;
          for (Index k = 0; k < p.k; ++k) total += *b(k, j);
          to[j] = total;
        }
        return;
      }
      std::fill(to + j0, to + j0 + n, T(0));
      for (Index k = 0; k < p.k; ++k)
        table.apply[op_add][0](1, n, to + j0, 0, to + j0, 0, b(k, j0), 0, nullptr, 0);
    });
  }

  int run() const {
    if (p.sums) sums();
    const Index panels = (p.n + table.lanes - 1) / table.lanes;
    if (p.m <= 2 * block_rows * p.threads && p.k > 2 * block_depth) {
      const Index group = panels >= 2 * block_panels * p.threads ? block_panels
                                                                : std::max<Index>(1, panels / (2 * p.threads));
      return by_columns(group);
    }
    return by_rows();
  }
};

template <class T>
int multiply(ost_product p) {
  const Kernels<T>* table = kernels<T>();
  if (!table) return fail(OST_UNSUPPORTED, "the instruction set asked for does not run here");
  if (!p.parallel || static_cast<double>(p.m) * p.n * p.k < 2e5) p.threads = 1;
  return Product<T>{p, *table}.run();
}

}  // namespace
}  // namespace ostinato

int ost_multiply(const ost_product* p) {
  using ostinato::fail;
  if (!p || p->m < 0 || p->n < 0 || p->k < 1 || p->threads < 1) return fail(OST_INVALID, "no product, or a size below zero");
  if (!p->m || !p->n) return OST_OK;
  if (!p->a || !p->b || !p->c) return fail(OST_INVALID, "a matrix is nowhere");
  if (p->bytes != 4 && p->bytes != 8) return fail(OST_INVALID, "elements of %lld bytes, not 4 or 8", (long long)p->bytes);
  try {
    return p->bytes == 4 ? ostinato::multiply<float>(*p) : ostinato::multiply<double>(*p);
  } catch (const std::bad_alloc&) {
    return fail(OST_MEMORY, "no memory for a product");
  }
}
