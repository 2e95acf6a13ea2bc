// Memory that a thread keeps between runs, so that a run need not ask the system for it again.
#pragma once

#include <cstdlib>
#include <cstring>
#include <new>

#include "kernels.h"

namespace ostinato {

class Workspace {
 public:
  Workspace() = default;
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  ~Workspace() { release(); }

  // At least so many bytes, aligned to a page; what they hold is undefined. Null when there is no memory.
  void* reserve(std::size_t bytes) {
    if (bytes > size_) {
      release();
      at_ = ::operator new(bytes, std::align_val_t{alignment}, std::nothrow);
      size_ = at_ ? bytes : 0;
    }
    if (at_ && poisoned()) std::memset(at_, 0xff, bytes);
    return at_;
  }

 private:
  static constexpr std::size_t alignment = 4096;

  // For tests: with OSTINATO_POISON set, memory begins as NaN.
  static bool poisoned() {
    static const bool set = std::getenv("OSTINATO_POISON") != nullptr;
    return set;
  }

  void release() {
    if (at_) ::operator delete(at_, std::align_val_t{alignment});
    at_ = nullptr;
    size_ = 0;
  }

  void* at_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace ostinato
