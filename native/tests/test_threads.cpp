// Several threads: granted as asked, fewer, one, or late; several runs of one plan at once. The bits are always those
// of one thread.
#include <algorithm>
#include <atomic>

#include "case.h"
#include "check.h"
#include "parallel.h"

namespace {

const ost_parallel grants[] = {granted::all, granted::fewer, granted::one, granted::late};

std::vector<double> result(const ost_plan* plan, Case& c, Word threads, ost_parallel parallel) {
  ost_call call = c.call();
  call.threads = threads;
  call.parallel = parallel;
  CHECK(ost_run(plan, &call) == OST_OK, ost_message());
  return c.written();
}

void same_bits(const Plan& plan, const Shape& shape, const char* what) {
  const Naive naive(plan.words(), plan.constants);
  const OwnedPlan ready = made(plan);
  Case alone(naive, shape, 1), reference(naive, shape, 1);
  const std::vector<double> wanted = result(ready.get(), alone, 1, nullptr);
  naive.run(reference.call());
  const std::vector<double> about = reference.written();
  for (std::size_t i = 0; i < wanted.size(); ++i)
    CHECK(check::close(wanted[i], about[i], plan.bytes == 4 ? 1e-4 : 1e-10), what, " at ", i);
  for (const ost_parallel parallel : grants)
    for (Word threads : {2, 3, 8}) {
      Case c(naive, shape, 1);
      const std::vector<double> got = result(ready.get(), c, threads, parallel);
      for (std::size_t i = 0; i < got.size(); ++i)
        CHECK(check::close(got[i], wanted[i], 0), what, ", ", threads, " threads, grant ",
              std::find(grants, grants + 4, parallel) - grants, ", at ", i, ": ", got[i], " is not ", wanted[i]);
    }
}

}  // namespace

TEST(a_split_batch) {
  same_bits(elman(4, 16, 24, false), {40, 21}, "elman");
  same_bits(lstm(8, 4, 24), {11, 13}, "lstm");
  same_bits(gru(4, 8, 30), {20, 7, {}, true}, "gru, reversed");
}

TEST(a_split_ragged_batch) {
  Random random(1);
  for (bool reverse : {false, true}) same_bits(gru(8, 8, 20), {30, 23, ragged(random, 30, 23), reverse}, "ragged");
}

TEST(split_columns) {
  same_bits(elman(4, 8, 250, true), {9, 1}, "elman");
  same_bits(lstm(4, 100, 130), {5, 1}, "lstm");
  same_bits(gru(8, 20, 210), {4, 2, {}, true}, "gru, reversed");
  Plan p(4);  // a wide map of one row, a reduction of it, and a product of both
  const Word x = p.array(OST_X, 300), h = p.state(300, 2), out = p.array(OST_EMIT, 300);
  const Word y = p.array(OST_SCRATCH, 300), sum = p.array(OST_SCRATCH, 1);
  p.gemm(1, {h, 2}, p.weight(1, 300, 300), {x}, {y});
  p.reduce(OST_SUM, {1, 1, 1, 1}, 300, {{y, 0, 0}, {}}, 1, p.whole(sum));
  p.map({1, 1, 1, 300}, 1, {p.whole(y), {{sum, 0, 0}, {}}, p.whole(out), p.whole(h)},
        {{op("muladd"), 0, p.constant(0.01), 2, 1}, {op("tanh"), 3, 0}, {op("copy"), 4, 3}});
  same_bits(p, {12, 1}, "wide");
}

// A sequence's numbers do not depend on the batch it is in.
TEST(a_sequence_alone) {
  const Plan plan = gru(4, 6, 40);
  const Naive naive(plan.words(), plan.constants);
  const OwnedPlan ready = made(plan);
  const Word steps = 6, batch = 19;
  Case all(naive, {steps, batch}, 1);
  result(ready.get(), all, 1, nullptr);
  for (Word b = 0; b < batch; ++b) {
    Case one(naive, {steps, 1}, 1);
    const ost_call whole = all.call();
    ost_call call = one.call();
    for (Word t = 0; t < steps; ++t) std::memcpy(one.floats(0) + t * 6, all.floats(0) + (t * batch + b) * 6, 6 * 4);
    std::memcpy(one.array(1), all.array(1), 3 * 40 * 4);
    const void* initial[] = {static_cast<const float*>(whole.initial[0]) + b * 40};
    call.initial = initial;
    call.weights = whole.weights;
    CHECK(ost_run(ready.get(), &call) == OST_OK);
    for (Word t = 0; t < steps; ++t)
      CHECK(!std::memcmp(one.floats(2) + t * 40, all.floats(2) + (t * batch + b) * 40, 40 * 4), "sequence ", b);
  }
}

TEST(runs_of_one_plan_at_once) {
  const Plan plan = lstm(4, 8, 24);
  const Naive naive(plan.words(), plan.constants);
  const OwnedPlan ready = made(plan);
  Case first(naive, {30, 9}, 1);
  const std::vector<double> wanted = result(ready.get(), first, 1, nullptr);
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller)
    callers.emplace_back([&, caller] {
      for (int i = 0; i < 5; ++i) {
        Case c(naive, {30, 9}, 1);
        wrong += result(ready.get(), c, 2, caller % 2 ? granted::all : nullptr) != wanted;
      }
    });
  for (std::thread& t : callers) t.join();
  CHECK(wrong == 0);
}

// A message belongs to the thread whose call failed.
TEST(messages_of_threads) {
  CHECK(ost_run(nullptr, nullptr) == OST_INVALID);
  const std::string mine = ost_message();
  std::thread([] {
    ost_plan* plan = nullptr;
    const Word words[] = {1};
    CHECK(ost_plan_make(words, 1, nullptr, 0, &plan) == OST_INVALID);
  }).join();
  CHECK(!mine.empty() && mine == ost_message());
}
