#include "case.h"

#include <algorithm>
#include <stdexcept>

double Case::Buffer::value(Word i) const {
  if (bytes == 1) return static_cast<const std::uint8_t*>(at())[i];
  return bytes == 4 ? static_cast<const float*>(at())[i] : static_cast<const double*>(at())[i];
}

void Case::Buffer::set(Word i, double value) {
  if (bytes == 1)
    static_cast<std::uint8_t*>(at())[i] = value > 0;
  else if (bytes == 4)
    static_cast<float*>(at())[i] = float(value);
  else
    static_cast<double*>(at())[i] = value;
}

void Case::fill(Buffer& buffer, Random& random) {
  std::uniform_real_distribution<double> any(-1.2, 1.2);
  for (Word i = 0; i < buffer.size; ++i) buffer.set(i, any(random));
}

Case::Case(const Naive& plan, Shape given, std::uint64_t seed) : plan(plan), shape(std::move(given)) {
  Random random(seed);
  const Word batch = shape.batch, bytes = plan.bytes;
  Word rows = shape.steps * batch;
  if (!shape.sizes.empty()) {
    rows = 0;
    for (Word size : shape.sizes) rows += size;
  }
  std::vector<Word> before(plan.arrays.size());  // the steps that a state kept in this emit needs before the first
  for (const auto& a : plan.arrays)
    if (a.alias >= 0) before[a.alias] = std::max(before[a.alias], a.depth);
  for (std::size_t i = 0; i < plan.arrays.size(); ++i) {
    const auto& a = plan.arrays[i];
    const Word row = a.size + shape.gap, room = before[i] * batch * row;
    const bool here = a.kind != OST_STATE && a.kind != OST_SCRATCH;
    const Word count = !here ? 0 : a.each_step() ? rows * row + room : a.kind == OST_P ? a.size : batch * row;
    Buffer& buffer = arrays_.emplace_back(a.flags() ? 1 : bytes, count);
    fill(buffer, random);
    begins_.push_back(shape.reverse ? 0 : room);
    char* at = static_cast<char*>(buffer.at()) + begins_.back() * buffer.bytes;
    places_.push_back({here ? at : nullptr, a.each_step() ? batch * row : 0, row});
    if (a.kind != OST_STATE) continue;
    for (auto* states : {&initial_, &finals_}) fill(states->emplace_back(bytes, a.depth * batch * a.size), random);
    initial_at_.push_back(initial_.back().at());
    finals_at_.push_back(finals_.back().at());
  }
  for (const auto& w : plan.weights) {
    Buffer& buffer = weights_.emplace_back(bytes, w.groups * w.in * w.out);
    std::uniform_real_distribution<double> any(-1, 1);
    for (Word i = 0; i < buffer.size; ++i) buffer.set(i, any(random) / std::sqrt(double(w.in)));
    const bool turned = random() % 2;  // as torch keeps it, [out, in], or the other way
    matrices_.push_back({buffer.at(), w.in * w.out, turned ? 1 : w.out, turned ? w.in : 1});
  }
}

ost_call Case::call() {
  ost_call c{};
  c.steps = shape.steps;
  c.batch = shape.batch;
  c.sizes = shape.sizes.empty() ? nullptr : shape.sizes.data();
  c.reverse = shape.reverse;
  c.threads = 1;
  c.arrays = places_.data();
  c.weights = matrices_.data();
  c.initial = initial_at_.data();
  c.finals = finals_at_.data();
  return c;
}

std::vector<double> Case::written() const {
  std::vector<double> all;
  for (std::size_t i = 0; i < plan.arrays.size(); ++i) {
    if (!plan.arrays[i].made()) continue;
    const Word room = arrays_[i].size - shape.steps * places_[i].step;  // beside the steps: initial values, if any
    for (Word k = 0; k < arrays_[i].size; ++k) {
      const bool beside = shape.sizes.empty() && (shape.reverse ? k >= arrays_[i].size - room : k < room);
      if (!beside) all.push_back(arrays_[i].value(k));
    }
  }
  for (const Buffer& f : finals_)
    for (Word k = 0; k < f.size; ++k) all.push_back(f.value(k));
  return all;
}

std::vector<Word> ragged(Random& random, Word steps, Word batch) {
  std::vector<Word> sizes(steps);
  for (Word& s : sizes) s = pick(random, 0, batch);
  std::sort(sizes.rbegin(), sizes.rend());
  return sizes;
}

OwnedPlan made(const Plan& plan) {
  const std::vector<Word> words = plan.words();
  ost_plan* raw = nullptr;
  if (ost_plan_make(words.data(), Word(words.size()), plan.constants.data(), Word(plan.constants.size()), &raw))
    throw std::runtime_error(std::string("refused: ") + ost_message());
  return OwnedPlan(raw);
}
