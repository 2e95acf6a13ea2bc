// What is malformed gives a code and a message.
#include <functional>

#include "case.h"
#include "check.h"

namespace {

int make(const std::vector<Word>& words, const std::vector<double>& constants = {}) {
  ost_plan* plan = nullptr;
  const int code =
      ost_plan_make(words.data(), Word(words.size()), constants.data(), Word(constants.size()), &plan);
  CHECK((code == OST_OK) == (plan != nullptr));
  CHECK(code == OST_OK || *ost_message());
  ost_plan_free(plan);
  return code;
}

// x and a state of 4, an emit of 4 that the map writes.
struct Small {
  Plan p{4};
  Word x = p.array(OST_X, 4), h = p.state(4), out = p.array(OST_EMIT, 4), flags = p.array(OST_FLAGS_X, 4);

  void write(Word array) { p.map({1, 1, 1, 4}, 1, {p.whole(x), p.whole(array)}, {{op("copy"), 2, 1}}); }
  int with(const std::function<void(Small&)>& stages) {
    stages(*this);
    write(h);
    write(out);
    return make(p.words(), p.constants);
  }
};

}  // namespace

TEST(cut_or_changed_words) {
  const Plan plan = gru(4, 3, 5);
  const std::vector<Word> words = plan.words();
  CHECK(make(words) == OST_OK);
  for (std::size_t n = 0; n < words.size(); ++n)
    CHECK(make({words.begin(), words.begin() + Word(n)}) == OST_INVALID, n, " words");
  std::vector<Word> longer = words;
  longer.push_back(0);
  CHECK(make(longer) == OST_INVALID);
  for (Word place : {0, 1, 2}) {
    std::vector<Word> other = words;
    other[place] = 5;
    CHECK(make(other) == OST_INVALID);
  }
  CHECK(ost_plan_make(nullptr, 3, nullptr, 0, nullptr) == OST_INVALID);
  ost_plan* none = nullptr;
  CHECK(ost_plan_make(nullptr, 3, nullptr, 0, &none) == OST_INVALID && !none);
}

TEST(stages_that_cannot_be) {
  CHECK(Small().with([](Small&) {}) == OST_OK);
  const std::vector<std::function<void(Small&)>> wrong{
      [](Small& s) { s.p.gemm(1, {s.x}, 0, {}, {s.out}); },                                       // no weight
      [](Small& s) { s.p.gemm(1, {s.x}, s.p.weight(1, 5, 4), {}, {s.out}); },                     // too few inputs
      [](Small& s) { s.p.gemm(2, {s.x}, s.p.weight(1, 2, 4), {}, {s.out}); },                     // too few outputs
      [](Small& s) { s.p.gemm(1, {s.x}, s.p.weight(1, 4, 4), {}, {s.x}); },                       // writes an input
      [](Small& s) { s.p.gemm(1, {s.x}, s.p.weight(1, 4, 4), {}, {s.h, 1}); },                    // writes the past
      [](Small& s) { s.p.gemm(1, {s.h, 2}, s.p.weight(1, 4, 4), {}, {s.out}); },                  // too far back
      [](Small& s) { s.p.gemm(1, {s.x}, s.p.weight(1, 4, 4), {s.h, 0}, {s.out}); },               // not yet written
      [](Small& s) { s.p.gemm(1, {s.flags}, s.p.weight(1, 4, 4), {}, {s.out}); },                 // flags
      [](Small& s) { s.p.gemm(1, {s.x}, s.p.weight(Word{1} << 40, 1 << 20, 1 << 20), {}, {s.out}); },
      [](Small& s) { s.p.gemm(1, {9}, s.p.weight(1, 4, 4), {}, {s.out}); },                       // no such array
      [](Small& s) { s.p.gemm(1, {s.x, 0, -1}, s.p.weight(1, 4, 4), {}, {s.out}); },
      [](Small& s) { s.p.map({1, 1, 1, 5}, 1, {s.p.whole(s.x), s.p.whole(s.out)}, {{op("copy"), 2, 1}}); },
      [](Small& s) { s.p.map({1, 1, 0, 4}, 1, {s.p.whole(s.x), s.p.whole(s.out)}, {{op("copy"), 2, 1}}); },
      [](Small& s) { s.p.map({1, 1, 1, 4}, 1, {{{s.x}, {0, 0, 0, -1}}}, {{op("copy"), 0, 1}}); }, // below its array
      [](Small& s) { s.p.map({1, 1, 1, 4}, 1, {{{s.out}, {}}}, {{op("copy"), 1, s.p.constant(1)}}); }, // one place
      [](Small& s) {  // overlaps itself
        s.p.map({1, 1, 3, 2}, 1, {{{s.out}, {0, 0, 1, 1}}}, {{op("copy"), 1, s.p.constant(1)}});
      },
      [](Small& s) { s.p.map({1, 1, 1, 4}, 1, {s.p.whole(s.out)}, {{op("copy"), 1, 0}}); },       // an empty slot
      [](Small& s) { s.p.map({1, 1, 1, 4}, 1, {s.p.whole(s.out)}, {{op("copy"), 1, -2}}); },      // no constant
      [](Small& s) { s.p.map({1, 1, 1, 4}, 1, {s.p.whole(s.out)}, {{999, 1, -2}}); },             // no opcode
      [](Small& s) { s.p.map({1, 1, 1, 4}, 1, {s.p.whole(s.x)}, {{op("add"), 0, 1}}); },          // one operand of two
      [](Small& s) { s.p.map({1, 1, 1, 4}, 1, {s.p.whole(s.x)}, {{op("neg"), 0, 1, 1}}); },       // two of one
      [](Small& s) { s.p.map({1, 1, 1, 4}, Word{1} << 40, {s.p.whole(s.x)}, {{op("neg"), 0, 1}}); },
      [](Small& s) { s.p.reduce(7, {1, 1, 1, 1}, 4, s.p.whole(s.x), 1, s.p.whole(s.out)); },
      [](Small& s) { s.p.reduce(OST_SUM, {1, 1, 1, 1}, 5, s.p.whole(s.x), 1, s.p.whole(s.out)); },
      [](Small& s) { s.p.reduce(OST_SUM, {1, 1, 1, 1}, 0, s.p.whole(s.x), 1, s.p.whole(s.out)); },
      [](Small& s) { s.p.array(OST_SCRATCH, 0); },
      [](Small& s) { s.p.array(OST_SCRATCH, -4); },
      [](Small& s) { s.p.array(99, 4); },
      [](Small& s) { s.p.array(OST_STATE, 4, 0); },
      [](Small& s) { s.p.array(OST_STATE, Word{1} << 62, Word{1} << 62); },
      [](Small& s) { s.p.state(4, 1, s.x); },      // kept in what is not written
      [](Small& s) { s.p.array(OST_EMIT, 4); },    // never written
  };
  for (std::size_t i = 0; i < wrong.size(); ++i) CHECK(Small().with(wrong[i]) == OST_INVALID, "number ", i);
}

TEST(calls_that_cannot_be) {
  const Plan plan = elman(4, 3, 5, false);
  const Naive naive(plan.words(), plan.constants);
  const OwnedPlan ready = made(plan);
  Case c(naive, {3, 2}, 1);
  const auto code = [&](const std::function<void(ost_call&)>& change) {
    ost_call call = c.call();
    change(call);
    return ost_run(ready.get(), &call);
  };
  CHECK(code([](ost_call&) {}) == OST_OK);
  CHECK(code([](ost_call& call) { call.steps = -1; }) == OST_INVALID);
  CHECK(code([](ost_call& call) { call.batch = -1; }) == OST_INVALID);
  CHECK(code([](ost_call& call) { call.threads = 0; }) == OST_INVALID);
  CHECK(code([](ost_call& call) { call.arrays = nullptr; }) == OST_INVALID);
  CHECK(code([](ost_call& call) { call.weights = nullptr; }) == OST_INVALID);
  CHECK(code([](ost_call& call) { call.initial = nullptr; }) == OST_INVALID);
  CHECK(code([](ost_call& call) { call.finals = nullptr; }) == OST_INVALID);
  const ost_place nowhere[5] = {};
  CHECK(code([&](ost_call& call) { call.arrays = nowhere; }) == OST_INVALID);
  const ost_matrix missing[2] = {};
  CHECK(code([&](ost_call& call) { call.weights = missing; }) == OST_INVALID);
  for (const std::vector<Word>& sizes : {std::vector<Word>{1, 2, 1}, {2, 1, -1}, {3, 1, 1}})
    CHECK(code([&](ost_call& call) { call.sizes = sizes.data(); }) == OST_INVALID);
  CHECK(ost_run(nullptr, nullptr) == OST_INVALID && ost_run(ready.get(), nullptr) == OST_INVALID);
  ost_packed* packed = nullptr;
  CHECK(ost_pack(ready.get(), nullptr, 0, &packed) == OST_INVALID && !packed);
  CHECK(ost_pack(nullptr, nullptr, 0, nullptr) == OST_INVALID);
  const OwnedPlan wider = made(elman(4, 3, 50, false));
  CHECK(ost_pack(ready.get(), c.call().weights, 0, &packed) == OST_OK);
  const OwnedPacked owned(packed);
  ost_packed* halves = nullptr;
  CHECK(ost_pack(made(elman(8, 3, 50, false)).get(), c.call().weights, 1, &halves) == OST_INVALID && !halves);
  ost_call call = c.call();
  call.packed = packed;
  CHECK(ost_run(wider.get(), &call) == OST_INVALID);
  ost_plan_free(nullptr);
  ost_packed_free(nullptr);
}

TEST(names_of_opcodes) {
  CHECK(ost_opcode(0) && !ost_opcode(-1) && !ost_opcode(1 << 20));
  CHECK(op("tanh") > 0);
}
