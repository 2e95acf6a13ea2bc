// Large products: the input's for all steps at once, and the gradients of weights and inputs.
//
// The product is cut into equal tasks along rows, columns and terms, one for each thread; a task goes through its part
// in blocks of `depth` terms and `width_` columns, whose part of b is packed as panels. Where terms are cut, each task
// has a sum of its own, added up afterwards in order: the result depends on the number of threads asked for, and on
// nothing else.
#include "multiply.h"

#include <algorithm>
#include <new>

#include "message.h"
#include "threads.h"
#include "workspace.h"

namespace ostinato {
namespace {

constexpr Index depth = 512, least_terms = 128;
constexpr Index block_bytes = 512 * 1024;  // of b, to stay in the second cache
constexpr Index rows_bytes = 32 * 1024;    // of a's rows that go through it together, to stay in the first

thread_local Workspace panel_space, sum_space;

constexpr Index over(Index a, Index b) { return (a + b - 1) / b; }

// Into how many parts each direction is cut.
struct Cut {
  Index rows = 1, columns = 1, terms = 1;
};

struct Range {
  Index begin, end;
  Index size() const { return end - begin; }
};
Range part(Index i, Index parts, Index size, Index grain = 1) {
  const Index grains = over(size, grain);
  return {grains * i / parts * grain, std::min(size, grains * (i + 1) / parts * grain)};
}

template <class T>
class Product {
 public:
  Product(const ost_product& p, const Kernels<T>& table)
      : p_(p), table_(table), lanes_(table.lanes), width_(block_bytes / (depth * sizeof(T))),
        packs_a_(p.a_k != 1 || p.sums) {
    for (Index j = 0; j < p.rights; ++j) columns_ += p.right[j].n, widest_ = std::max(widest_, p.right[j].n);
  }

  int run() {
    choose();
    const Index tasks = cut_.rows * cut_.columns * cut_.terms;
    if (cut_.terms > 1) {
      partial_size_ = p_.m * (columns_ + 1);
      partial_ = static_cast<T*>(sum_space.reserve((cut_.terms - 1) * partial_size_ * sizeof(T)));
      if (!partial_) return fail(OST_MEMORY, "no memory for a product");
    }
    std::atomic<bool> failed{false};
    each(tasks, p_.threads, p_.parallel, [&](Index i) {
      if (!task(i)) failed = true;
    });
    if (failed) return fail(OST_MEMORY, "no memory for a product");
    if (cut_.terms > 1) add_up();
    return OST_OK;
  }

 private:
  // The cut that should take the least time, counted in multiplications of one task.
  void choose() {
    if (p_.threads == 1) return;
    constexpr double packing = 12, adding = 8;  // of an element, in multiplications
    double best = 1e300;
    for (Index rows = 1; rows <= p_.threads; ++rows)
      for (Index columns = 1; rows * columns <= p_.threads; ++columns) {
        const Index terms = std::max<Index>(1, std::min(p_.threads / (rows * columns), p_.k / least_terms));
        const double m = over(p_.m, rows), n = over(over(columns_, lanes_), columns) * lanes_, k = over(p_.k, terms);
        double time = m * n * k + packing * n * k + (packs_a_ ? packing : 1) * m * k;
        if (terms > 1) time += adding * p_.m * columns_ * terms / p_.threads;
        if (time < best) best = time, cut_ = {rows, columns, terms};
      }
  }

  const T* a(Index i, Index k) const { return static_cast<const T*>(p_.a) + i * p_.a_m + k * p_.a_k; }

  // One task, through all its blocks. False: no memory.
  bool task(Index i) const {
    const Range rows = part(i / cut_.columns % cut_.rows, cut_.rows, p_.m);
    const Index column = i % cut_.columns, share = i / cut_.columns / cut_.rows;
    const Range terms = part(share, cut_.terms, p_.k);
    const Index wide = std::min(width_, over(widest_, lanes_) * lanes_);
    const Index left = packs_a_ ? over(rows.size(), lanes_) * lanes_ * depth : 0;
    T* const space = static_cast<T*>(panel_space.reserve((wide * depth + left + 1) * sizeof(T)));
    if (!space) return false;
    const bool sums = p_.sums && column == 0;
    Index k0 = terms.begin;
    do {
      const Index k1 = std::min(terms.end, k0 + depth);
      const bool first = k0 == terms.begin;
      if (packs_a_) pack_a(rows, {k0, k1}, share, first, sums, space + wide * depth);
      T* own = share ? partial_ + (share - 1) * partial_size_ + p_.m : nullptr;
      for (Index j = 0; j < p_.rights; ++j) {
        const ost_right& right = p_.right[j];
        const Range columns = part(column, cut_.columns, right.n, lanes_);
        for (Index j0 = columns.begin; j0 < columns.end; j0 += wide) {
          const Index j1 = std::min(columns.end, j0 + wide);
          if (k1 > k0)
            table_.pack(static_cast<const T*>(right.b) + k0 * right.b_k + j0 * right.b_n, right.b_k, right.b_n,
                        k1 - k0, j1 - j0, 0, over(j1 - j0, lanes_), space);
          block(right, own, rows, {j0, j1}, {k0, k1}, first, space, space + wide * depth);
        }
        if (own) own += p_.m * right.n;
      }
      k0 = k1;
    } while (k0 < terms.end);
    return true;
  }

  // Where terms are cut, `own` holds the sums of all tasks but the first.
  void block(const ost_right& right, T* own, Range rows, Range columns, Range terms, bool first, const T* panels,
             const T* left) const {
    const Index together = rows_bytes / (16 * terms.size() * static_cast<Index>(sizeof(T)) + 1) * 16;
    const Index step = packs_a_ ? lanes_ : std::max<Index>(16, together), c_m = own ? right.n : right.c_m;
    for (Index i = rows.begin; i < rows.end; i += step) {
      T* const c = (own ? own : static_cast<T*>(right.c)) + i * c_m + columns.begin;
      const T* init = c;
      Index init_m = c_m;
      if (first) {
        init = right.init && !own ? static_cast<const T*>(right.init) + i * right.init_m + columns.begin : nullptr;
        init_m = right.init_m;
      }
      const Index count = std::min(step, rows.end - i);
      if (packs_a_)
        table_.gemm(count, columns.size(), terms.size(), left + (i - rows.begin) * terms.size(), 1, lanes_, panels,
                    init, init_m, c, c_m);
      else
        table_.gemm(count, columns.size(), terms.size(), a(i, terms.begin), p_.a_m, 1, panels, init, init_m, c, c_m);
    }
  }

  // a's block as panels of rows; with sums, the rows' too.
  void pack_a(Range rows, Range terms, Index share, bool first, bool sums, T* panels) const {
    const T* const from = a(rows.begin, terms.begin);
    if (!sums) {
      table_.pack(from, p_.a_k, p_.a_m, terms.size(), rows.size(), 0, over(rows.size(), lanes_), panels);
      return;
    }
    T* const to = (share ? partial_ + (share - 1) * partial_size_ : static_cast<T*>(p_.sums)) + rows.begin;
    if (first) std::fill_n(to, rows.size(), T(0));
    table_.pack_sums(from, p_.a_k, p_.a_m, terms.size(), rows.size(), panels, to);
  }

  // Adds the tasks' own sums to the first one's, in order.
  void add_up() const {
    const Index parts = std::max<Index>(1, std::min(p_.threads, p_.m));
    const auto add = table_.apply[op_add][0];
    each(parts, p_.threads, p_.parallel, [&](Index i) {
      const Range rows = part(i, parts, p_.m);
      for (Index share = 1; share < cut_.terms; ++share) {
        const T* own = partial_ + (share - 1) * partial_size_;
        T* const sums = static_cast<T*>(p_.sums) + rows.begin;
        if (p_.sums) add(1, rows.size(), sums, 0, sums, 0, own + rows.begin, 0, nullptr, 0);
        own += p_.m;
        for (Index j = 0; j < p_.rights; own += p_.m * p_.right[j++].n) {
          T* const c = static_cast<T*>(p_.right[j].c) + rows.begin * p_.right[j].c_m;
          add(rows.size(), p_.right[j].n, c, p_.right[j].c_m, c, p_.right[j].c_m, own + rows.begin * p_.right[j].n,
              p_.right[j].n, nullptr, 0);
        }
      }
    });
  }

  const ost_product& p_;
  const Kernels<T>& table_;
  const Index lanes_, width_;
  const bool packs_a_;
  Index columns_ = 0, widest_ = 0;  // of all right sides together, and of the widest
  Cut cut_;
  T* partial_ = nullptr;
  Index partial_size_ = 0;
};

template <class T>
int multiply_as(ost_product p) {
  const Kernels<T>* table = kernels<T>();
  if (!table) return fail(OST_UNSUPPORTED, "the instruction set asked for does not run here");
  constexpr double worth_waking = 5e5, summing = 16;  // summing costs as much as so many columns
  double columns = p.sums ? summing : 0;
  for (Index j = 0; j < p.rights; ++j) columns += p.right[j].n;
  if (!p.parallel || columns * p.m * p.k < worth_waking) p.threads = 1;
  if (p.k == 0) p.a = &p;  // not read
  return Product<T>(p, *table).run();
}

}  // namespace

int multiply(const ost_product& p) {
  if (p.m < 0 || p.k < 0 || p.rights < 0 || p.threads < 1) return fail(OST_INVALID, "a size below zero, or no thread");
  if (p.bytes != 4 && p.bytes != 8)
    return fail(OST_INVALID, "elements of %lld bytes, not 4 or 8", static_cast<long long>(p.bytes));
  if (p.rights && !p.right) return fail(OST_INVALID, "no right sides");
  if (p.m == 0) return OST_OK;
  if (p.k && !p.a) return fail(OST_INVALID, "a matrix is nowhere");
  for (Index j = 0; j < p.rights; ++j) {
    const ost_right& right = p.right[j];
    if (right.n < 0) return fail(OST_INVALID, "a size below zero");
    if (right.n && (!right.c || (p.k && !right.b))) return fail(OST_INVALID, "a matrix is nowhere");
  }
  return p.bytes == 4 ? multiply_as<float>(p) : multiply_as<double>(p);
}

}  // namespace ostinato

int ost_multiply(const ost_product* product) {
  if (!product) return ostinato::fail(OST_INVALID, "no product");
  return ostinato::multiply(*product);
}
