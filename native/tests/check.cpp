#include "check.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "ostinato.h"

namespace check {

std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

}  // namespace check

namespace {

constexpr int skipped = 77;  // what CTest takes for it

bool runs_here(const char* isa) {
  std::istringstream all(ost_isas());
  for (std::string one; all >> one;)
    if (one == isa) return true;
  return false;
}

}  // namespace

// Runs the tests whose names contain the argument, or all.
int main(int argc, char** argv) {
  if (const char* isa = std::getenv("OSTINATO_ISA"); isa && !runs_here(isa)) {
    std::printf("%s does not run here\n", isa);
    return skipped;
  }
  int failures = 0;
  for (const check::Test& test : check::tests()) {
    if (argc > 1 && !std::strstr(test.name, argv[1])) continue;
    try {
      test.body();
    } catch (const std::exception& error) {
      std::printf("FAILED %s\n  %s\n", test.name, error.what());
      ++failures;
    }
  }
  std::printf("%s: %d of %zu failed\n", ost_isa(), failures, check::tests().size());
  return failures ? 1 : 0;
}
