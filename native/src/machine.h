// The machine: repeats a plan over time, split over threads.
#pragma once

#include "plan.h"

namespace ostinato {

// Weights as panels.
struct Packed {
  Index bytes = 0, size = 0;
  void* panels = nullptr;
  ~Packed();
};

// Lays out all weights of a plan, with as many threads as given.
int pack(const Plan& plan, const ost_matrix* weights, Packed& packed, Index threads, ost_parallel parallel);

int run(const Plan& plan, const ost_call& call);

}  // namespace ostinato
