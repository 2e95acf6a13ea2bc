// Ways a caller may grant threads.
#pragma once

#include <chrono>
#include <thread>
#include <vector>

#include "ostinato.h"

namespace granted {

inline void several(void (*task)(void*), void* data, unsigned threads) {
  std::vector<std::thread> others;
  for (unsigned i = 1; i < threads; ++i) others.emplace_back(task, data);
  task(data);
  for (std::thread& t : others) t.join();
}

inline void all(void (*task)(void*), void* data, unsigned threads, unsigned) { several(task, data, threads); }

inline void fewer(void (*task)(void*), void* data, unsigned threads, unsigned) { several(task, data, threads - 1); }

inline void one(void (*task)(void*), void* data, unsigned, unsigned) { task(data); }

// All of them, the others when the first is done with what it found.
inline void late(void (*task)(void*), void* data, unsigned threads, unsigned) {
  for (unsigned i = 0; i < threads; ++i) std::thread(task, data).join();
}

}  // namespace granted
