// Plans by hand and at random against plain loops: every shape, ragged or not, in both directions.
#include <cmath>

#include "case.h"
#include "check.h"

namespace {

double tolerance(Word bytes) { return bytes == 4 ? 1e-5 : 1e-12; }

void agree(const std::vector<double>& got, const std::vector<double>& wanted, double tolerance, const char* what) {
  CHECK(got.size() == wanted.size());
  for (std::size_t i = 0; i < got.size(); ++i)
    CHECK(check::close(got[i], wanted[i], tolerance), what, ": ", got[i], " is not ", wanted[i], " at ", i, " of ",
          got.size());
}

// The library against the reference; weights packed by the run and before it, which must be the same bits.
void compare(const Plan& plan, const Shape& shape, std::uint64_t seed, double tolerance, const std::string& what) {
  const Naive naive(plan.words(), plan.constants);
  const OwnedPlan ready = made(plan);
  Case mine(naive, shape, seed), packed(naive, shape, seed), reference(naive, shape, seed);
  naive.run(reference.call());
  ost_call call = mine.call();
  CHECK(ost_run(ready.get(), &call) == OST_OK, ost_message());
  agree(mine.written(), reference.written(), tolerance, what.c_str());
  call = packed.call();
  ost_packed* set = nullptr;
  CHECK(ost_pack(ready.get(), call.weights, 0, &set) == OST_OK, ost_message());
  const OwnedPacked owned(set);
  call.weights = nullptr;
  call.packed = set;
  CHECK(ost_run(ready.get(), &call) == OST_OK, ost_message());
  agree(packed.written(), mine.written(), 0, (what + ", packed").c_str());
}

void compare_shapes(const Plan& plan, bool may_be_ragged, const std::string& what) {
  Random random(1);
  const Shape shapes[] = {{1, 1}, {3, 1}, {1, 5}, {7, 4}, {2, 33}, {5, 6, {}, true}, {4, 3, {}, false, 3}, {0, 2},
                          {3, 0}};
  for (const Shape& shape : shapes) compare(plan, shape, 2, tolerance(plan.bytes), what);
  if (!may_be_ragged) return;
  for (bool reverse : {false, true}) {
    for (int i = 0; i < 4; ++i)
      compare(plan, {6, 5, ragged(random, 6, 5), reverse, i % 2}, 3, tolerance(plan.bytes), what + ", ragged");
    compare(plan, {3, 4, {4, 4, 4}, reverse}, 4, tolerance(plan.bytes), what + ", of one length");
    compare(plan, {3, 4, {0, 0, 0}, reverse}, 5, tolerance(plan.bytes), what + ", of no length");
  }
}

}  // namespace

// The reference itself, and the library, against the equation written out.
TEST(elman_is_its_equation) {
  const Word in = 3, units = 5, steps = 4, batch = 2;
  const Plan plan = elman(4, in, units, false);
  const Naive naive(plan.words(), plan.constants);
  const OwnedPlan ready = made(plan);
  for (bool by_library : {false, true}) {
    Case c(naive, {steps, batch}, 7);
    const ost_call call = c.call();
    const auto weight = [&](int i, Word k, Word n) {
      return static_cast<const float*>(call.weights[i].at)[k * call.weights[i].in + n * call.weights[i].out];
    };
    if (by_library)
      CHECK(ost_run(ready.get(), &call) == OST_OK, ost_message());
    else
      naive.run(call);
    const float *x = c.floats(0), *bias = c.floats(1), *out = c.floats(2);
    for (Word b = 0; b < batch; ++b) {
      std::vector<double> h(units);
      for (Word n = 0; n < units; ++n) h[n] = static_cast<const float*>(call.initial[0])[b * units + n];
      for (Word t = 0; t < steps; ++t) {
        std::vector<double> next(units);
        for (Word n = 0; n < units; ++n) {
          double sum = bias[n];
          for (Word k = 0; k < in; ++k) sum += double(x[(t * batch + b) * in + k]) * weight(0, k, n);
          for (Word k = 0; k < units; ++k) sum += h[k] * weight(1, k, n);
          next[n] = std::tanh(sum);
        }
        h.swap(next);
        for (Word n = 0; n < units; ++n) CHECK(check::close(out[(t * batch + b) * units + n], h[n], 1e-6));
      }
      for (Word n = 0; n < units; ++n)
        CHECK(check::close(static_cast<const float*>(call.finals[0])[b * units + n], h[n], 1e-6));
    }
  }
}

TEST(cells) {
  for (Word bytes : {4, 8}) {
    for (Word units : {1, 7, 16, 30, 100}) {
      compare_shapes(elman(bytes, 3, units, false), true, "elman " + std::to_string(units));
      compare_shapes(elman(bytes, 9, units, true), false, "elman kept " + std::to_string(units));
      compare_shapes(lstm(bytes, 5, units), false, "lstm " + std::to_string(units));
      compare_shapes(gru(bytes, 1, units), true, "gru " + std::to_string(units));
    }
  }
}

TEST(delays) {
  for (Word bytes : {4, 8}) {
    for (bool kept : {false, true}) {
      Plan p(bytes);
      const Word x = p.array(OST_X, 20), out = p.array(OST_EMIT, 20), h = p.state(20, 3, kept ? out : -1);
      const std::vector<MapRef> refs{p.whole(x), p.whole(h, 1), p.whole(h, 3), p.whole(out), p.whole(h)};
      const Word half = p.constant(0.5);
      std::vector<Instruction> lines{{op("muladd"), 0, half, 2, 1}, {op("submul"), 4, 0, half, 3}};
      if (!kept) lines.push_back({op("copy"), 5, 4});
      p.map({1, 1, 1, 20}, 1, refs, lines);
      compare_shapes(p, !kept, "delays");
    }
  }
}

TEST(groups_flags_and_reductions) {
  Plan p(8);
  const Word x = p.array(OST_X, 24), q = p.array(OST_Q, 4), live = p.array(OST_FLAGS_X, 1);
  const Word mask = p.array(OST_FLAGS_Q, 12), positive = p.array(OST_FLAGS_EMIT, 12), out = p.array(OST_EMIT, 12);
  const Word h = p.state(12), y = p.array(OST_SCRATCH, 12);
  const Word top = p.array(OST_SCRATCH, 4), sum = p.array(OST_SCRATCH, 4);
  p.gemm(2, {x}, p.weight(3, 4, 2), {h, 1}, {y});                   // [2, 3] products of [4] by [4, 2]
  p.reduce(OST_MAX, {1, 1, 1, 4}, 3, {{y, 0, 0}, {0, 0, 0, 3}}, 1, p.whole(top));
  p.reduce(OST_SUM, {1, 1, 2, 2}, 3, {{y, 0, 11}, {0, 0, -6, -1}}, -2, {{sum, 0, 0}, {0, 0, 1, 2}});
  // [4, 3]: softplus-like mixture of all, the flags of a step and of a sequence among them.
  const auto by_row = [](Word array) { return MapRef{{array, 0, 0}, {0, 0, 1, 0}}; };
  const auto by_point = [](Word array, Word delay = 0) { return MapRef{{array, delay, 0}, {0, 0, 3, 1}}; };
  const MapRef turned{{h, 0, 0}, {0, 0, 1, 4}};  // the state keeps the points by column
  p.map({1, 1, 4, 3}, 2,
        {by_point(y), by_row(top), by_row(sum), by_row(q), {{live, 0, 0}, {}}, by_point(mask), by_point(positive),
         turned, by_point(out), by_point(h, 1)},
        {{op("sub"), 0, 2, 3}, {op("exp"), 0, 0}, {op("muladd"), 0, 0, 5, 4}, {op("gt"), 8, 0, -2},
         {op("where"), 1, 7, 0, 11}, {op("where"), 1, 6, 1, 11}, {op("tanh"), 9, 1}, {op("copy"), 10, 1}});
  p.constant(0.0);
  compare_shapes(p, true, "groups");
}

// NaN and infinities stay in their own sequence, and reach its results.
TEST(special_values_pass) {
  const Plan plan = gru(4, 4, 24);
  const Naive naive(plan.words(), plan.constants);
  const OwnedPlan ready = made(plan);
  for (float special : {NAN, INFINITY, -INFINITY}) {
    Case with(naive, {3, 9}, 1), without(naive, {3, 9}, 1), reference(naive, {3, 9}, 1);
    for (Case* c : {&with, &reference}) c->floats(0)[(1 * 9 + 4) * 4 + 2] = special;
    const ost_call call = with.call(), plain = without.call();
    CHECK(ost_run(ready.get(), &call) == OST_OK && ost_run(ready.get(), &plain) == OST_OK);
    naive.run(reference.call());
    agree(with.written(), reference.written(), 1e-5, "special");
    for (Word row = 0; row < 27; ++row)
      for (Word n = 0; n < 24; ++n)
        if (row % 9 != 4) CHECK(with.floats(2)[row * 24 + n] == without.floats(2)[row * 24 + n]);
  }
}

TEST(finals_may_be_the_initial_states) {
  const Plan plan = lstm(8, 3, 10);
  const Naive naive(plan.words(), plan.constants);
  const OwnedPlan ready = made(plan);
  Case apart(naive, {5, 4}, 1), same(naive, {5, 4}, 1);
  ost_call call = apart.call();
  CHECK(ost_run(ready.get(), &call) == OST_OK);
  ost_call in_place = same.call();
  std::vector<void*> finals;
  for (int i = 0; i < 2; ++i) finals.push_back(const_cast<void*>(in_place.initial[i]));
  in_place.finals = finals.data();
  CHECK(ost_run(ready.get(), &in_place) == OST_OK);
  for (int i = 0; i < 2; ++i) CHECK(!std::memcmp(finals[i], call.finals[i], 4 * 10 * 8));
}

TEST(random_plans) {
#ifdef __SANITIZE_ADDRESS__
  const std::uint64_t seeds = 250;  // each takes ten times as long
#else
  const std::uint64_t seeds = 1000;
#endif
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    Random random(seed);
    const bool single = seed % 3 == 0;
    const Plan plan = random_plan(random, single ? 4 : 8, single);
    bool kept = false;
    for (const auto& a : Naive(plan.words(), plan.constants).arrays) kept |= a.alias >= 0;
    const Word steps = pick(random, 1, 5), batch = pick(random, 1, 40);
    Shape shape{steps, batch, {}, pick(random, 0, 1) == 1, pick(random, 0, 2)};
    if (!kept && pick(random, 0, 1)) shape.sizes = ragged(random, steps, batch);
    compare(plan, shape, seed, single ? 1e-4 : 1e-9, "seed " + std::to_string(seed));
  }
}
