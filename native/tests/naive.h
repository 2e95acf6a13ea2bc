// The reference: reads the words of a plan that the library accepted, and runs it point by point in double.
#pragma once

#include "words.h"

class Naive {
 public:
  struct Array {
    Word kind, size, depth, alias;

    bool flags() const { return kind == OST_FLAGS_X || kind == OST_FLAGS_Q || kind == OST_FLAGS_EMIT; }
    bool each_step() const {
      return kind == OST_X || kind == OST_EMIT || kind == OST_FLAGS_X || kind == OST_FLAGS_EMIT;
    }
    bool made() const { return kind == OST_EMIT || kind == OST_FLAGS_EMIT; }
  };
  struct Weight {
    Word groups, in, out;
  };

  Naive(const std::vector<Word>& words, const std::vector<double>& constants);

  void run(const ost_call& call) const;

  // How many numbers one step of one sequence handles, about.
  double cost() const;

  Word bytes;
  std::vector<Array> arrays;
  std::vector<Weight> weights;

 private:
  struct Stage {
    Word kind;
    std::vector<Word> words;
  };
  struct Sequence;

  void gemm(Sequence& s, const std::vector<Word>& w) const;
  void map(Sequence& s, const std::vector<Word>& w) const;
  void reduce(Sequence& s, const std::vector<Word>& w) const;

  std::vector<double> constants_;
  std::vector<Stage> stages_;
};
