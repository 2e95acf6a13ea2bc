// A plan: one time step as stages, read from words, checked, and made ready for the machine.
#pragma once

#include <cstddef>
#include <string>
#include <variant>
#include <vector>

#include "kernels.h"
#include "ostinato.h"

namespace ostinato {

constexpr Index dims = 4;

struct Array {
  ost_array_kind kind;
  Index size, depth, alias;

  bool bytes() const { return kind == OST_FLAGS_X || kind == OST_FLAGS_Q || kind == OST_FLAGS_EMIT; }
  bool written() const {
    return kind == OST_EMIT || kind == OST_FLAGS_EMIT || kind == OST_SCRATCH || (kind == OST_STATE && alias < 0);
  }
};

struct Weight {
  Index groups, in, out;
  Index begin, group_size;  // where its panels lie in a packed set, in elements
};

// An array at a delay: what a step must find the address of.
struct Site {
  Index array, delay;
};

struct Ref {
  Index site = -1, offset = 0;
};

struct MapRef : Ref {
  Index stride[dims] = {};
};

struct Gemm {
  Index m, weight;
  Ref a, init, target;
};

// An operand of a line: a tile slot, a mapref or a constant.
struct Operand {
  enum Kind { none, slot, ref, constant } kind = none;
  Index index = 0;
};

// An instruction as the machine runs it: every operand is something that one kernel takes.
struct Line {
  enum Kind { apply, gather, scatter, widen, narrow } kind = apply;
  int opcode = op_copy, mask = 0;
  Operand y, a, b, c;
};

struct Map {
  Index size[dims];
  Index slots = 0;
  Index columns = 0, width = 0, rows = 0;  // of a tile: columns at most, the same padded to vectors, rows at most
  std::vector<MapRef> refs;
  std::vector<Line> lines;
};

struct Reduce {
  ost_reduction operation;
  Index size[dims], r, along;
  MapRef from, to;
};

using Stage = std::variant<Gemm, Map, Reduce>;

struct Plan {
  Index bytes = 0, lanes = 0;
  std::vector<Array> arrays;
  std::vector<Index> states;  // the arrays that are states, in order
  std::vector<Weight> weights;
  Index packed_size = 0, products = 0;  // elements of all panels; multiplications of one step of one sequence
  std::vector<Site> sites;
  std::vector<Stage> stages;
  std::vector<double> constants;  // as T: see `constant`
  std::vector<float> constants32;
  Index slot_size = 0, slot_count = 0;  // of the largest tile; of the map with most slots

  Index padded(Index n) const { return (n + lanes - 1) / lanes * lanes; }
  template <class T> const T* constant(Index i) const;
};

template <> inline const float* Plan::constant<float>(Index i) const { return &constants32[i]; }
template <> inline const double* Plan::constant<double>(Index i) const { return &constants[i]; }

// Reads and checks words; the message says which stage is wrong.
int read_plan(const std::int64_t* words, Index n_words, const double* constants, Index n_constants, Plan& plan);

}  // namespace ostinato
