#include "machine.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <new>

#include "message.h"
#include "threads.h"
#include "workspace.h"

namespace ostinato {
namespace {

constexpr std::size_t page = 64;  // what the parts of a workspace are aligned to

// A run as all its threads see it.
struct Run {
  const Plan& plan;
  const ost_call& call;
  const void* panels;
  bool halves;               // what the panels are of
  std::vector<Index> first;  // ragged: where each step begins
};

// The rows of a worker.
struct Rows {
  Index begin, count;
};

// One thread's part of a run, or one member's of a team that shares its rows.
template <class T>
class Worker {
 public:
  Worker(const Run& run, Rows rows, Team* team, Index me)
      : run_(run), plan_(run.plan), call_(run.call), table_(*kernels<T>()), rows_(rows), team_(team), me_(me) {}

  // Bytes that the arrays of `rows` rows take: scratch and the rings of states.
  static std::size_t shared_bytes(const Plan& plan, Index rows) {
    std::size_t bytes = 0;
    for (const Array& a : plan.arrays) bytes += round_up(array_bytes(plan, a, rows));
    return bytes;
  }
  static std::size_t own_bytes(const Plan& plan) {
    return round_up(plan.slot_count * plan.slot_size * sizeof(T));
  }

  void start(void* shared, void* own) {
    char* at = static_cast<char*>(shared);
    local_.assign(plan_.arrays.size(), nullptr);
    for (std::size_t i = 0; i < plan_.arrays.size(); ++i) {
      const std::size_t bytes = array_bytes(plan_, plan_.arrays[i], rows_.count);
      if (bytes) local_[i] = at;
      at += round_up(bytes);
    }
    slots_ = static_cast<T*>(own);
    where_.assign(plan_.sites.size(), nullptr);
    stride_.assign(plan_.sites.size(), 0);
    for (std::size_t i = 0; i < plan_.sites.size(); ++i) stride_[i] = stride_of(plan_.sites[i].array);
    std::size_t refs = 0;
    for (const Stage& stage : plan_.stages)
      if (const Map* map = std::get_if<Map>(&stage)) refs = std::max(refs, map->refs.size());
    at_.assign(refs, nullptr);
    fixed_.clear();  // a deque: what is in it stays where it is
    for (const Stage& stage : plan_.stages)
      if (const Map* map = std::get_if<Map>(&stage)) bind(*map);
  }

  void steps() {
    const Index T_ = call_.steps;
    Index alive = 0;
    for (Index s = 0; s < T_; ++s) {
      step_ = s;
      time_ = call_.reverse ? T_ - 1 - s : s;
      const Index active = active_at(time_);
      if (active > alive) begin_rows(alive, active);
      if (active < alive) end_rows(active, alive, s);
      alive = active;
      if (!alive) continue;
      active_ = alive;
      find();
      fetch_ahead();
      std::size_t bound = 0;
      for (const Stage& stage : plan_.stages) {
        if (const Map* m = std::get_if<Map>(&stage))
          map(*m, bound_[bound++]);
        else if (const Gemm* g = std::get_if<Gemm>(&stage))
          gemm(*g);
        else
          reduce(std::get<Reduce>(stage));
        if (team_) team_->barrier();
      }
    }
    step_ = T_;
    end_rows(0, alive, T_);
    never_ran(T_ ? active_at(0) : 0);
  }

 private:
  // A line with its kernel, and what of it never changes during a run. Operands: y, a, b, c.
  struct Bound {
    const Line* line;
    Apply<T> apply;
    bool whole;            // its operands lie without gaps: full tiles are one long row
    char* const* at[4];    // where to find the address of each
    Index stride[4];
  };

  static std::size_t round_up(std::size_t bytes) { return (bytes + page - 1) / page * page; }

  // A ring has a slot for each delay and one for the value of this step.
  static std::size_t array_bytes(const Plan& plan, const Array& a, Index rows) {
    if (a.kind == OST_SCRATCH) return rows * plan.padded(a.size) * sizeof(T);
    if (a.kind == OST_STATE && a.alias < 0) return (a.depth + 1) * rows * plan.padded(a.size) * sizeof(T);
    return 0;
  }

  Index active_at(Index time) const {
    if (!call_.sizes) return rows_.count;
    return std::clamp<Index>(call_.sizes[time] - rows_.begin, 0, rows_.count);
  }

  Index element(Index array) const { return plan_.arrays[array].bytes() ? 1 : static_cast<Index>(sizeof(T)); }

  Index stride_of(Index array) const {
    const Array& a = plan_.arrays[array];
    if (a.kind == OST_P) return 0;
    if (a.kind == OST_SCRATCH || (a.kind == OST_STATE && a.alias < 0)) return plan_.padded(a.size);
    return call_.arrays[a.alias >= 0 ? a.alias : array].row;
  }

  // The address of a site's first row at this step.
  char* address(const Site& site) const {
    const Array& a = plan_.arrays[site.array];
    if (a.kind == OST_SCRATCH) return local_[site.array];
    if (a.kind == OST_STATE && a.alias < 0) return ring(site.array, step_ - site.delay);
    const Index array = a.alias >= 0 ? a.alias : site.array;
    const ost_place& place = call_.arrays[array];
    char* at = static_cast<char*>(place.at);
    const Index bytes = element(array);
    if (a.kind == OST_P) return at;
    if (a.kind == OST_Q || a.kind == OST_FLAGS_Q) return at + rows_.begin * place.row * bytes;
    if (call_.sizes) return at + (run_.first[time_] + rows_.begin) * place.row * bytes;
    const Index time = call_.reverse ? time_ + site.delay : time_ - site.delay;
    return at + (time * place.step + rows_.begin * place.row) * bytes;
  }

  // The slot of a ring that holds the value of the step `s` (from -depth).
  char* ring(Index array, Index s) const {
    const Array& a = plan_.arrays[array];
    const Index slots = a.depth + 1;
    const Index slot = ((s % slots) + slots) % slots;
    return local_[array] + slot * rows_.count * plan_.padded(a.size) * static_cast<Index>(sizeof(T));
  }

  void find() {
    for (std::size_t i = 0; i < plan_.sites.size(); ++i) where_[i] = address(plan_.sites[i]);
  }

  // Asks for what the next step reads, so that it is near by then: rows are too short for the processor to notice.
  void fetch_ahead() const {
    constexpr Index line = 64;
    if (step_ + 1 >= call_.steps) return;
    const Index next = call_.reverse ? time_ - 1 : time_ + 1, rows = active_at(next);
    for (std::size_t i = 0; i < plan_.sites.size(); ++i) {
      const Site& site = plan_.sites[i];
      const Array& a = plan_.arrays[site.array];
      if (a.kind != OST_X) continue;
      const ost_place& place = call_.arrays[site.array];
      const Index ahead = call_.sizes ? (run_.first[next] - run_.first[time_]) * place.row : (next - time_) * place.step;
      const char* at = where_[i] + ahead * static_cast<Index>(sizeof(T));
      const Index row = stride_[i] * static_cast<Index>(sizeof(T)), bytes = a.size * static_cast<Index>(sizeof(T));
      for (Index k = 0; k < rows; ++k, at += row)
        for (Index b = 0; b < bytes; b += line) __builtin_prefetch(at + b, 0, 2);
    }
  }

  // For each state, the row k of the value that step s made (s < 0: an initial value).
  T* past(Index array, Index s, Index k) const {
    const Array& a = plan_.arrays[array];
    if (a.alias < 0) return reinterpret_cast<T*>(ring(array, s)) + k * plan_.padded(a.size);
    const ost_place& place = call_.arrays[a.alias];
    const Index time = call_.reverse ? call_.steps - 1 - s : s;
    return static_cast<T*>(place.at) + time * place.step + (rows_.begin + k) * place.row;
  }

  // Initial values of the rows that begin at this step.
  void begin_rows(Index from, Index to) {
    if (me_ == 0) {
      for (std::size_t i = 0; i < plan_.states.size(); ++i) {
        const Index array = plan_.states[i];
        const Array& a = plan_.arrays[array];
        for (Index d = 1; d <= a.depth; ++d)
          for (Index k = from; k < to; ++k)
            std::memcpy(past(array, step_ - d, k), given(i, a, a.depth - d, k), a.size * sizeof(T));
      }
    }
    if (team_) team_->barrier();
  }

  // The last values of the rows whose latest step is the one before `s`.
  void end_rows(Index from, Index to, Index s) {
    if (me_ != 0) return;
    for (std::size_t i = 0; i < plan_.states.size(); ++i) {
      const Index array = plan_.states[i];
      const Array& a = plan_.arrays[array];
      for (Index d = 1; d <= a.depth; ++d)
        for (Index k = from; k < to; ++k)
          std::memcpy(wanted(i, a, a.depth - d, k), past(array, s - d, k), a.size * sizeof(T));
    }
  }

  // Sequences without a step, from that row on, end as they begin.
  void never_ran(Index from) {
    if (me_ != 0) return;
    for (std::size_t i = 0; i < plan_.states.size(); ++i) {
      const Array& a = plan_.arrays[plan_.states[i]];
      for (Index d = 0; d < a.depth; ++d)
        for (Index k = from; k < rows_.count; ++k)
          std::memmove(wanted(i, a, d, k), given(i, a, d, k), a.size * sizeof(T));
    }
  }

  Index start_of(const Array& a, Index d, Index k) const {
    return (d * call_.batch + rows_.begin + k) * a.size;
  }
  const T* given(std::size_t state, const Array& a, Index d, Index k) const {
    return static_cast<const T*>(call_.initial[state]) + start_of(a, d, k);
  }
  T* wanted(std::size_t state, const Array& a, Index d, Index k) const {
    return static_cast<T*>(call_.finals[state]) + start_of(a, d, k);
  }

  T* at(const Ref& ref) const { return reinterpret_cast<T*>(where_[ref.site]) + ref.offset; }

  void gemm(const Gemm& g) {
    const Weight& w = plan_.weights[g.weight];
    Index from = 0, to = w.out;
    if (team_) {  // a member's columns: whole panels
      const Index panels = (w.out + plan_.lanes - 1) / plan_.lanes;
      from = panels * me_ / team_->size() * plan_.lanes;
      to = std::min(w.out, panels * (me_ + 1) / team_->size() * plan_.lanes);
      if (from >= to) return;
    }
    const T* a = at(g.a);
    const T* init = g.init.site >= 0 ? at(g.init) : nullptr;
    T* c = at(g.target);
    const Index init_m = init ? stride_[g.init.site] : 0;
    const auto by = [&](auto kernel, auto* panels) {
      for (Index i = 0; i < g.m * w.groups; ++i)
        kernel(active_, to - from, w.in, a + i * w.in, stride_[g.a.site], 1,
               panels + w.begin + (i % w.groups) * w.group_size + from * w.in,
               init ? init + i * w.out + from : nullptr, init_m, c + i * w.out + from, stride_[g.target.site]);
    };
    if (run_.halves)
      by(table_.gemm_half, static_cast<const Half*>(run_.panels));
    else
      by(table_.gemm, static_cast<const T*>(run_.panels));
  }

  void bind(const Map& map) {
    std::vector<Bound> lines;
    for (const Line& line : map.lines) {
      Bound b{&line, table_.apply[line.opcode][line.mask], line.kind == Line::apply, {}, {}};
      const Operand* operands[] = {&line.y, &line.a, &line.b, &line.c};
      for (int i = 0; i < 4; ++i) {
        const Operand& o = *operands[i];
        const bool ref = o.kind == Operand::ref, splat = i > 0 && (line.mask >> (i - 1) & 1);
        b.at[i] = ref ? &at_[o.index] : &fixed_.emplace_back(fixed(map, o));
        b.stride[i] = o.kind == Operand::slot ? map.width : ref ? stride_[map.refs[o.index].site] : 0;
        if (o.kind == Operand::none) continue;
        // A full tile of slots may run over its padding; memory may not.
        if (splat ? b.stride[i] != 0 : b.stride[i] != map.width || (ref && map.columns != map.width)) b.whole = false;
      }
      lines.push_back(b);
    }
    bound_.push_back(std::move(lines));
  }

  char* fixed(const Map& map, const Operand& o) const {
    if (o.kind == Operand::slot) return reinterpret_cast<char*>(slots_ + o.index * map.rows * map.width);
    if (o.kind == Operand::constant) return reinterpret_cast<char*>(const_cast<T*>(plan_.constant<T>(o.index)));
    return nullptr;
  }

  void map(const Map& map, const std::vector<Bound>& lines) {
    const Index column_tiles = (map.size[3] + map.columns - 1) / map.columns;
    const Index outer = map.size[0] * map.size[1] * map.size[2];
    const Index row_tiles = (active_ + map.rows - 1) / map.rows;
    const Index tiles = outer * row_tiles * column_tiles;
    const Index members = team_ ? team_->size() : 1;
    if (members > 1 && tiles == 1 && map.size[3] >= 8 * plan_.lanes) {  // one wide tile: its columns are shared
      const Index panels = (map.size[3] + plan_.lanes - 1) / plan_.lanes;
      const Index from = panels * me_ / members * plan_.lanes;
      const Index to = std::min(map.size[3], panels * (me_ + 1) / members * plan_.lanes);
      if (from < to) tile(map, lines, 0, 0, active_, from, to - from);
      return;
    }
    for (Index i = me_; i < tiles; i += members) {
      const Index column = i % column_tiles * map.columns, row = i / column_tiles % row_tiles * map.rows;
      tile(map, lines, i / column_tiles / row_tiles, row, std::min(map.rows, active_ - row), column,
           std::min(map.columns, map.size[3] - column));
    }
  }

  void tile(const Map& map, const std::vector<Bound>& lines, Index outer, Index row, Index rows, Index column, Index columns) {
    const Index i2 = outer % map.size[2], i1 = outer / map.size[2] % map.size[1],
                i0 = outer / map.size[2] / map.size[1];
    for (std::size_t j = 0; j < map.refs.size(); ++j) {
      const MapRef& ref = map.refs[j];
      const Index offset = ref.offset + i0 * ref.stride[0] + i1 * ref.stride[1] + i2 * ref.stride[2] +
                           column * ref.stride[3] + row * stride_[ref.site];
      at_[j] = where_[ref.site] + offset * element(plan_.sites[ref.site].array);
    }
    const bool full = columns == map.columns;
    for (const Bound& b : lines) {
      if (b.line->kind == Line::apply) {
        const bool whole = b.whole && full;
        b.apply(whole ? 1 : rows, whole ? rows * map.width : columns, pointer(b, 0), b.stride[0], pointer(b, 1),
                b.stride[1], pointer(b, 2), b.stride[2], pointer(b, 3), b.stride[3]);
      } else {
        move(map, b, rows, columns);
      }
    }
  }

  static T* pointer(const Bound& b, int i) { return reinterpret_cast<T*>(*b.at[i]); }

  // Between a slot and memory that no arithmetic kernel takes.
  void move(const Map& map, const Bound& b, Index rows, Index columns) {
    const Line& line = *b.line;
    const bool in = line.kind == Line::gather || line.kind == Line::widen;
    const Index column = map.refs[(in ? line.a : line.y).index].stride[3];
    auto* bytes = reinterpret_cast<std::uint8_t*>(*b.at[in ? 1 : 0]);
    if (line.kind == Line::gather)
      table_.gather(rows, columns, pointer(b, 0), b.stride[0], pointer(b, 1), b.stride[1], column);
    else if (line.kind == Line::scatter)
      table_.scatter(rows, columns, pointer(b, 0), b.stride[0], column, pointer(b, 1), b.stride[1]);
    else if (line.kind == Line::widen)
      table_.widen(rows, columns, pointer(b, 0), b.stride[0], bytes, b.stride[1], column);
    else
      table_.narrow(rows, columns, bytes, b.stride[0], column, pointer(b, 1), b.stride[1]);
  }

  void reduce(const Reduce& r) {
    if (me_ != 0) return;  // a team's batch is small
    const Index from_rows = stride_[r.from.site], to_rows = stride_[r.to.site];
    const auto onto = table_.apply[r.operation == OST_SUM ? op_add : op_maximum][0];
    for (Index i0 = 0; i0 < r.size[0]; ++i0)
      for (Index i1 = 0; i1 < r.size[1]; ++i1)
        for (Index i2 = 0; i2 < r.size[2]; ++i2) {
          const T* from = at(r.from) + i0 * r.from.stride[0] + i1 * r.from.stride[1] + i2 * r.from.stride[2];
          T* to = at(r.to) + i0 * r.to.stride[0] + i1 * r.to.stride[1] + i2 * r.to.stride[2];
          const Index n = r.size[3], in = r.from.stride[3], out = r.to.stride[3];
          if (r.along == 1 || r.r == 1) {
            for (Index i = 0; i < n; ++i)
              (r.operation == OST_SUM ? table_.sum : table_.max)(active_, r.r, to + i * out, to_rows, from + i * in,
                                                                 from_rows);
          } else if ((in == 1 && out == 1) || n == 1) {
            table_.apply[op_copy][0](active_, n, to, to_rows, from, from_rows, nullptr, 0, nullptr, 0);
            for (Index j = 1; j < r.r; ++j)
              onto(active_, n, to, to_rows, to, to_rows, from + j * r.along, from_rows, nullptr, 0);
          } else {
            for (Index i = 0; i < n; ++i) {
              T* y = to + i * out;
              table_.apply[op_copy][0](active_, 1, y, to_rows, from + i * in, from_rows, nullptr, 0, nullptr, 0);
              for (Index j = 1; j < r.r; ++j)
                onto(active_, 1, y, to_rows, y, to_rows, from + i * in + j * r.along, from_rows, nullptr, 0);
            }
          }
        }
  }

  const Run& run_;
  const Plan& plan_;
  const ost_call& call_;
  const Kernels<T>& table_;
  const Rows rows_;
  Team* const team_;
  const Index me_;
  Index step_ = 0, time_ = 0, active_ = 0;
  std::vector<char*> local_, where_, at_;
  std::vector<Index> stride_;  // between rows, by site
  std::vector<std::vector<Bound>> bound_;
  std::deque<char*> fixed_;  // the addresses of slots and constants
  T* slots_ = nullptr;
};

thread_local Workspace work_space, panel_space;

template <class T>
void pack_weights(const Plan& plan, const ost_matrix* weights, T* panels, Index threads, ost_parallel parallel) {
  struct Piece {
    const Weight* weight;
    const ost_matrix* given;
    Index group, first, last;
  };
  const Kernels<T>& table = *kernels<T>();
  std::vector<Piece> pieces;
  for (std::size_t i = 0; i < plan.weights.size(); ++i) {
    const Weight& w = plan.weights[i];
    const Index all = plan.padded(w.out) / plan.lanes;
    const Index each = std::max<Index>(1, (Index{1} << 16) / (w.in * plan.lanes));  // 64 thousand elements a piece
    for (Index g = 0; g < w.groups; ++g)
      for (Index p = 0; p < all; p += each) pieces.push_back({&w, &weights[i], g, p, std::min(all, p + each)});
  }
  each(static_cast<Index>(pieces.size()), threads, parallel, [&](Index i) {
    const Piece& p = pieces[i];
    table.pack(static_cast<const T*>(p.given->at) + p.group * p.given->group, p.given->in, p.given->out, p.weight->in,
               p.weight->out, p.first, p.last, panels + p.weight->begin + p.group * p.weight->group_size);
  });
}

int check(const Plan& plan, const ost_call& call) {
  if (call.steps < 0 || call.batch < 0 || call.threads < 1) return fail(OST_INVALID, "a negative size or no thread");
  if (!plan.arrays.empty() && !call.arrays) return fail(OST_INVALID, "no arrays");
  if (!plan.states.empty() && (!call.initial || !call.finals)) return fail(OST_INVALID, "no initial or final states");
  if (!plan.weights.empty() && !call.weights && !call.packed) return fail(OST_INVALID, "no weights");
  if (call.packed) {
    const auto* packed = reinterpret_cast<const Packed*>(call.packed);
    if (packed->bytes != plan.bytes || packed->size != plan.packed_size)
      return fail(OST_INVALID, "these weights were packed for another plan");
  }
  const bool any = call.steps && call.batch && (!call.sizes || call.sizes[0]);
  for (std::size_t i = 0; any && i < plan.arrays.size(); ++i) {
    const Array& a = plan.arrays[i];
    if (a.kind != OST_STATE && a.kind != OST_SCRATCH && !call.arrays[i].at)
      return fail(OST_INVALID, "array %zu is nowhere", i);
    if (a.alias >= 0 && call.sizes) return fail(OST_INVALID, "a state kept in an emit cannot be ragged");
  }
  for (std::size_t i = 0; i < plan.weights.size(); ++i)
    if (!call.packed && !call.weights[i].at) return fail(OST_INVALID, "weight %zu is nowhere", i);
  for (std::size_t i = 0; call.batch && i < plan.states.size(); ++i)
    if (!call.initial[i] || !call.finals[i]) return fail(OST_INVALID, "state %zu has no initial or final value", i);
  for (Index t = 0; call.sizes && t < call.steps; ++t) {
    const Index before = t ? call.sizes[t - 1] : call.batch;
    if (call.sizes[t] < 0 || call.sizes[t] > before) return fail(OST_INVALID, "sizes that grow, or below zero");
  }
  return OST_OK;
}

// What a step costs beside its rows, counted in rows.
constexpr Index step_cost = 1;

// Where the rows of each part begin, and where the last ones end. A part pays for its steps until its longest sequence
// ends, so sequences of about the same length go together; the part that pays most pays as little as can be.
std::vector<Index> shares(const ost_call& call, Index parts) {
  std::vector<Index> begins(parts + 1, call.batch);
  if (!call.sizes) {
    for (Index i = 0; i < parts; ++i) begins[i] = call.batch * i / parts;
    return begins;
  }
  std::vector<Index> lengths(call.batch);
  for (Index t = 0, rows = call.batch; t <= call.steps; ++t)
    for (const Index left = t < call.steps ? call.sizes[t] : 0; rows > left;) lengths[--rows] = t;
  Index low = 0, high = 0;  // what a part may pay: not enough, enough
  for (Index length : lengths) high += (step_cost + 1) * length;
  const auto fits = [&](Index most) {
    Index part = 0, paid = 0;
    begins[0] = 0;
    for (Index i = 0; i < call.batch; ++i) {
      if (paid && paid + lengths[i] > most) {
        if (++part == parts) return false;
        begins[part] = i;
        paid = 0;
      }
      paid += (paid ? 1 : step_cost + 1) * lengths[i];
      if (paid > most) return false;
    }
    std::fill(begins.begin() + part + 1, begins.end(), call.batch);
    return true;
  };
  while (high - low > 1) {
    const Index middle = low + (high - low) / 2;
    (fits(middle) ? high : low) = middle;
  }
  fits(high);
  return begins;
}

// Whether the threads share each step's columns and not the batch: for few sequences and weights so large that
// reading them takes longer than waiting for each other.
bool shares_columns(const Plan& plan, const ost_call& call) {
  const Index weights = plan.packed_size;
  if (call.sizes) return false;
  if (call.batch == 1) return weights >= 48 * 1024;
  if (call.batch <= 2) return weights >= 128 * 1024;
  return call.batch <= 4 && weights >= 512 * 1024;
}

// All members are made ready here: one that failed later would leave the others waiting.
template <class T>
int run_team(const Run& run, Index threads) {
  const Plan& plan = run.plan;
  const std::size_t own = Worker<T>::own_bytes(plan), shared = Worker<T>::shared_bytes(plan, run.call.batch);
  char* space = static_cast<char*>(work_space.reserve(threads * own + shared + page));
  if (!space) return fail(OST_MEMORY, "no memory for a run");
  struct Members {
    Team team;
    Index threads;
    std::deque<Worker<T>> workers;
  } members;
  members.threads = threads;
  for (Index i = 0; i < threads; ++i)
    members.workers.emplace_back(run, Rows{0, run.call.batch}, &members.team, i)
        .start(space + threads * own, space + i * own);
  run.call.parallel(
      [](void* data) {
        auto& m = *static_cast<Members*>(data);
        const Index me = m.team.join(m.threads);
        if (me >= 0) m.workers[me].steps();
      },
      &members, static_cast<unsigned>(threads), 0);
  return OST_OK;
}

template <class T>
int run_as(const Plan& plan, const ost_call& call) {
  Run run{plan, call, nullptr, false, {}};
  Index threads = call.parallel ? call.threads : 1;
  const double work = static_cast<double>(plan.products + 64) * call.batch * call.steps;
  if (work < 4e5) threads = 1;  // waking a thread takes longer
  const bool team = threads > 1 && shares_columns(plan, call);
  const Index parts = team ? 1 : std::min(threads, std::max<Index>(call.batch, 1));
  if (call.sizes) {
    run.first.resize(call.steps);
    for (Index t = 1; t < call.steps; ++t) run.first[t] = run.first[t - 1] + call.sizes[t - 1];
  }
  if (call.packed) {
    const auto* packed = reinterpret_cast<const Packed*>(call.packed);
    run.panels = packed->panels;
    run.halves = packed->halves;
  } else if (plan.packed_size) {
    T* panels = static_cast<T*>(panel_space.reserve(plan.packed_size * sizeof(T)));
    if (!panels) return fail(OST_MEMORY, "no memory for the weights");
    pack_weights<T>(plan, call.weights, panels, plan.packed_size >= 32 * 1024 ? threads : 1, call.parallel);
    run.panels = panels;
  }
  if (team) return run_team<T>(run, threads);
  const std::vector<Index> begins = shares(call, parts);
  std::atomic<bool> failed{false};
  each(parts, threads, call.parallel, [&](Index i) {
    const Rows rows{begins[i], begins[i + 1] - begins[i]};
    const std::size_t own = Worker<T>::own_bytes(plan), all = own + Worker<T>::shared_bytes(plan, rows.count) + page;
    char* space = static_cast<char*>(work_space.reserve(all));
    try {
      if (!space) throw std::bad_alloc();
      Worker<T> worker(run, rows, nullptr, 0);
      worker.start(space + own, space);
      worker.steps();
    } catch (const std::bad_alloc&) {
      failed = true;
    }
  });
  return failed ? fail(OST_MEMORY, "no memory for a run") : OST_OK;
}

// Floats to halves in the same place: to the nearest, of two as near to the even one; NaN stays NaN.
void halve(char* at, Index count) {
  for (Index i = 0; i < count; ++i) {
    std::uint32_t word;
    std::memcpy(&word, at + i * sizeof word, sizeof word);
    const bool nan = (word & 0x7FFFFFFF) > 0x7F800000;
    const auto half = static_cast<Half>(nan ? (word >> 16) | 0x40 : (word + 0x7FFF + ((word >> 16) & 1)) >> 16);
    std::memcpy(at + i * sizeof half, &half, sizeof half);
  }
}

}  // namespace

Packed::~Packed() {
  if (panels) ::operator delete(panels, std::align_val_t{page});
}

int pack(const Plan& plan, const ost_matrix* weights, bool halves, Packed& packed) {
  if (!plan.weights.empty() && !weights) return fail(OST_INVALID, "no weights");
  if (halves && plan.bytes != 4) return fail(OST_INVALID, "bfloat16 weights are of a plan of float32");
  for (std::size_t i = 0; i < plan.weights.size(); ++i)
    if (!weights[i].at) return fail(OST_INVALID, "weight %zu is nowhere", i);
  packed.bytes = plan.bytes;
  packed.size = plan.packed_size;
  packed.panels = ::operator new(std::max<std::size_t>(plan.packed_size * plan.bytes, page), std::align_val_t{page},
                                 std::nothrow);
  if (!packed.panels) return fail(OST_MEMORY, "no memory for the weights");
  if (plan.bytes == 8) {
    pack_weights(plan, weights, static_cast<double*>(packed.panels), 1, nullptr);
    return OST_OK;
  }
  pack_weights(plan, weights, static_cast<float*>(packed.panels), 1, nullptr);
  packed.halves = halves;
  if (halves) halve(static_cast<char*>(packed.panels), plan.packed_size);
  return OST_OK;
}

int run(const Plan& plan, const ost_call& call) {
  if (int code = check(plan, call)) return code;
  if (!call.batch) return OST_OK;
  return plan.bytes == 4 ? run_as<float>(plan, call) : run_as<double>(plan, call);
}

}  // namespace ostinato
