// The tests' harness: TEST registers, CHECK ends a test that fails, and main (in check.cpp) runs them all.
#pragma once

#include <cmath>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace check {

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Test {
  const char* name;
  void (*body)();
};
std::vector<Test>& tests();

struct Registered {
  Registered(const char* name, void (*body)()) { tests().push_back({name, body}); }
};

template <class... Parts>
[[noreturn]] void failed(const char* file, int line, const Parts&... parts) {
  std::ostringstream text;
  text.precision(17);
  text << file << ":" << line << ": ";
  (text << ... << parts);
  throw Failure(text.str());
}

// Equal within `tolerance`, relative above one and absolute below; NaN equals NaN, an infinity itself.
inline bool close(double got, double wanted, double tolerance) {
  if (std::isnan(wanted) || std::isnan(got)) return std::isnan(wanted) == std::isnan(got);
  if (std::isinf(wanted) || std::isinf(got)) return got == wanted;
  return std::abs(got - wanted) <= tolerance * (1 + std::abs(wanted));
}

}  // namespace check

#define TEST(name)                                               \
  static void name();                                            \
  static const check::Registered registered_##name{#name, name}; \
  static void name()

// CHECK(condition, parts of a message...)
#define CHECK(condition, ...)                                                                     \
  do {                                                                                            \
    if (!(condition)) check::failed(__FILE__, __LINE__, #condition __VA_OPT__(, ": ",) __VA_ARGS__); \
  } while (0)
