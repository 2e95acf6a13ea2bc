// Matrix products of small blocks: weights laid out as panels, and register tiles that run over them.
//
// A tile holds R rows by V vectors of the result in registers for the whole of a block of K. Every element of the
// result is summed in the same order whatever tile it falls into: a row's result does not depend on the rows beside it.
#pragma once

#include <utility>

#include "simd.h"

namespace ostinato::OSTINATO_ISA {

// The vectors a tile of so many rows may be wide: what the registers hold, and for one row what hides the latency.
#if defined(__AVX512F__) && OSTINATO_VECTOR_BYTES == 64 || defined(__aarch64__)  // 32 registers
constexpr int tile_rows = 8;
constexpr int tile_vectors[tile_rows + 1] = {0, 8, 8, 8, 6, 4, 4, 3, 3};
#elif defined(__FMA__)  // 16 registers
constexpr int tile_rows = 6;
constexpr int tile_vectors[tile_rows + 1] = {0, 8, 4, 3, 3, 2, 2};
#else  // 16 registers, and a product takes one before it is added
constexpr int tile_rows = 4;
constexpr int tile_vectors[tile_rows + 1] = {0, 6, 4, 3, 2};
#endif
constexpr int widest = 8;

// A block of K: longer sums are added up block by block, which rounds less. Part of a result's definition.
constexpr Index block = 512;

template <class T>
struct Left {
  const T* at;
  Index m_step, k_step;
};

// Panels, from the first wanted column and the first term of a block on.
template <class W>
struct Right {
  const W* at;
  Index size;  // of a panel
};

template <class T, class W>
using Tile = void (*)(Index K, Left<T> a, Right<W> b, const T* init, Index init_m, T* c, Index c_m, Index cols);

enum Reach : int { dense, distant, strided };  // a's k_step is 1; so, and b is read from afar; it is any
constexpr int distant_rows = 4;                // of more rows, the arithmetic takes longer than reading b
constexpr Index distant_bytes = 1 << 20;       // b's size that the nearer caches do not hold

// c[R, cols] = init + a[R, K] @ b, cols within V vectors. W is what the panels are of: T, or Half.
template <class T, class W, int R, int V, Reach reach>
void tile(Index K, Left<T> a, Right<W> b, const T* init, Index init_m, T* c, Index c_m, Index cols) {
  constexpr Index L = lanes<T>;
  Vector<T> sum[R][V] = {};
  if (init)
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) __builtin_prefetch(init + r * init_m);
  const T* left = a.at;
  const W* right = b.at;
  for (Index k = 0; k < K; ++k, right += L) {
    Vector<T> w[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      if constexpr (reach == distant) __builtin_prefetch(right + v * b.size + 8 * L);
      w[v] = load(right + v * b.size);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const T value = left[r * a.m_step];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sum[r][v] += w[v] * value;
    }
    left += reach == strided ? a.k_step : 1;
  }
  const Index tail = cols - (V - 1) * L;  // of the last vector
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    T* y = c + r * c_m;
    const T* x = init ? init + r * init_m : nullptr;
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      if (v < V - 1 || tail >= L) {
        store(y + v * L, x ? load(x + v * L) + sum[r][v] : sum[r][v]);
      } else {
        store_part(y + v * L, x ? load_part(x + v * L, tail) + sum[r][v] : sum[r][v], tail);
      }
    }
  }
}

template <class T, class W>
struct Tiles {
  Tile<T, W> of[tile_rows + 1][widest + 1];  // by rows and vectors
};
template <class T, class W, Reach reach, int R, int... V>
constexpr void set_tiles(Tile<T, W>* row, std::integer_sequence<int, V...>) {
  ((row[V + 1] = tile<T, W, R, V + 1, R <= distant_rows || reach == strided ? reach : dense>), ...);
}
template <class T, class W, Reach reach, int... R>
constexpr Tiles<T, W> all_tiles(std::integer_sequence<int, R...>) {
  Tiles<T, W> all{};
  (set_tiles<T, W, reach, R + 1>(all.of[R + 1], std::make_integer_sequence<int, tile_vectors[R + 1]>()), ...);
  return all;
}
template <class T, class W, Reach reach>
constexpr Tiles<T, W> tiles = all_tiles<T, W, reach>(std::make_integer_sequence<int, tile_rows>());

OSTINATO_INLINE Index least(Index a, Index b) { return a < b ? a : b; }

// So many things in as few and as even pieces of at most `most` as can be: `longer` of them have one more than `size`.
struct Pieces {
  int count, size, longer;

  OSTINATO_INLINE Pieces(Index all, int most) {
    const auto n = static_cast<std::uint32_t>(all);  // divides faster, and there are never that many
    count = static_cast<int>((n + most - 1) / most);
    size = count ? static_cast<int>(n / count) : 0;
    longer = count ? static_cast<int>(n % count) : 0;
  }
  OSTINATO_INLINE int operator[](int i) const { return size + (i < longer); }
};

// As Kernels<T>::gemm and gemm_half.
template <class T, class W>
void gemm(Index rows, Index cols, Index K, const T* a, Index a_m, Index a_k, const W* panels, const T* init,
          Index init_m, T* c, Index c_m) {
  constexpr Index L = lanes<T>;
  const bool large = K * cols * static_cast<Index>(sizeof(W)) > distant_bytes;
  const Tiles<T, W>& table = a_k != 1 ? tiles<T, W, strided> : large ? tiles<T, W, distant> : tiles<T, W, dense>;
  const Pieces tall(rows, tile_rows);
  const Pieces wide((cols + L - 1) / L, tile_vectors[tall[0]]);
  Index k = 0;
  do {
    const Index depth = least(block, K - k);
    for (Index i = 0, v = 0; i < wide.count; v += wide[i++]) {
      const Index columns = least(wide[i] * L, cols - v * L);
      const Right<W> b{panels + (v * K + k) * L, K * L};
      for (Index j = 0, r = 0; j < tall.count; r += tall[j++])
        table.of[tall[j]][wide[i]](depth, {a + r * a_m + k * a_k, a_m, a_k}, b,
                                   init ? init + r * init_m + v * L : nullptr, init_m, c + r * c_m + v * L, c_m,
                                   columns);
    }
    k += depth;
    init = c;
    init_m = c_m;
  } while (k < K);
}

// Vectors of constant indices, in the compilers' two dialects.
#if defined(__clang__)
#define OSTINATO_PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define OSTINATO_PICK(a, b, ...) __builtin_shuffle(a, b, Whole<T>{__VA_ARGS__})
#endif

// Exchanges the odd blocks of `half` lanes of a with the even ones of b.
template <class T, int half, std::size_t... I>
OSTINATO_INLINE void exchange(Vector<T>& a, Vector<T>& b, std::index_sequence<I...>) {
  constexpr int L = lanes<T>;
  const Vector<T> low = OSTINATO_PICK(a, b, (I & half ? L + static_cast<int>(I) - half : static_cast<int>(I))...);
  b = OSTINATO_PICK(a, b, (I & half ? L + static_cast<int>(I) : static_cast<int>(I) + half)...);
  a = low;
}

template <class T, int half = lanes<T> / 2>
OSTINATO_INLINE void transpose(Vector<T>* rows) {
  if constexpr (half > 0) {
#pragma GCC unroll 16
    for (int i = 0; i < lanes<T>; ++i)
      if (!(i & half)) exchange<T, half>(rows[i], rows[i + half], std::make_index_sequence<lanes<T>>());
    transpose<T, half / 2>(rows);
  }
}

// A panel from columns that are contiguous along K: square blocks turned in registers.
template <class T>
void pack_columns(const T* w, Index out, Index K, Index columns, T* panel) {
  constexpr Index L = lanes<T>;
  Index k = 0;
  for (; k + L <= K; k += L) {
    Vector<T> rows[L];
    if (columns == L) {
#pragma GCC unroll 16
      for (int i = 0; i < L; ++i) rows[i] = load(w + i * out + k);
    } else {
      for (Index i = 0; i < L; ++i) rows[i] = i < columns ? load(w + i * out + k) : Vector<T>{};
    }
    transpose<T>(rows);
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) store(panel + (k + i) * L, rows[i]);
  }
  for (; k < K; ++k)
    for (Index i = 0; i < L; ++i) panel[k * L + i] = i < columns ? w[i * out + k] : T(0);
}

template <int count, class T>
OSTINATO_INLINE void copy_rows(const T* from, Index in, Index K, T* to, T* sums) {
  constexpr Index L = lanes<T>;
  Vector<T> sum[count] = {};
  for (Index k = 0; k < K; ++k, from += in)
#pragma GCC unroll 8
    for (int i = 0; i < count; ++i) {
      const Vector<T> v = load(from + i * L);
      store(to + (i * K + k) * L, v);
      sum[i] += v;
    }
  if (sums)
    for (int i = 0; i < count; ++i) store(sums + i * L, load(sums + i * L) + sum[i]);
}

// Full panels from rows that are contiguous along N: some at a time, so that a row is read in long pieces. `sums`,
// where given, grows by the sum of each column.
template <class T>
void pack_rows(const T* w, Index in, Index K, Index count, T* panels, T* sums) {
  constexpr Index L = lanes<T>;
  constexpr int most = 8;
  for (Index p = 0; p < count; p += most) {
    const int some = count - p < most ? static_cast<int>(count - p) : most;
    T* const to = panels + p * K * L;
    const T* from = w + p * L;
    T* const total = sums ? sums + p * L : nullptr;
    if (some == most)
      copy_rows<most>(from, in, K, to, total);
    else
      for (int i = 0; i < some; ++i) copy_rows<1>(from + i * L, in, K, to + i * K * L, total ? total + i * L : nullptr);
  }
}

// As Kernels<T>::pack.
template <class T>
void pack(const T* w, Index in, Index out, Index K, Index N, Index first, Index last, T* panels) {
  constexpr Index L = lanes<T>;
  Index p = first;
  if (out == 1 && first < last) {
    p = least(last, N / L);
    pack_rows(w + first * L, in, K, p - first, panels + first * K * L, static_cast<T*>(nullptr));
  }
  for (; p < last; ++p) {
    T* panel = panels + p * K * L;
    const T* from = w + p * L * out;
    const Index columns = least(L, N - p * L);
    if (in == 1) {
      pack_columns(from, out, K, columns, panel);
    } else if (out == 1) {
      for (Index k = 0; k < K; ++k) store(panel + k * L, load_part(from + k * in, columns));
    } else {
      for (Index k = 0; k < K; ++k)
        for (Index i = 0; i < L; ++i) panel[k * L + i] = i < columns ? from[k * in + i * out] : T(0);
    }
  }
}

// As Kernels<T>::pack_sums.
template <class T>
void pack_sums(const T* w, Index in, Index out, Index K, Index N, T* panels, T* sums) {
  constexpr Index L = lanes<T>;
  const Index count = (N + L - 1) / L, whole = out == 1 ? N / L : 0;
  pack_rows(w, in, K, whole, panels, sums);
  pack(w, in, out, K, N, whole, count, panels);
  static constexpr T one = 1;
  if (whole < count)
    gemm(1, N - whole * L, K, &one, 0, 0, panels + whole * K * L, sums + whole * L, 0, sums + whole * L, 0);
}

#undef OSTINATO_PICK

}  // namespace ostinato::OSTINATO_ISA
