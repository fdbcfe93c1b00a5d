#include "kernels/tuner.h"

#include <fmt/format.h>

#include <chrono>
#include <limits>
#include <utility>

#include "core/throw.h"
#include "core/timeline.h"
#include "kernels/tuner_impl.h"

namespace reelm::kernels {

namespace {

std::atomic<Tuner*> g_tuner{nullptr};
std::array<std::atomic<int>, 2> g_forced{-1, -1};

double steady_ms() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double, std::milli>(now).count();
}

std::size_t hash_of(const TuneKey& key) {
  std::uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a, a word at a time
  const auto mix = [&](std::int32_t value) {
    hash = (hash ^ static_cast<std::uint32_t>(value)) * 0x100000001b3u;
  };
  mix(static_cast<std::int32_t>(key.op));
  mix(key.type);
  mix(key.flags);
  mix(key.isa);
  mix(key.threads);
  for (const std::int32_t size : key.sizes) mix(size);
  return static_cast<std::size_t>(hash ^ hash >> 32);
}

double ms_of(const TuneEntry& entry, int candidate) {
  for (const TuneTiming& timing : entry.timings) {
    if (timing.candidate == candidate) return timing.ms;
  }
  return 0.0;
}

/// The fastest eligible candidate, or the rule unless it is beaten by the margin.
int pick(const TuneEntry& entry, double margin) {
  int best = entry.rule;
  double least = ms_of(entry, entry.rule) * (1.0 - margin);
  for (const TuneTiming& timing : entry.timings) {
    if (timing.eligible && timing.ms < least) {
      best = timing.candidate;
      least = timing.ms;
    }
  }
  return best;
}

}  // namespace

const char* tuned_op_name(TunedOp op) noexcept {
  return op == TunedOp::kAttention ? "attention" : "matmul";
}

std::span<const char* const> candidate_names(TunedOp op) noexcept {
  return op == TunedOp::kAttention ? attention_candidate_names() : matmul_candidate_names();
}

void force_candidate(TunedOp op, std::string_view name) {
  std::atomic<int>& forced = g_forced[static_cast<std::size_t>(op)];
  if (name == "auto") {
    forced = -1;
    return;
  }
  const auto names = candidate_names(op);
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) {
    throw_error(ErrorCode::kInvalidArgument, "unknown {} '{}' (known: auto, {})", tuned_op_name(op),
                name, fmt::join(names, ", "));
  }
  forced = static_cast<int>(found - names.begin());
}

int forced_candidate(TunedOp op) noexcept {
  return g_forced[static_cast<std::size_t>(op)].load(std::memory_order_relaxed);
}

void set_tuner(Tuner* tuner) noexcept { g_tuner.store(tuner, std::memory_order_release); }
Tuner* active_tuner() noexcept { return g_tuner.load(std::memory_order_acquire); }

std::string tune_reason(const TuneEntry& entry, double margin) {
  const auto name = [&](int candidate) {
    return candidate_names(entry.key.op)[static_cast<std::size_t>(candidate)];
  };
  const double rule_ms = ms_of(entry, entry.rule);
  if (entry.choice != entry.rule) {
    return fmt::format("{:.1f} % faster than {}",
                       100.0 * (1.0 - ms_of(entry, entry.choice) / rule_ms), name(entry.rule));
  }
  if (entry.refuted >= 0) {
    return fmt::format("{} looked faster, but not twice: {} kept", name(entry.refuted),
                       name(entry.rule));
  }
  const TuneTiming* faster = nullptr;  // of those that may not be chosen unasked
  for (const TuneTiming& timing : entry.timings) {
    const bool beats = !timing.eligible && timing.ms < rule_ms * (1.0 - margin);
    if (beats && (faster == nullptr || timing.ms < faster->ms)) faster = &timing;
  }
  if (faster != nullptr) {
    return fmt::format("{} would be {:.1f} % faster but sums in another order",
                       name(faster->candidate), 100.0 * (1.0 - faster->ms / rule_ms));
  }
  return fmt::format("none is {:.0f} % faster: {} kept", 100.0 * margin, name(entry.rule));
}

/// Open addressing, at most half full; never changed once it can be seen.
struct Tuner::Table {
  explicit Table(std::size_t entries) : slots(std::bit_ceil(2 * entries + 2)) {}

  const TuneEntry** slot(const TuneKey& key) {
    for (std::size_t i = hash_of(key);; ++i) {
      const TuneEntry*& entry = slots[i & (slots.size() - 1)];
      if (entry == nullptr || entry->key == key) return &entry;
    }
  }
  const TuneEntry* find(const TuneKey& key) const { return *const_cast<Table*>(this)->slot(key); }

  std::vector<const TuneEntry*> slots;
  std::vector<const TuneEntry*> order;
};

Tuner::Tuner() : Tuner(Options()) {}
Tuner::Tuner(Options options) : options_(std::move(options)), measures_(options_.measure) {}
Tuner::~Tuner() = default;

const TuneEntry* Tuner::find(const TuneKey& key) const noexcept {
  const Table* table = table_.load(std::memory_order_acquire);
  return table == nullptr ? nullptr : table->find(key);
}

void Tuner::add(std::vector<TuneEntry> entries) {
  const std::lock_guard lock(mutex_);
  const Table* old = table_.load(std::memory_order_relaxed);
  const std::size_t count = old == nullptr ? 0 : old->order.size();
  auto table = std::make_unique<Table>(std::min(kMostEntries, count + entries.size()));
  if (old != nullptr) {
    table->order = old->order;
    for (const TuneEntry* each : old->order) *table->slot(each->key) = each;
  }
  for (TuneEntry& entry : entries) {
    const TuneEntry** slot = table->slot(entry.key);
    if (*slot == nullptr && table->order.size() >= kMostEntries) continue;
    entries_.push_back(std::make_unique<const TuneEntry>(std::move(entry)));
    if (*slot == nullptr) {
      table->order.push_back(entries_.back().get());
    } else {
      std::replace(table->order.begin(), table->order.end(), *slot,
                   static_cast<const TuneEntry*>(entries_.back().get()));
    }
    *slot = entries_.back().get();
  }
  table_.store(table.get(), std::memory_order_release);
  tables_.push_back(std::move(table));
}

std::vector<TuneEntry> Tuner::entries() const {
  std::vector<TuneEntry> out;
  if (const Table* table = table_.load(std::memory_order_acquire)) {
    for (const TuneEntry* entry : table->order) out.push_back(*entry);
  }
  return out;
}

double Tuner::now() const { return options_.now_ms ? options_.now_ms() : steady_ms(); }

void Tuner::time_in_turns(std::span<TuneTiming> timings,
                          const std::function<void(int)>& run) const {
  for (TuneTiming& timing : timings) timing.ms = std::numeric_limits<double>::infinity();
  const double begin = now();
  for (int round = 0; round < options_.rounds; ++round) {
    if (round >= options_.least_rounds && now() - begin >= options_.shape_ms) return;
    for (TuneTiming& timing : timings) {
      const double start = now();
      run(timing.candidate);
      timing.ms = std::min(timing.ms, now() - start);
    }
  }
}

const TuneEntry* Tuner::measure(const TuneKey& key, std::span<const Candidate> candidates, int rule,
                                const std::function<void(int)>& run) {
  if (!may_measure()) return nullptr;
  const std::unique_lock lock(measuring_, std::try_to_lock);
  if (!lock.owns_lock()) return nullptr;
  if (const TuneEntry* known = find(key)) return known;
  const TimelineSpan span("tune", SpanKind::kOperation);
  TuneEntry entry = {.key = key, .choice = rule, .rule = rule, .timings = {}};
  for (const auto& [index, eligible] : candidates) entry.timings.push_back({index, 0.0, eligible});
  const double begin = now();
  run(rule);  // brings pages, caches and threads to life
  time_in_turns(entry.timings, run);
  entry.choice = pick(entry, options_.margin);
  if (entry.choice != rule) {
    std::array<TuneTiming, 2> second = {{{.candidate = rule}, {.candidate = entry.choice}}};
    time_in_turns(second, run);
    for (TuneTiming& timing : entry.timings) {
      if (timing.candidate == rule) timing.ms = second[0].ms;
      if (timing.candidate == entry.choice) timing.ms = second[1].ms;
    }
    if (second[1].ms >= second[0].ms * (1.0 - options_.margin)) {
      entry.refuted = std::exchange(entry.choice, rule);
    }
  }
  spent_ms_.store(spent_ms_.load() + now() - begin);  // measuring_ is held
  add({std::move(entry)});
  return find(key);
}

}  // namespace reelm::kernels
