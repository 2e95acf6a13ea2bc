// The machine: repeats a plan over time, split over threads.
#pragma once

#include "plan.h"

namespace ostinato {

// Weights as panels.
struct Packed {
  Index bytes = 0, size = 0;  // of the plan's numbers, and how many there are
  bool halves = false;
  void* panels = nullptr;
  ~Packed();
};

// Lays out all weights of a plan, as they are or rounded to halves.
int pack(const Plan& plan, const ost_matrix* weights, bool halves, Packed& packed);

int run(const Plan& plan, const ost_call& call);

}  // namespace ostinato
