// An instruction set that does not run here: OSTINATO_ISA is set to one by the build.
#include <cstdio>

#include "case.h"

int main() {
  const Plan plan(4);
  const std::vector<Word> words = plan.words();
  ost_plan* made = nullptr;
  const int code = ost_plan_make(words.data(), Word(words.size()), nullptr, 0, &made);
  float one = 1;
  const ost_right right{1, &one, 1, 1, nullptr, 0, &one, 1};
  const ost_product product{4, 1, 1, &one, 1, 1, 1, &right, nullptr, 1, nullptr};
  const bool good = code == OST_UNSUPPORTED && !made && *ost_message() && !*ost_isa() && *ost_isas() &&
                    ost_multiply(&product) == OST_UNSUPPORTED;
  std::printf("%d: %s\n", code, ost_message());
  return good ? 0 : 1;
}
