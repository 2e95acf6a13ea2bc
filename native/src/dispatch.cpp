// Which instruction set runs: the best that this processor has, or the one that OSTINATO_ISA names.
#include <cstdlib>
#include <cstring>
#include <string>

#include "kernels.h"
#include "ostinato.h"

namespace ostinato {
namespace {

struct InstructionSet {
  const char* name;
  bool (*runs)();
  const Kernels<float>* (*single)();
  const Kernels<double>* (*twice)();
};

// The best first.
const InstructionSet sets[] = {
#if defined(__x86_64__)
    {"avx512",
     [] {
       return bool(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"));
     },
     kernels_avx512<float>, kernels_avx512<double>},
    {"avx2", [] { return bool(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")); },
     kernels_avx2<float>, kernels_avx2<double>},
    {"baseline", [] { return true; }, kernels_baseline<float>, kernels_baseline<double>},
#elif defined(__aarch64__)
    {"neon", [] { return true; }, kernels_neon<float>, kernels_neon<double>},
#else
    {"baseline", [] { return true; }, kernels_baseline<float>, kernels_baseline<double>},
#endif
};

const InstructionSet* choose() {
  const char* wanted = std::getenv("OSTINATO_ISA");
  for (const InstructionSet& set : sets)
    if (wanted && *wanted ? !std::strcmp(wanted, set.name) && set.runs() : set.runs()) return &set;
  return nullptr;
}

const InstructionSet* chosen() {
  static const InstructionSet* const set = choose();
  return set;
}

}  // namespace

template <>
const Kernels<float>* kernels<float>() {
  return chosen() ? chosen()->single() : nullptr;
}
template <>
const Kernels<double>* kernels<double>() {
  return chosen() ? chosen()->twice() : nullptr;
}

}  // namespace ostinato

const char* ost_isa(void) { return ostinato::chosen() ? ostinato::chosen()->name : ""; }

const char* ost_isas(void) {
  static const std::string names = [] {
    std::string all;
    for (const auto& set : ostinato::sets)
      if (set.runs()) all += (all.empty() ? "" : " ") + std::string(set.name);
    return all;
  }();
  return names.c_str();
}

const char* ost_opcode(int64_t opcode) {
  static const char* const names[] = {
#define OSTINATO_NAME(name, arity) #name,
      OSTINATO_OPCODES(OSTINATO_NAME)
#undef OSTINATO_NAME
  };
  return opcode >= 0 && opcode < ostinato::opcode_count ? names[opcode] : nullptr;
}
