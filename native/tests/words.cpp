#include "words.h"

#include <stdexcept>

Word op(const std::string& name) {
  for (Word i = 0; const char* known = ost_opcode(i); ++i)
    if (name == known) return i;
  throw std::runtime_error("no opcode " + name);
}

Word Plan::array(Word kind, Word size, Word depth, Word alias) {
  arrays_.insert(arrays_.end(), {kind, size, depth, alias});
  return Word(arrays_.size()) / 4 - 1;
}

Word Plan::weight(Word groups, Word in, Word out) {
  weights_.insert(weights_.end(), {groups, in, out});
  return Word(weights_.size()) / 3 - 1;
}

Word Plan::constant(double value) {
  constants.push_back(value);
  return -1 - Word(constants.size());
}

void Plan::stage(Word kind, const std::vector<Word>& words) {
  stages_.insert(stages_.end(), {kind, Word(words.size())});
  stages_.insert(stages_.end(), words.begin(), words.end());
  ++n_stages_;
}

void Plan::gemm(Word m, Ref a, Word weight, Ref init, Ref target) {
  std::vector<Word> words{m, weight};
  for (const Ref& r : {a, init, target}) words.insert(words.end(), {r.array, r.delay, r.offset});
  stage(OST_GEMM, words);
}

static void append(std::vector<Word>& words, const MapRef& r) {
  words.insert(words.end(), {r.array, r.delay, r.offset});
  words.insert(words.end(), r.stride.begin(), r.stride.end());
}

void Plan::map(Sizes sizes, Word slots, const std::vector<MapRef>& refs, const std::vector<Instruction>& instructions) {
  std::vector<Word> words(sizes.begin(), sizes.end());
  words.insert(words.end(), {slots, Word(refs.size()), Word(instructions.size())});
  for (const MapRef& r : refs) append(words, r);
  for (const Instruction& i : instructions) words.insert(words.end(), {i.opcode, i.target, i.a, i.b, i.c});
  stage(OST_MAP, words);
}

void Plan::reduce(Word operation, Sizes sizes, Word r, MapRef from, Word along, MapRef to) {
  std::vector<Word> words{operation};
  words.insert(words.end(), sizes.begin(), sizes.end());
  words.push_back(r);
  append(words, from);
  words.push_back(along);
  append(words, to);
  stage(OST_REDUCE, words);
}

std::vector<Word> Plan::words() const {
  std::vector<Word> all{OST_MAGIC, OST_VERSION, bytes, Word(arrays_.size()) / 4, Word(weights_.size()) / 3, n_stages_};
  for (const auto* part : {&arrays_, &weights_, &stages_}) all.insert(all.end(), part->begin(), part->end());
  return all;
}

Plan elman(Word bytes, Word in, Word units, bool kept) {
  Plan p(bytes);
  const Word x = p.array(OST_X, in), b = p.array(OST_P, units), out = p.array(OST_EMIT, units);
  const Word h = p.state(units, 1, kept ? out : -1);
  const Word sum = p.array(OST_SCRATCH, units);
  const Word w = p.weight(1, in, units), u = p.weight(1, units, units);
  p.gemm(1, {x}, w, {b}, {sum});
  p.gemm(1, {h, 1}, u, {sum}, {sum});
  if (kept)
    p.map({1, 1, 1, units}, 0, {p.whole(sum), p.whole(out)}, {{op("tanh"), 1, 0}});
  else
    p.map({1, 1, 1, units}, 1, {p.whole(sum), p.whole(out), p.whole(h)},
          {{op("tanh"), 0, 1}, {op("copy"), 2, 0}, {op("copy"), 3, 0}});
  return p;
}

Plan lstm(Word bytes, Word in, Word units) {
  Plan p(bytes);
  const Word x = p.array(OST_X, in), b = p.array(OST_P, 4 * units);
  const Word out = p.array(OST_EMIT, units), cells = p.array(OST_EMIT, units);
  const Word h = p.state(units, 1, out), c = p.state(units, 1, cells), sum = p.array(OST_SCRATCH, 4 * units);
  const Word w = p.weight(1, in, 4 * units), u = p.weight(1, units, 4 * units);
  p.gemm(1, {x}, w, {b}, {sum});
  p.gemm(1, {h, 1}, u, {sum}, {sum});
  std::vector<MapRef> refs;
  for (Word gate = 0; gate < 4; ++gate) refs.push_back({{sum, 0, gate * units}, {0, 0, 0, 1}});
  refs.insert(refs.end(), {p.whole(c, 1), p.whole(cells), p.whole(out)});
  // Slots 0 to 3; refs from 4: i f g o, c', c, h.
  p.map({1, 1, 1, units}, 4, refs,
        {{op("sigmoid"), 0, 4}, {op("sigmoid"), 1, 5}, {op("tanh"), 2, 6}, {op("mul"), 0, 0, 2},
         {op("muladd"), 0, 1, 8, 0}, {op("copy"), 9, 0}, {op("tanh"), 0, 0}, {op("sigmoid"), 3, 7},
         {op("mul"), 10, 3, 0}});
  return p;
}

Plan gru(Word bytes, Word in, Word units) {
  Plan p(bytes);
  const Word x = p.array(OST_X, in), b = p.array(OST_P, 3 * units), out = p.array(OST_EMIT, units);
  const Word h = p.state(units), sum = p.array(OST_SCRATCH, 3 * units), reset = p.array(OST_SCRATCH, units);
  const Word w = p.weight(1, in, 3 * units), u = p.weight(1, units, 2 * units), n = p.weight(1, units, units);
  p.gemm(1, {x}, w, {b}, {sum});
  p.gemm(1, {h, 1}, u, {sum}, {sum});
  p.map({1, 1, 1, units}, 1, {p.whole(sum), p.whole(h, 1), p.whole(reset)},
        {{op("sigmoid"), 0, 1}, {op("mul"), 3, 0, 2}});
  p.gemm(1, {reset}, n, {sum, 0, 2 * units}, {sum, 0, 2 * units});
  const MapRef z{{sum, 0, units}, {0, 0, 0, 1}}, candidate{{sum, 0, 2 * units}, {0, 0, 0, 1}};
  p.map({1, 1, 1, units}, 2, {z, candidate, p.whole(h, 1), p.whole(h), p.whole(out)},
        {{op("sigmoid"), 0, 2}, {op("tanh"), 1, 3}, {op("lerp"), 0, 1, 4, 0}, {op("copy"), 5, 0}, {op("copy"), 6, 0}});
  return p;
}

namespace {

// What a random plan can read so far.
class Writer {
 public:
  Writer(Random& random, Plan& plan, bool smooth) : random_(random), p_(plan), smooth_(smooth) {
    // Others make a small error large, or jump: the tests of the kernels have them.
    std::vector<std::string> names{"copy", "neg", "abs", "relu", "tanh", "sigmoid", "erf", "add", "sub", "mul",
                                   "maximum", "minimum", "muladd", "dtanh", "dsigmoid", "lerp", "submul"};
    if (!smooth) names.insert(names.end(), {"exp", "expm1", "sin", "cos", "not", "truth", "and", "or", "xor", "where"});
    for (const std::string& name : names) opcodes_.push_back(op(name));
  }

  void write() {
    given();
    for (Word n = pick(random_, 1, 5); n > 0; --n) {
      switch (pick(random_, 0, 3)) {
        case 0: gemm(); break;
        case 1: reduce(); break;
        default: map(p_.array(OST_SCRATCH, points(sizes()))); break;
      }
    }
    for (Word array : wanted_) map(array);
  }

 private:
  void given() {
    const Word few = pick(random_, 1, 3);
    for (Word i = 0; i < few; ++i) values_.push_back({p_.array(pick(random_, OST_X, OST_P), pick(random_, 1, 60))});
    for (Word kind : {OST_FLAGS_X, OST_FLAGS_Q})
      if (pick(random_, 0, 1)) flags_.push_back({p_.array(kind, pick(random_, 1, 20))});
    for (Word n = pick(random_, 1, 3); n > 0; --n) {
      const Word size = points(sizes()), depth = pick(random_, 1, 3);
      const Word kept = pick(random_, 0, 1) ? p_.array(OST_EMIT, size) : -1;
      const Word state = p_.state(size, depth, kept);
      for (Word d = 1; d <= depth; ++d) values_.push_back({state, d});
      wanted_.push_back(kept >= 0 ? kept : state);
    }
    wanted_.push_back(p_.array(OST_EMIT, points(sizes())));
    if (!smooth_ && pick(random_, 0, 1)) wanted_.push_back(flag_emit_ = p_.array(OST_FLAGS_EMIT, points(sizes())));
  }

  // Small shapes, seldom of one vector or a tile.
  Sizes sizes() {
    const Word widths[] = {1, 2, 5, 8, 16, 17, 33, 64, 70};
    Sizes s;
    for (int i = 0; i < 3; ++i) s[i] = pick(random_, 0, 3) ? 1 : pick(random_, 1, 3);
    s[3] = widths[pick(random_, 0, 8)];
    return last_ = s;
  }
  static Word points(const Sizes& s) { return s[0] * s[1] * s[2] * s[3]; }

  Ref flag() { return flags_[pick(random_, 0, Word(flags_.size()) - 1)]; }
  Ref value() { return values_[pick(random_, 0, Word(values_.size()) - 1)]; }

  void gemm() {
    const Ref a = value();
    const Word size = p_.size(a.array), m = pick(random_, 1, 2), groups = pick(random_, 1, 2);
    if (size < m * groups) return map(p_.array(OST_SCRATCH, points(sizes())));
    const Word in = pick(random_, 1, size / (m * groups)), out = pick(random_, 1, 40);
    Ref init = value();
    if (pick(random_, 0, 1) || p_.size(init.array) < m * groups * out) init = {};
    const Word target = p_.array(OST_SCRATCH, m * groups * out);
    const Ref rows{a.array, a.delay, pick(random_, 0, size - m * groups * in)};
    p_.gemm(m, rows, p_.weight(groups, in, out), init, {target});
    values_.push_back({target});
  }

  void reduce() {
    const Ref from = value();
    const Word r = pick(random_, 1, p_.size(from.array));
    const Sizes s{1, 1, pick(random_, 1, 2), pick(random_, 1, 9)};
    const Word target = p_.array(OST_SCRATCH, points(s)), along = r > 1 ? (p_.size(from.array) - 1) / (r - 1) : 1;
    p_.reduce(pick(random_, 0, 1) ? OST_MAX : OST_SUM, s, r,
              within(from, s, p_.size(from.array) - (r - 1) * along), along, dense(target, s));
    values_.push_back({target});
  }

  // Strides that stay within `size` elements: at random, none where they would not fit.
  MapRef within(Ref ref, const Sizes& s, Word size) {
    MapRef m{ref, {}};
    Word low = 0, high = 0;
    for (int i = 3; i >= 0; --i) {
      Word stride = pick(random_, 0, 3) ? (i == 3 ? 1 : s[3]) : pick(random_, -3, 3);
      if ((s[i] - 1) * std::abs(stride) + high - low >= size) stride = 0;
      m.stride[i] = stride;
      (stride < 0 ? low : high) += (s[i] - 1) * stride;
    }
    m.offset = pick(random_, -low, size - 1 - high);
    return m;
  }

  // Each point its own element: the dimensions in a random order.
  MapRef dense(Word array, const Sizes& s) {
    std::array<int, 4> order{3, 2, 1, 0};
    if (!pick(random_, 0, 3)) std::swap(order[0], order[pick(random_, 1, 3)]);
    MapRef m{{array, 0, 0}, {}};
    Word stride = 1;
    for (int i : order) m.stride[i] = stride, stride *= s[i];
    return m;
  }

  // Writes all of `target`: the shape is the one its size came from, or one line.
  void map(Word target) {
    const Sizes s = points(last_) == p_.size(target) ? last_ : Sizes{1, 1, 1, p_.size(target)};
    const Word slots = pick(random_, 1, 4);
    std::vector<MapRef> refs;
    for (Word n = pick(random_, 1, 4); n > 0; --n) {
      const Ref ref = !flags_.empty() && !pick(random_, 0, 4) ? flag() : value();
      refs.push_back(within(ref, s, p_.size(ref.array)));
    }
    std::vector<Word> readable;
    for (std::size_t i = 0; i < refs.size(); ++i) readable.push_back(slots + Word(i));
    readable.push_back(p_.constant(double(pick(random_, -8, 8)) / 4));
    std::vector<Instruction> lines;
    for (Word n = pick(random_, 1, 7); n > 0; --n) {
      const Word slot = pick(random_, 0, slots - 1);
      lines.push_back(line(opcodes_[pick(random_, 0, Word(opcodes_.size()) - 1)], slot, readable));
      readable.push_back(slot);
    }
    const Word to = slots + Word(refs.size());
    const bool flags = target == flag_emit_;
    refs.push_back(dense(target, s));
    lines.push_back({op(flags ? "truth" : "tanh"), to, readable.back()});
    if (!flags && pick(random_, 0, 1)) lines.push_back({op("copy"), 0, to});  // and reads it again
    p_.map(s, slots, refs, lines);
    if (!flags) values_.push_back({target});
  }

  Instruction line(Word opcode, Word target, const std::vector<Word>& readable) {
    Instruction made{opcode, target, -1};
    Word* operands[] = {&made.a, &made.b, &made.c};
    for (int i = 0; i < arity(opcode); ++i) *operands[i] = readable[pick(random_, 0, Word(readable.size()) - 1)];
    return made;
  }

  static int arity(Word opcode) {
    const std::string name = ost_opcode(opcode);
    for (const char* three : {"where", "muladd", "lerp", "submul"})
      if (name == three) return 3;
    return opcode >= op("add") ? 2 : 1;
  }

  Random& random_;
  Plan& p_;
  const bool smooth_;
  std::vector<Word> opcodes_, wanted_;
  std::vector<Ref> values_, flags_;
  Sizes last_{};
  Word flag_emit_ = -1;
};

}  // namespace

Plan random_plan(Random& random, Word bytes, bool smooth) {
  Plan plan(bytes);
  Writer(random, plan, smooth).write();
  return plan;
}
