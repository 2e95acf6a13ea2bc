#include "plan.h"

#include <algorithm>
#include <cstdlib>

#include "message.h"

namespace ostinato {
namespace {

constexpr Index most = Index{1} << 40;  // of any size: sums and products of two stay far from overflow with `fits`
constexpr Index tile_bytes = 24 * 1024;  // what the slots of a tile may take of the first cache
constexpr Index tile_elements = 1024;

constexpr int arity[] = {
#define OSTINATO_ARITY(name, n) n,
    OSTINATO_OPCODES(OSTINATO_ARITY)
#undef OSTINATO_ARITY
};

bool fits(Index a, Index b) { return a == 0 || b <= most / a; }

// Takes words one by one; past the end it gives zeros and remembers.
struct Words {
  const std::int64_t* at;
  Index left;
  bool over = false;

  Index take() {
    if (left <= 0) {
      over = true;
      return 0;
    }
    --left;
    return *at++;
  }
};

class Reader {
 public:
  Reader(Words words, const double* constants, Index n_constants, Plan& plan)
      : words_(words), plan_(plan), n_constants_(n_constants) {
    plan.constants.assign(constants, constants + n_constants);
    plan.constants32.assign(plan.constants.begin(), plan.constants.end());
  }

  int read() {
    if (words_.take() != OST_MAGIC) return fail(OST_INVALID, "these words are no plan");
    const Index version = words_.take();
    if (version != OST_VERSION)
      return fail(OST_INVALID, "the plan has version %lld, this library reads %d", (long long)version, OST_VERSION);
    plan_.bytes = words_.take();
    if (plan_.bytes == 4) {
      if (int code = prepare<float>()) return code;
    } else if (plan_.bytes == 8) {
      if (int code = prepare<double>()) return code;
    } else {
      return fail(OST_INVALID, "elements of %lld bytes, not 4 or 8", (long long)plan_.bytes);
    }
    const Index n_arrays = words_.take(), n_weights = words_.take(), n_stages = words_.take();
    if (!counted(n_arrays, 4) || !counted(n_weights, 3) || !counted(n_stages, 2))
      return fail(OST_INVALID, "more arrays, weights or stages than words");
    for (Index i = 0; i < n_arrays; ++i)
      if (int code = array(i, n_arrays)) return code;
    written_.assign(n_arrays, false);
    for (Index i = 0; i < n_arrays; ++i)
      if (int code = alias(i)) return code;
    for (Index i = 0; i < n_weights; ++i)
      if (int code = weight(i)) return code;
    for (stage_ = 0; stage_ < n_stages; ++stage_)
      if (int code = stage()) return code;
    if (words_.over || words_.left) return fail(OST_INVALID, "%s", words_.over ? "too few words" : "words left over");
    return finished();
  }

 private:
  template <class T> int prepare() {
    const Kernels<T>* table = kernels<T>();
    if (!table) return fail(OST_UNSUPPORTED, "the instruction set asked for does not run here");
    plan_.lanes = table->lanes;
    can_ = [](int op, int mask) { return kernels<T>()->apply[op][mask] != nullptr; };
    return OST_OK;
  }

  bool counted(Index n, Index each) const { return n >= 0 && n <= words_.left / each; }

  int wrong(const char* what) { return fail(OST_INVALID, "stage %lld: %s", (long long)stage_, what); }

  int array(Index i, Index n_arrays) {
    Array a{};
    const Index kind = words_.take();
    a.size = words_.take(), a.depth = words_.take(), a.alias = words_.take();
    a.kind = static_cast<ost_array_kind>(kind);
    const bool state = kind == OST_STATE;
    if (kind < 0 || kind > OST_FLAGS_EMIT || a.size < 1 || a.size > most || a.depth < (state ? 1 : 0) ||
        a.depth > (state ? most : 0) || !fits(a.size, a.depth + 1) || a.alias < -1 || a.alias >= n_arrays ||
        (!state && a.alias >= 0))
      return fail(OST_INVALID, "array %lld is not one", (long long)i);
    if (state) plan_.states.push_back(i);
    plan_.arrays.push_back(a);
    return OST_OK;
  }

  int alias(Index i) {
    const Array& a = plan_.arrays[i];
    if (a.alias < 0) return OST_OK;
    const Array& e = plan_.arrays[a.alias];
    if (e.kind != OST_EMIT || e.size != a.size)
      return fail(OST_INVALID, "state %lld is kept in array %lld, which is no such emit", (long long)i,
                  (long long)a.alias);
    return OST_OK;
  }

  int weight(Index i) {
    Weight w{};
    w.groups = words_.take(), w.in = words_.take(), w.out = words_.take();
    if (w.groups < 1 || w.in < 1 || w.out < 1 || w.groups > most || w.in > most || w.out > most ||
        !fits(w.in, plan_.padded(w.out)))
      return fail(OST_INVALID, "weight %lld is not one", (long long)i);
    w.begin = plan_.packed_size;
    w.group_size = w.in * plan_.padded(w.out);
    if (!fits(w.group_size, w.groups)) return fail(OST_INVALID, "weight %lld is too large", (long long)i);
    plan_.packed_size += w.group_size * w.groups;
    if (plan_.packed_size > most) return fail(OST_INVALID, "the weights are too large");
    plan_.weights.push_back(w);
    return OST_OK;
  }

  int stage() {
    const Index kind = words_.take(), length = words_.take();
    if (length < 0 || length > words_.left) return wrong("is longer than the words there are");
    Words rest{words_.at + length, words_.left - length};
    words_.left = length;
    int code = OST_OK;
    if (kind == OST_GEMM)
      code = gemm();
    else if (kind == OST_MAP)
      code = map();
    else if (kind == OST_REDUCE)
      code = reduce();
    else
      code = wrong("has an unknown kind");
    if (code) return code;
    if (words_.over || words_.left) return wrong("does not have the length it says");
    words_ = rest;
    return OST_OK;
  }

  Index site(Index array, Index delay) {
    for (Index i = 0; i < static_cast<Index>(plan_.sites.size()); ++i)
      if (plan_.sites[i].array == array && plan_.sites[i].delay == delay) return i;
    plan_.sites.push_back({array, delay});
    return static_cast<Index>(plan_.sites.size()) - 1;
  }

  // The array, delay and offset of a ref, checked but for its extent.
  int place(Ref& ref, Index array, Index delay, Index offset) {
    if (array < 0 || array >= static_cast<Index>(plan_.arrays.size())) return wrong("refers to an array there is not");
    const Array& a = plan_.arrays[array];
    if (delay < 0 || delay > a.depth) return wrong("reads further back than the array reaches");
    if (offset < 0 || offset >= a.size) return wrong("has an offset outside of its array");
    ref.site = site(array, delay);
    ref.offset = offset;
    return OST_OK;
  }

  const Array& array_of(const Ref& ref) const { return plan_.arrays[plan_.sites[ref.site].array]; }

  // Where a ref's values lie: the emit that a state is kept in, or the array itself.
  Index home(const Ref& ref) const {
    const Site& s = plan_.sites[ref.site];
    const Index alias = plan_.arrays[s.array].alias;
    return alias >= 0 ? alias : s.array;
  }

  bool written(const Ref& ref) const {
    const Array& a = array_of(ref);
    const bool made = a.kind == OST_EMIT || a.kind == OST_FLAGS_EMIT || a.kind == OST_SCRATCH || a.kind == OST_STATE;
    return !made || plan_.sites[ref.site].delay > 0 || written_[home(ref)];
  }

  int target(const Ref& ref) {
    if (!array_of(ref).written() || plan_.sites[ref.site].delay) return wrong("writes what it may not");
    return OST_OK;
  }

  int gemm() {
    Gemm g{};
    g.m = words_.take(), g.weight = words_.take();
    Index a[3], init[3], to[3];
    for (Index* ref : {a, init, to})
      for (int i = 0; i < 3; ++i) ref[i] = words_.take();
    if (g.m < 1 || g.m > most) return wrong("repeats less than once");
    if (g.weight < 0 || g.weight >= static_cast<Index>(plan_.weights.size())) return wrong("has no such weight");
    const Weight& w = plan_.weights[g.weight];
    if (!fits(g.m, w.groups) || !fits(g.m * w.groups, w.in) || !fits(g.m * w.groups, w.out))
      return wrong("is too large");
    if (int code = span(g.a, a, g.m * w.groups * w.in)) return code;
    if (int code = span(g.target, to, g.m * w.groups * w.out)) return code;
    if (init[0] != -1)
      if (int code = span(g.init, init, g.m * w.groups * w.out)) return code;
    if (!written(g.a) || (g.init.site >= 0 && !written(g.init))) return wrong("reads what is not written yet");
    if (int code = target(g.target)) return code;
    if (home(g.a) == home(g.target) && plan_.sites[g.a.site].delay == 0 && overlap(g.a, g.m * w.groups * w.in,
                                                                                   g.target, g.m * w.groups * w.out))
      return wrong("writes over its own operand");
    written_[plan_.sites[g.target.site].array] = true;
    plan_.products += g.m * w.groups * w.in * w.out;
    plan_.stages.emplace_back(g);
    return OST_OK;
  }

  static bool overlap(const Ref& a, Index n, const Ref& b, Index m) {
    return a.offset < b.offset + m && b.offset < a.offset + n;
  }

  int span(Ref& ref, const Index* words, Index n) {
    if (int code = place(ref, words[0], words[1], words[2])) return code;
    if (array_of(ref).bytes()) return wrong("multiplies flags");
    if (n > array_of(ref).size - ref.offset) return wrong("reaches outside of its array");
    return OST_OK;
  }

  int sizes(Index* size, Index slices) {
    Index total = slices;
    for (Index i = 0; i < dims; ++i) {
      size[i] = words_.take();
      if (size[i] < 1 || !fits(total, size[i])) return wrong("has a dimension below one or too large");
      total *= size[i];
    }
    return OST_OK;
  }

  // A ref with strides along `size`, and along r more elements `along` apart.
  int mapref(MapRef& ref, const Index* size, Index r, Index* along) {
    const Index array = words_.take(), delay = words_.take(), offset = words_.take();
    for (Index i = 0; i < dims; ++i) ref.stride[i] = words_.take();
    if (along) *along = words_.take();
    if (int code = place(ref, array, delay, offset)) return code;
    Index low = offset, high = offset;
    for (Index i = 0; i <= dims; ++i) {
      const Index n = i < dims ? size[i] : r, stride = i < dims ? ref.stride[i] : along ? *along : 0;
      if (stride < -most || stride > most || !fits(n, stride < 0 ? -stride : stride))
        return wrong("has a stride that is too large");
      (stride < 0 ? low : high) += (n - 1) * stride;
      if (low < 0 || high >= array_of(ref).size) return wrong("reaches outside of its array");
    }
    return OST_OK;
  }

  // Whether no two points share an element: each stride reaches beyond all that the smaller ones span.
  bool injective(const MapRef& ref, const Index* size) const {
    bool used[dims] = {};
    Index reach = 0;
    for (Index n = 0; n < dims; ++n) {
      Index next = -1;
      for (Index i = 0; i < dims; ++i)
        if (!used[i] && (next < 0 || std::abs(ref.stride[i]) < std::abs(ref.stride[next]))) next = i;
      used[next] = true;
      if (size[next] == 1) continue;
      if (std::abs(ref.stride[next]) <= reach) return false;
      reach += (size[next] - 1) * std::abs(ref.stride[next]);
    }
    return true;
  }

  int map() {
    Map m;
    if (int code = sizes(m.size, 1)) return code;
    const Index n_slots = words_.take(), n_refs = words_.take(), n_lines = words_.take();
    if (n_slots < 0 || n_slots > 4096) return wrong("has too many slots");
    if (!counted(n_refs, 3 + dims) || !counted(n_lines, 5)) return wrong("does not have the length it says");
    m.slots = n_slots;
    for (Index i = 0; i < n_refs; ++i) {
      MapRef ref;
      if (int code = mapref(ref, m.size, 1, nullptr)) return code;
      m.refs.push_back(ref);
    }
    set_.assign(n_slots, false);
    loaded_.assign(n_refs, -1);
    for (Index i = 0; i < n_lines; ++i)
      if (int code = instruction(m, n_slots)) return code;
    shape_tile(m);
    plan_.stages.emplace_back(std::move(m));
    return OST_OK;
  }

  void shape_tile(Map& m) {
    const Index slots = std::max<Index>(m.slots, 1) + static_cast<Index>(m.refs.size()) / 2;
    const Index fit = std::min(tile_elements, tile_bytes / (slots * plan_.bytes));
    const Index elements = std::max(fit / plan_.lanes * plan_.lanes, 4 * plan_.lanes);
    m.columns = std::min(m.size[3], elements);
    m.width = plan_.padded(m.columns);
    m.rows = std::max<Index>(elements / m.width, 1);
    plan_.slot_size = std::max(plan_.slot_size, m.rows * m.width);
    plan_.slot_count = std::max(plan_.slot_count, m.slots);
  }

  int operand(Operand& o, const Map& m, Index n_slots, Index word, bool reads) {
    if (word <= -2) {
      if (-2 - word >= n_constants_ || !reads) return wrong("refers to a constant there is not");
      o = {Operand::constant, -2 - word};
    } else if (word >= 0 && word < n_slots) {
      if (reads && !set_[word]) return wrong("reads a slot that is not written yet");
      o = {Operand::slot, word};
    } else if (word >= n_slots && word - n_slots < static_cast<Index>(m.refs.size())) {
      o = {Operand::ref, word - n_slots};
      if (reads && !written(m.refs[o.index])) return wrong("reads what is not written yet");
    } else {
      return wrong("refers to a slot or an array there is not");
    }
    return OST_OK;
  }

  int instruction(Map& m, Index n_slots) {
    const Index op = words_.take(), to = words_.take();
    Index given[3];
    for (Index& g : given) g = words_.take();
    if (op < 0 || op >= opcode_count) return wrong("has an unknown opcode");
    Line line;
    line.opcode = static_cast<int>(op);
    Operand* operands[] = {&line.a, &line.b, &line.c};
    for (int i = 0; i < 3; ++i) {
      if (i >= arity[op]) {
        if (given[i] != -1) return wrong("has more operands than its opcode takes");
      } else if (int code = operand(*operands[i], m, n_slots, given[i], true)) {
        return code;
      }
    }
    if (int code = operand(line.y, m, n_slots, to, false)) return code;
    if (line.y.kind == Operand::ref) {
      const MapRef& ref = m.refs[line.y.index];
      if (int code = target(ref)) return code;
      if (!injective(ref, m.size)) return wrong("writes one place several times");
    }
    for (int i = 0; i < arity[op]; ++i) plain(m, *operands[i]);
    splats(m, line);
    const Operand y = line.y;
    emit(m, line);
    if (y.kind == Operand::slot) {
      set_[y.index] = true;
    } else {
      const MapRef& ref = m.refs[y.index];
      written_[plan_.sites[ref.site].array] = true;
      for (Index i = 0; i < static_cast<Index>(m.refs.size()); ++i)  // what was loaded from it is stale
        if (home(m.refs[i]) == home(ref)) loaded_[i] = -1;
    }
    return OST_OK;
  }

  // Whether a ref's columns lie apart (neither side by side nor all one), which only gather and scatter take.
  bool apart(const Map& m, const MapRef& ref) const { return m.size[3] > 1 && ref.stride[3] != 1 && ref.stride[3] != 0; }

  bool splat(const Map& m, const Operand& o) const {
    if (o.kind == Operand::constant) return true;
    return o.kind == Operand::ref && m.refs[o.index].stride[3] == 0 && m.size[3] > 1;
  }

  Index new_slot(Map& m) { return m.slots++; }

  // Loads an operand that no arithmetic kernel reads as it is (flags, columns apart) into a slot.
  void plain(Map& m, Operand& o) {
    if (o.kind != Operand::ref) return;
    const MapRef& ref = m.refs[o.index];
    const bool flags = array_of(ref).bytes();
    if (!flags && !apart(m, ref)) return;
    if (loaded_[o.index] < 0) {
      Line load;
      load.kind = flags ? Line::widen : Line::gather;
      load.y = {Operand::slot, new_slot(m)};
      load.a = o;
      loaded_[o.index] = load.y.index;
      m.lines.push_back(load);
    }
    o = {Operand::slot, loaded_[o.index]};
  }

  // Spreads splat operands into slots until a kernel takes the rest.
  void splats(Map& m, Line& line) {
    Operand* operands[] = {&line.a, &line.b, &line.c};
    const int n = arity[line.opcode];
    for (int spread = n - 1;; --spread) {
      line.mask = 0;
      for (int i = 0; i < n; ++i) line.mask |= splat(m, *operands[i]) << i;
      if (can_(line.opcode, line.mask) || spread < 0) return;
      if (!splat(m, *operands[spread])) continue;
      Line copy;
      copy.mask = splat_a;
      copy.y = {Operand::slot, new_slot(m)};
      copy.a = *operands[spread];
      m.lines.push_back(copy);
      *operands[spread] = copy.y;
    }
  }

  void emit(Map& m, Line line) {
    if (line.y.kind == Operand::ref) {
      const MapRef& ref = m.refs[line.y.index];
      const bool flags = array_of(ref).bytes();
      if (flags || apart(m, ref)) {
        Line last;
        last.kind = flags ? Line::narrow : Line::scatter;
        last.y = line.y;
        last.a = line.y = {Operand::slot, new_slot(m)};
        m.lines.push_back(line);
        m.lines.push_back(last);
        return;
      }
    }
    m.lines.push_back(line);
  }

  int reduce() {
    Reduce r{};
    const Index operation = words_.take();
    if (operation != OST_SUM && operation != OST_MAX) return wrong("is neither a sum nor a maximum");
    r.operation = static_cast<ost_reduction>(operation);
    if (int code = sizes(r.size, 1)) return code;
    r.r = words_.take();
    if (r.r < 1 || r.r > most) return wrong("reduces nothing");
    if (int code = mapref(r.from, r.size, r.r, &r.along)) return code;
    if (int code = mapref(r.to, r.size, 1, nullptr)) return code;
    if (!written(r.from)) return wrong("reads what is not written yet");
    if (int code = target(r.to)) return code;
    if (array_of(r.from).bytes() || array_of(r.to).bytes()) return wrong("reduces flags");
    if (!injective(r.to, r.size)) return wrong("writes one place several times");
    if (home(r.from) == home(r.to) && plan_.sites[r.from.site].delay == 0) return wrong("writes over its own operand");
    written_[plan_.sites[r.to.site].array] = true;
    plan_.stages.emplace_back(r);
    return OST_OK;
  }

  int finished() {
    for (Index i = 0; i < static_cast<Index>(plan_.arrays.size()); ++i) {
      const Array& a = plan_.arrays[i];
      const Index place = a.alias >= 0 ? a.alias : i;
      if ((a.kind == OST_STATE || a.kind == OST_EMIT || a.kind == OST_FLAGS_EMIT) && !written_[place])
        return fail(OST_INVALID, "array %lld is never written", (long long)i);
    }
    return OST_OK;
  }

  Words words_;
  Plan& plan_;
  Index n_constants_, stage_ = 0;
  bool (*can_)(int, int) = nullptr;
  std::vector<bool> written_, set_;
  std::vector<Index> loaded_;
};

}  // namespace

int read_plan(const std::int64_t* words, Index n_words, const double* constants, Index n_constants, Plan& plan) {
  if (!words || n_words < 0 || n_constants < 0 || (n_constants && !constants))
    return fail(OST_INVALID, "no words");
  return Reader(Words{words, n_words}, constants, n_constants, plan).read();
}

}  // namespace ostinato
