#include "machine.h"
#include "message.h"
#include "plan.h"

using ostinato::fail;
using ostinato::guarded;

struct ost_plan {
  ostinato::Plan plan;
};
struct ost_packed {
  ostinato::Packed packed;
};

int64_t ost_version(void) { return OST_VERSION; }

int ost_plan_make(const int64_t* words, int64_t n_words, const double* constants, int64_t n_constants,
                  ost_plan** plan) {
  if (!plan) return fail(OST_INVALID, "no place for the plan");
  *plan = nullptr;
  return guarded([&] {
    auto* made = new ost_plan;
    const int code = ostinato::read_plan(words, n_words, constants, n_constants, made->plan);
    if (code)
      delete made;
    else
      *plan = made;
    return code;
  });
}

void ost_plan_free(ost_plan* plan) { delete plan; }

int ost_pack(const ost_plan* plan, const ost_matrix* weights, int64_t halves, ost_packed** packed) {
  if (!plan || !packed) return fail(OST_INVALID, "no plan, or no place for the weights");
  *packed = nullptr;
  return guarded([&] {
    auto* made = new ost_packed;
    const int code = ostinato::pack(plan->plan, weights, halves != 0, made->packed);
    if (code)
      delete made;
    else
      *packed = made;
    return code;
  });
}

void ost_packed_free(ost_packed* packed) { delete packed; }

int ost_run(const ost_plan* plan, const ost_call* call) {
  if (!plan || !call) return fail(OST_INVALID, "no plan, or no call");
  return guarded([&] { return ostinato::run(plan->plan, *call); });
}
