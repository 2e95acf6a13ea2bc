// Work shared by the threads that a caller's `ost_parallel` grants, however many that turns out to be.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

#include "kernels.h"
#include "ostinato.h"

namespace ostinato {

inline void relax() {
#if defined(__x86_64__) || defined(_M_X64)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins, then lets others run: a thread that waits may share its core with the one it waits for.
template <class Done>
void wait_until(Done done) {
  for (int spins = 0; !done(); ++spins) {
    if (spins < 4096)
      relax();
    else
      std::this_thread::yield();
  }
}

// Runs work(i) for every i < n: each i once, on whichever thread comes.
template <class Work>
void each(Index n, Index threads, ost_parallel parallel, Work&& work) {
  if (n <= 1 || threads <= 1 || !parallel) {
    for (Index i = 0; i < n; ++i) work(i);
    return;
  }
  struct Shared {
    Work& work;
    Index n;
    std::atomic<Index> next{0};
  } shared{work, n};
  parallel(
      [](void* data) {
        auto& s = *static_cast<Shared*>(data);
        for (Index i; (i = s.next.fetch_add(1)) < s.n;) s.work(i);
      },
      &shared, static_cast<unsigned>(threads < n ? threads : n), 0);
}

// A team: the threads that came in time, which may wait for each other at a barrier.
class Team {
 public:
  // The first to come leads: it waits a moment for the others, then closes the team.
  // Returns this thread's number, or -1 when it came too late.
  Index join(Index wanted) {
    const Index me = arrived_.fetch_add(1);
    if (me == 0) {
      for (int spins = 0; spins < 20000 && arrived_.load() < wanted; ++spins) relax();
      Index size = arrived_.exchange(closed);
      size = size < wanted ? size : wanted;
      size_.store(size);
    } else {
      if (me >= closed) return -1;
      wait_until([&] { return size_.load() != 0; });
      if (me >= size_.load()) return -1;
    }
    return me;
  }

  Index size() const { return size_.load(std::memory_order_relaxed); }

  void barrier() {
    const Index n = size();
    if (n == 1) return;
    const std::uint64_t round = round_.load(std::memory_order_acquire);
    if (waiting_.fetch_add(1, std::memory_order_acq_rel) + 1 == n) {
      waiting_.store(0, std::memory_order_relaxed);
      round_.store(round + 1, std::memory_order_release);
    } else {
      wait_until([&] { return round_.load(std::memory_order_acquire) != round; });
    }
  }

 private:
  static constexpr Index closed = Index{1} << 32;
  alignas(64) std::atomic<Index> arrived_{0};
  alignas(64) std::atomic<Index> size_{0};
  alignas(64) std::atomic<Index> waiting_{0};
  alignas(64) std::atomic<std::uint64_t> round_{0};
};

}  // namespace ostinato
