// Products of a few rows by a packed weight. Included only by kernels_<isa>.cpp, see simd.h.
#pragma once

#include <algorithm>

#include "simd.h"

namespace ostinato::OSTINATO_ISA {

template <class T>
void pack(const T* w, Index in, Index out, Index K, Index N, Index first, Index last, T* panels) {
  constexpr Index L = lanes<T>;
  for (Index p = first; p < last; ++p) {
    T* to = panels + p * K * L;
    const Index n0 = p * L, width = std::min(L, N - n0);
    for (Index k0 = 0; k0 < K; k0 += 16) {  // blocks, so that lines read along K are used while they are at hand
      const Index k1 = std::min(K, k0 + 16);
      for (Index n = 0; n < width; ++n)
        for (Index k = k0; k < k1; ++k) to[k * L + n] = w[k * in + (n0 + n) * out];
      for (Index n = width; n < L; ++n)
        for (Index k = k0; k < k1; ++k) to[k * L + n] = T(0);
    }
  }
}

// R rows by C panels; the last panel has `tail` columns.
template <class T, int R, int C>
void tile(Index K, const T* a, Index a_m, Index a_k, const T* panels, const T* init, Index init_m, T* c, Index c_m,
          Index tail) {
  constexpr Index L = lanes<T>;
  Vector<T> sum[R][C];
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < C; ++j) sum[r][j] = Vector<T>{};
  for (Index k = 0; k < K; ++k) {
    Vector<T> b[C];
    for (int j = 0; j < C; ++j) b[j] = load(panels + (j * K + k) * L);
    for (int r = 0; r < R; ++r) {
      const Vector<T> v = splat(a[r * a_m + k * a_k]);
      for (int j = 0; j < C; ++j) sum[r][j] += v * b[j];
    }
  }
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < C; ++j) {
      T* to = c + r * c_m + j * L;
      if (j < C - 1 || tail == L) {
        store(to, init ? sum[r][j] + load(init + r * init_m + j * L) : sum[r][j]);
      } else {
        for (Index n = 0; n < tail; ++n) to[n] = sum[r][j][n] + (init ? init[r * init_m + j * L + n] : T(0));
      }
    }
}

template <class T>
void gemm(Index rows, Index cols, Index K, const T* a, Index a_m, Index a_k, const T* panels, const T* init,
          Index init_m, T* c, Index c_m) {
  constexpr Index L = lanes<T>;
  using Tile = void (*)(Index, const T*, Index, Index, const T*, const T*, Index, T*, Index, Index);
  constexpr bool wide = OSTINATO_VECTOR_BYTES == 64;
  constexpr int most = wide ? 8 : 4;
  constexpr Index C = wide ? 3 : OSTINATO_VECTOR_BYTES == 32 ? 3 : 2;
  static constexpr Tile tiles[4][9] = {
      {nullptr, tile<T, 1, 1>, tile<T, 2, 1>, tile<T, 3, 1>, tile<T, 4, 1>, tile<T, wide ? 5 : 4, 1>,
       tile<T, wide ? 6 : 4, 1>, tile<T, wide ? 7 : 4, 1>, tile<T, wide ? 8 : 4, 1>},
      {nullptr, tile<T, 1, 2>, tile<T, 2, 2>, tile<T, 3, 2>, tile<T, 4, 2>, tile<T, wide ? 5 : 4, 2>,
       tile<T, wide ? 6 : 4, 2>, tile<T, wide ? 7 : 4, 2>, tile<T, wide ? 8 : 4, 2>},
      {nullptr, tile<T, 1, 3>, tile<T, 2, 3>, tile<T, 3, 3>, tile<T, 4, 3>, tile<T, wide ? 5 : 4, 3>,
       tile<T, wide ? 6 : 4, 3>, tile<T, wide ? 7 : 4, 3>, tile<T, wide ? 8 : 4, 3>},
      {nullptr, tile<T, 1, 8>, tile<T, 2, wide ? 8 : 4>, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr}};
  const Index blocks = (rows + most - 1) / most;
  for (Index n = 0; n < cols;) {
    const Index left = (cols - n + L - 1) / L;
    const bool few = rows <= 2;
    const Index many = rows == 1 || wide ? 8 : 4;
    const Index take = few && left >= many ? many : std::min(left, C);
    const Tile* row_tiles = few && left >= many ? tiles[3] : tiles[take - 1];
    const Index tail = std::min(L, cols - n - (take - 1) * L);
    for (Index i = 0; i < blocks; ++i) {
      const Index r0 = rows * i / blocks, r1 = rows * (i + 1) / blocks;
      row_tiles[r1 - r0](K, a + r0 * a_m, a_m, a_k, panels + n * K, init ? init + r0 * init_m + n : nullptr, init_m,
                         c + r0 * c_m + n, c_m, tail);
    }
    n += take * L;
  }
}

}  // namespace ostinato::OSTINATO_ISA
