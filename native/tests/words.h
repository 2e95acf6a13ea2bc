// Writing plans: the words of ostinato.h, by hand or at random.
#pragma once

#include <array>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "ostinato.h"

using Word = std::int64_t;
using Random = std::mt19937_64;

inline Word pick(Random& random, Word low, Word high) { return low + Word(random() % std::uint64_t(high - low + 1)); }

// The number of an opcode.
Word op(const std::string& name);

struct Ref {
  Word array = -1, delay = 0, offset = 0;
};

struct MapRef : Ref {
  std::array<Word, 4> stride{};
};

struct Instruction {
  Word opcode, target, a, b = -1, c = -1;
};

// An operand that is the constant k.
inline Word constant(Word k) { return -2 - k; }

using Sizes = std::array<Word, 4>;

// A plan that is being written. The members that add something return its number.
class Plan {
 public:
  explicit Plan(Word bytes) : bytes(bytes) {}

  Word array(Word kind, Word size, Word depth = 0, Word alias = -1);
  Word state(Word size, Word depth = 1, Word alias = -1) { return array(OST_STATE, size, depth, alias); }
  Word weight(Word groups, Word in, Word out);
  Word constant(double value);
  void gemm(Word m, Ref a, Word weight, Ref init, Ref target);
  void map(Sizes sizes, Word slots, const std::vector<MapRef>& refs, const std::vector<Instruction>& instructions);
  void reduce(Word operation, Sizes sizes, Word r, MapRef from, Word along, MapRef to);
  Word size(Word array) const { return arrays_[array * 4 + 1]; }

  // A ref to all of an array, element by element.
  MapRef whole(Word array, Word delay = 0) const { return {{array, delay, 0}, {0, 0, 0, 1}}; }

  std::vector<Word> words() const;

  const Word bytes;
  std::vector<double> constants;

 private:
  void stage(Word kind, const std::vector<Word>& words);

  std::vector<Word> arrays_, weights_, stages_;
  Word n_stages_ = 0;
};

// h = tanh(W x + U h' + b), emitted. With `kept`, the state is kept in the emit.
Plan elman(Word bytes, Word in, Word units, bool kept);
// torch.nn.LSTM's step, gates i f g o; the cell state is emitted too.
Plan lstm(Word bytes, Word in, Word units);
// The GRU whose reset comes before the product: two dependent products.
Plan gru(Word bytes, Word in, Word units);

// Stages, shapes and strides at random; every state and emit is written. With `smooth`, no operation that makes a
// small error large.
Plan random_plan(Random& random, Word bytes, bool smooth);
