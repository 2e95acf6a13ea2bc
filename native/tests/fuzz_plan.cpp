// Feeds words that no one should write to the library: valid plans with some words changed, cut, moved or doubled, and
// calls that do not fit. Every answer is a code; what a plan that is accepted does stays within its declared buffers.
// OSTINATO_FUZZ_SECONDS says for how long. With Clang, libFuzzer can drive it (OSTINATO_FUZZER).
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "case.h"
#include "check.h"
#include "parallel.h"

namespace {

constexpr Word edges[] = {
    -1, -2, -3, 0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 63, 64, 65, 255, 4096, 4097, 1 << 20, -(1 << 20),
    (Word{1} << 40) - 1, Word{1} << 40, (Word{1} << 40) + 1, INT64_MAX / 2, INT64_MAX, INT64_MIN};

Word strange(Random& random) {
  switch (pick(random, 0, 3)) {
    case 0: return pick(random, -3, 70);
    case 1: return Word(random() >> pick(random, 0, 63));
    default: return edges[pick(random, 0, std::size(edges) - 1)];
  }
}

Plan valid(Random& random) {
  const Word bytes = pick(random, 0, 1) ? 4 : 8, units = pick(random, 1, 20);
  switch (pick(random, 0, 4)) {
    case 0: return elman(bytes, 3, units, pick(random, 0, 1) == 1);
    case 1: return lstm(bytes, 2, units);
    case 2: return gru(bytes, 2, units);
    default: return random_plan(random, bytes, false);
  }
}

[[maybe_unused]] void spoil(std::vector<Word>& words, Random& random) {
  for (Word n = pick(random, 0, 4); n > 0 && !words.empty(); --n) {
    const auto at = [&] { return words.begin() + pick(random, 0, Word(words.size()) - 1); };
    switch (pick(random, 0, 9)) {
      case 0: words.erase(at()); break;
      case 1: words.insert(at(), strange(random)); break;
      case 2: words.resize(pick(random, 0, Word(words.size()))); break;
      case 3: std::swap(*at(), *at()); break;
      case 4: *at() = *at(); break;
      case 5: *at() ^= pick(random, 0, 7); break;
      default: *at() = strange(random); break;
    }
  }
}

// Buffers of exactly the declared sizes, where all that stays small.
void run(const ost_plan* plan, const Naive& read, Random& random) {
  Shape shape{pick(random, 0, 4), pick(random, 0, 5), {}, pick(random, 0, 1) == 1, pick(random, 0, 2)};
  if (pick(random, 0, 2) == 0) shape.sizes = ragged(random, shape.steps, shape.batch);
  if (read.cost() * double((shape.steps + 1) * (shape.batch + 1)) > 3e5) return;
  Case c(read, shape, random());
  ost_call call = c.call();
  if (!pick(random, 0, 9)) {  // what the call itself can have wrong
    std::vector<Word> sizes(shape.steps);
    for (Word& s : sizes) s = pick(random, -1, shape.batch + 1);
    switch (pick(random, 0, 7)) {
      case 0: call.arrays = nullptr; break;
      case 1: call.weights = nullptr; break;
      case 2: call.initial = nullptr; break;
      case 3: call.finals = nullptr; break;
      case 4: call.threads = pick(random, -1, 0); break;
      case 5: call.steps = -call.steps; break;
      case 6:
        if (std::is_sorted(sizes.rbegin(), sizes.rend())) return;  // fits after all, but not its buffers
        call.sizes = sizes.data();
        break;
      default: call.batch = -call.batch; break;
    }
    ost_run(plan, &call);
    return;
  }
  if (pick(random, 0, 1)) call.threads = pick(random, 1, 5), call.parallel = granted::late;
  ost_packed* packed = nullptr;
  if (pick(random, 0, 1) && ost_pack(plan, call.weights, pick(random, 0, 1), &packed) == OST_OK) call.packed = packed;
  const int code = ost_run(plan, &call);
  if (code != OST_OK && code != OST_MEMORY && !(code == OST_INVALID && call.sizes)) {
    std::printf("an accepted plan gave %d: %s\n", code, ost_message());
    std::abort();
  }
  ost_packed_free(packed);
}

void feed(const std::vector<Word>& words, const std::vector<double>& constants, Random& random, Word& accepted) {
  ost_plan* plan = nullptr;
  const int code = ost_plan_make(words.data(), Word(words.size()), constants.data(), Word(constants.size()), &plan);
  if ((code == OST_OK) != (plan != nullptr)) std::abort();
  if (plan) run(plan, Naive(words, constants), random), ++accepted;
  ost_plan_free(plan);
}

}  // namespace

#ifdef OSTINATO_FUZZER
// The first eight bytes seed the plan, the rest says which of its words become what.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 8) return 0;
  std::uint64_t seed;
  std::memcpy(&seed, data, 8);
  Random random(seed % 64);
  const Plan plan = valid(random);
  std::vector<Word> words = plan.words();
  for (std::size_t i = 8; i + 10 <= size; i += 10) {
    std::uint16_t at;
    Word value;
    std::memcpy(&at, data + i, 2);
    std::memcpy(&value, data + i + 2, 8);
    words[at % words.size()] = value;
  }
  Word accepted = 0;
  feed(words, plan.constants, random, accepted);
  return 0;
}
#else
// The same plans in the same order; how many depends on the machine.
TEST(spoiled_plans) {
  const char* given = std::getenv("OSTINATO_FUZZ_SECONDS");
  const std::chrono::duration<double> seconds(given ? std::atof(given) : 3);
  const auto begin = std::chrono::steady_clock::now();
  Word accepted = 0, fed = 0;
  for (; std::chrono::steady_clock::now() - begin < seconds; ++fed) {
    Random random(fed);
    const Plan plan = valid(random);
    std::vector<Word> words = plan.words();
    spoil(words, random);
    feed(words, plan.constants, random, accepted);
  }
  std::printf("%lld plans, %lld of them accepted\n", (long long)fed, (long long)accepted);
  CHECK(accepted);
}
#endif
