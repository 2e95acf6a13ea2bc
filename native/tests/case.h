// A plan with everything a run needs: buffers of exactly the size that the call declares, filled from a seed.
#pragma once

#include <cstring>
#include <memory>

#include "naive.h"

struct Shape {
  Word steps, batch;
  std::vector<Word> sizes = {};  // empty: not ragged
  bool reverse = false;
  Word gap = 0;  // elements between the rows of arrays
};

class Case {
 public:
  Case(const Naive& plan, Shape shape, std::uint64_t seed);

  // What a run is given; it writes into this case's buffers.
  ost_call call();

  // All that a run may write and all around it: emits with the gaps between their rows, final states.
  std::vector<double> written() const;

  void* array(std::size_t i) { return arrays_[i].at(); }
  Word begin(std::size_t i) const { return begins_[i]; }  // where its first step begins
  float* floats(std::size_t i) { return static_cast<float*>(array(i)); }

  const Naive& plan;
  const Shape shape;

 private:
  // On the heap and no longer than asked, so that AddressSanitizer sees a byte too far.
  struct Buffer {
    Word bytes = 1, size = 0;
    std::unique_ptr<char[]> memory;

    Buffer(Word bytes, Word size) : bytes(bytes), size(size), memory(new char[std::size_t(bytes * size)]) {}
    void* at() const { return memory.get(); }
    double value(Word i) const;
    void set(Word i, double value);
  };

  void fill(Buffer& buffer, Random& random);

  std::vector<Buffer> arrays_, initial_, finals_, weights_;
  std::vector<Word> begins_;
  std::vector<ost_place> places_;
  std::vector<ost_matrix> matrices_;
  std::vector<const void*> initial_at_;
  std::vector<void*> finals_at_;
};

// The sizes of a random ragged batch, some sequences of no step.
std::vector<Word> ragged(Random& random, Word steps, Word batch);

// Plans and packed weights as values.
struct FreePlan {
  void operator()(ost_plan* plan) const { ost_plan_free(plan); }
};
struct FreePacked {
  void operator()(ost_packed* packed) const { ost_packed_free(packed); }
};
using OwnedPlan = std::unique_ptr<ost_plan, FreePlan>;
using OwnedPacked = std::unique_ptr<ost_packed, FreePacked>;

// The library's plan; throws with its message when it is refused.
OwnedPlan made(const Plan& plan);
