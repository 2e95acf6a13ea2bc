#include "naive.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <map>

namespace {

using Operation = double (*)(double, double, double);

const std::map<std::string, Operation> operations{
#define OF(name, value) {name, [](double a, double b, double c) -> double { (void)a, (void)b, (void)c; return value; }}
    OF("copy", a), OF("neg", -a), OF("abs", std::abs(a)), OF("sign", (a > 0) - (a < 0)), OF("floor", std::floor(a)),
    OF("ceil", std::ceil(a)), OF("round", std::nearbyint(a)), OF("relu", a < 0 ? 0 : a), OF("exp", std::exp(a)),
    OF("expm1", std::expm1(a)), OF("log", std::log(a)), OF("log1p", std::log1p(a)), OF("tanh", std::tanh(a)),
    OF("sigmoid", 1 / (1 + std::exp(-a))), OF("sqrt", std::sqrt(a)), OF("rsqrt", 1 / std::sqrt(a)),
    OF("reciprocal", 1 / a), OF("sin", std::sin(a)), OF("cos", std::cos(a)), OF("erf", std::erf(a)),
    OF("not", a == 0), OF("truth", a != 0), OF("add", a + b), OF("sub", a - b), OF("mul", a * b), OF("div", a / b),
    OF("maximum", std::isnan(a) || a > b ? a : b), OF("minimum", std::isnan(a) || a < b ? a : b),
    OF("pow", std::pow(a, b)), OF("gt", a > b), OF("ge", a >= b), OF("lt", a < b), OF("le", a <= b),
    OF("eq", a == b), OF("ne", a != b), OF("and", a != 0 && b != 0), OF("or", a != 0 || b != 0),
    OF("xor", (a != 0) != (b != 0)), OF("where", a != 0 ? b : c), OF("muladd", a * b + c),
    OF("dtanh", a * (1 - b * b)), OF("dsigmoid", a * (b * (1 - b))), OF("lerp", (1 - c) * a + c * b),
    OF("submul", a - b * c)};
#undef OF

// By opcode.
const std::vector<Operation>& calculations() {
  static const std::vector<Operation> all = [] {
    std::vector<Operation> found;
    for (Word i = 0; const char* name = ost_opcode(i); ++i) found.push_back(operations.at(name));
    return found;
  }();
  return all;
}

double read(const void* at, Word i, Word bytes) {
  if (bytes == 1) return static_cast<const std::uint8_t*>(at)[i];
  return bytes == 4 ? static_cast<const float*>(at)[i] : static_cast<const double*>(at)[i];
}

void write(void* at, Word i, Word bytes, double value) {
  if (bytes == 1)
    static_cast<std::uint8_t*>(at)[i] = value != 0;
  else if (bytes == 4)
    static_cast<float*>(at)[i] = static_cast<float>(value);
  else
    static_cast<double*>(at)[i] = value;
}

using Values = std::vector<double>;

}  // namespace

// One sequence at one step: the values of each array, and those of the states at each delay.
struct Naive::Sequence {
  const Naive& plan;
  const ost_call& call;
  std::vector<Values> now;
  std::vector<std::deque<Values>> past;  // the latest first

  Values& values(Word array, Word delay) {
    const Word alias = plan.arrays[array].alias;
    return delay ? past[array][delay - 1] : now[alias >= 0 ? alias : array];
  }
};

Naive::Naive(const std::vector<Word>& words, const std::vector<double>& constants) : constants_(constants) {
  const Word* w = &words[2];
  bytes = *w++;
  const Word n_arrays = *w++, n_weights = *w++, n_stages = *w++;
  for (Word i = 0; i < n_arrays; ++i, w += 4) arrays.push_back({w[0], w[1], w[2], w[3]});
  for (Word i = 0; i < n_weights; ++i, w += 3) weights.push_back({w[0], w[1], w[2]});
  for (Word i = 0; i < n_stages; ++i) {
    stages_.push_back({w[0], std::vector<Word>(w + 2, w + 2 + w[1])});
    w += 2 + w[1];
  }
}

double Naive::cost() const {
  double all = 0;
  for (const Array& a : arrays) all += double(a.size) * double(a.depth + 1);
  for (const Weight& w : weights) all += double(w.groups) * double(w.in) * double(w.out);
  for (const Stage& s : stages_) {
    const std::vector<Word>& w = s.words;
    if (s.kind == OST_GEMM) {
      const Weight& weight = weights[w[1]];
      all += double(w[0]) * double(weight.groups) * double(weight.in) * double(weight.out);
    } else {
      const Word* size = s.kind == OST_MAP ? &w[0] : &w[1];
      const double each = s.kind == OST_MAP ? double(w[6]) + 1 : double(w[5]);
      all += double(size[0]) * double(size[1]) * double(size[2]) * double(size[3]) * each;
    }
  }
  return all;
}

void Naive::run(const ost_call& call) const {
  std::vector<Word> first(call.steps + 1);  // the rows before each step, where ragged
  for (Word t = 0; t < call.steps; ++t) first[t + 1] = first[t] + (call.sizes ? call.sizes[t] : 0);

  for (Word b = 0; b < call.batch; ++b) {
    Sequence s{*this, call, {}, std::vector<std::deque<Values>>(arrays.size())};
    for (const Array& a : arrays)
      s.now.emplace_back(a.size, std::numeric_limits<double>::quiet_NaN());
    const auto every_state = [&](auto&& each) {
      for (std::size_t i = 0, state = 0; i < arrays.size(); ++i)
        if (arrays[i].kind == OST_STATE) each(i, arrays[i], state++);
    };
    every_state([&](std::size_t i, const Array& a, std::size_t state) {
      for (Word d = 0; d < a.depth; ++d) {
        s.past[i].emplace_front(a.size);
        for (Word k = 0; k < a.size; ++k)
          s.past[i][0][k] = read(call.initial[state], (d * call.batch + b) * a.size + k, bytes);
      }
    });

    for (Word step = 0; step < call.steps; ++step) {
      const Word t = call.reverse ? call.steps - 1 - step : step;
      if (call.sizes && b >= call.sizes[t]) continue;
      const auto place = [&](std::size_t i) {
        const ost_place& p = call.arrays[i];
        if (arrays[i].kind == OST_P) return Word{0};
        if (!arrays[i].each_step()) return b * p.row;
        return call.sizes ? (first[t] + b) * p.row : t * p.step + b * p.row;
      };
      for (std::size_t i = 0; i < arrays.size(); ++i)
        if (arrays[i].kind != OST_STATE && arrays[i].kind != OST_SCRATCH)
          for (Word k = 0; k < arrays[i].size; ++k)
            s.now[i][k] = read(call.arrays[i].at, place(i) + k, arrays[i].flags() ? 1 : bytes);
      for (const Stage& stage : stages_) {
        if (stage.kind == OST_GEMM)
          gemm(s, stage.words);
        else if (stage.kind == OST_MAP)
          map(s, stage.words);
        else
          reduce(s, stage.words);
      }
      for (std::size_t i = 0; i < arrays.size(); ++i)
        if (arrays[i].made())
          for (Word k = 0; k < arrays[i].size; ++k)
            write(call.arrays[i].at, place(i) + k, arrays[i].flags() ? 1 : bytes, s.now[i][k]);
      every_state([&](std::size_t i, const Array&, std::size_t) {
        s.past[i].push_front(s.values(Word(i), 0));
        s.past[i].pop_back();
      });
    }
    every_state([&](std::size_t i, const Array& a, std::size_t state) {
      for (Word d = 0; d < a.depth; ++d)
        for (Word k = 0; k < a.size; ++k)
          write(call.finals[state], (d * call.batch + b) * a.size + k, bytes, s.past[i][a.depth - 1 - d][k]);
    });
  }
}

void Naive::gemm(Sequence& s, const std::vector<Word>& w) const {
  const Weight& weight = weights[w[1]];
  const ost_matrix& matrix = s.call.weights[w[1]];
  const Values a = s.values(w[2], w[3]), init = w[5] >= 0 ? s.values(w[5], w[6]) : Values{};
  Values& target = s.values(w[8], w[9]);
  for (Word i = 0; i < w[0] * weight.groups; ++i)
    for (Word n = 0; n < weight.out; ++n) {
      double sum = w[5] >= 0 ? init[w[7] + i * weight.out + n] : 0;
      for (Word k = 0; k < weight.in; ++k)
        sum += a[w[4] + i * weight.in + k] *
               read(matrix.at, i % weight.groups * matrix.group + k * matrix.in + n * matrix.out, bytes);
      target[w[10] + i * weight.out + n] = sum;
    }
}

void Naive::map(Sequence& s, const std::vector<Word>& w) const {
  const Word n_slots = w[4], n_refs = w[5], n_lines = w[6];
  const Word *refs = &w[7], *lines = refs + 7 * n_refs;
  Values slots(n_slots);
  for (Word point = 0, points = w[0] * w[1] * w[2] * w[3]; point < points; ++point) {
    const Word at[] = {point / w[3] / w[2] / w[1], point / w[3] / w[2] % w[1], point / w[3] % w[2], point % w[3]};
    const auto element = [&](Word i) -> double& {
      const Word* r = refs + 7 * i;
      return s.values(r[0], r[1])[r[2] + at[0] * r[3] + at[1] * r[4] + at[2] * r[5] + at[3] * r[6]];
    };
    const auto operand = [&](Word o) {
      if (o == -1) return 0.0;
      if (o < 0) return bytes == 4 ? double(float(constants_[-2 - o])) : constants_[-2 - o];
      return o < n_slots ? slots[o] : element(o - n_slots);
    };
    for (Word i = 0; i < n_lines; ++i) {
      const Word* l = lines + 5 * i;
      const double y = calculations()[l[0]](operand(l[2]), operand(l[3]), operand(l[4]));
      (l[1] < n_slots ? slots[l[1]] : element(l[1] - n_slots)) = y;
    }
  }
}

void Naive::reduce(Sequence& s, const std::vector<Word>& w) const {
  const Word *size = &w[1], r = w[5], *from = &w[6], along = w[13], *to = &w[14];
  for (Word i0 = 0; i0 < size[0]; ++i0)
    for (Word i1 = 0; i1 < size[1]; ++i1)
      for (Word i2 = 0; i2 < size[2]; ++i2)
        for (Word i3 = 0; i3 < size[3]; ++i3) {
          const Word at[] = {i0, i1, i2, i3};
          Word source = from[2], target = to[2];
          for (int d = 0; d < 4; ++d) source += at[d] * from[3 + d], target += at[d] * to[3 + d];
          const Values& values = s.values(from[0], from[1]);
          double y = values[source];
          const Operation maximum = calculations()[op("maximum")];
          for (Word j = 1; j < r; ++j)
            y = w[0] == OST_SUM ? y + values[source + j * along]
                                : maximum(y, values[source + j * along], 0);
          s.values(to[0], to[1])[target] = y;
        }
}
