// Choices that were measured: which of several ways to run an operation is fastest for a shape.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace reelm::kernels {

/// Operations that have candidates.
enum class TunedOp : std::int32_t { kAttention, kMatmul };

/// "attention", "matmul".
const char* tuned_op_name(TunedOp op) noexcept;

/// The candidates of an operation: what `--attention` takes, files name and reports print. The
/// index is that of TuneEntry::choice.
std::span<const char* const> candidate_names(TunedOp op) noexcept;

/// Runs `name` ("flash-96x64") wherever it can run and the static rule elsewhere, from now on and
/// in all threads; "auto" ends that. Not while kernels run. Throws Error{kInvalidArgument}, which
/// lists the names, for an unknown one.
void force_candidate(TunedOp op, std::string_view name);

/// A class of calls that one choice holds for. Which sizes there are, and how they are rounded, the
/// operation says (attention_impl.h, matmul_impl.h).
struct TuneKey {
  TunedOp op = TunedOp::kAttention;
  std::int32_t type = 0;     ///< of keys and values (ElementType), or of weights (ComputeType)
  std::int32_t flags = 0;    ///< of the operation
  std::int32_t isa = 0;      ///< Isa
  std::int32_t threads = 0;  ///< of a loop
  std::array<std::int32_t, 5> sizes{};
  bool operator==(const TuneKey&) const = default;
};

/// One candidate's time.
struct TuneTiming {
  int candidate = 0;
  double ms = 0.0;       ///< the least of the runs
  bool eligible = true;  ///< gives the same bits as the static rule: may be chosen unasked
};

/// A choice and why.
struct TuneEntry {
  TuneKey key;
  int choice = 0;
  int rule = 0;  ///< what the static rule takes
  std::vector<TuneTiming> timings;
  int refuted = -1;  ///< looked fastest, but not at a second look: the rule was kept
};

/// "7.1 % faster than flash-192x64", "none is 3 % faster: flash-192x64 kept".
std::string tune_reason(const TuneEntry& entry, double margin);

/// A table of choices, filled by measuring and from files. Threads may look up, add and measure at
/// once; a lookup takes no lock and allocates nothing.
class Tuner {
 public:
  static constexpr double kMargin = 0.03;
  static constexpr std::size_t kMostEntries = 512;

  struct Options {
    bool measure = true;      ///< false: only what was added, until start_measuring()
    double margin = kMargin;  ///< a candidate must be this much faster than the static rule
    double shape_ms = 60.0;   ///< no new round of measuring a shape after this time
    double total_ms = 1000;   ///< no new shape after this time, over all shapes
    int least_rounds = 2;     ///< runs of each candidate, however long they take
    int rounds = 20;          ///< runs of each candidate at most
    /// Times the whole shape instead of a part of it, and candidates that are not eligible too, so
    /// that a report can show them.
    bool everything = false;
    std::function<double()> now_ms;  ///< empty: the steady clock
  };
  struct Candidate {
    int index;
    bool eligible;
  };

  Tuner();
  explicit Tuner(Options options);
  Tuner(const Tuner&) = delete;
  Tuner& operator=(const Tuner&) = delete;
  ~Tuner();

  const Options& options() const noexcept { return options_; }

  /// The choice for a key, or null. It lives as long as the tuner.
  const TuneEntry* find(const TuneKey& key) const noexcept;

  /// Whether measure() may do anything: asked before its arguments are made.
  bool may_measure() const noexcept {
    return measures_.load(std::memory_order_relaxed) &&
           spent_ms_.load(std::memory_order_relaxed) < options_.total_ms;
  }
  /// Whether there is nothing to find and nothing is measured: kernels need not ask.
  bool idle() const noexcept {
    return table_.load(std::memory_order_relaxed) == nullptr && !may_measure();
  }
  /// From now on what is missing is measured, in all threads.
  void start_measuring() noexcept { measures_.store(true, std::memory_order_relaxed); }

  /// Times run(candidate) in turns and keeps the fastest eligible one, or `rule` (one of them)
  /// unless that is beaten by the margin, twice: the winner and the rule are timed once more, as
  /// on a busy machine one of several alike always looks best. Null, with nothing run, when another
  /// thread is measuring or the time for that is used up; what find() says when the key is known by
  /// now.
  const TuneEntry* measure(const TuneKey& key, std::span<const Candidate> candidates, int rule,
                           const std::function<void(int)>& run);

  /// Adds choices, each in the place of one with its key. Those over kMostEntries are ignored.
  void add(std::vector<TuneEntry> entries);

  /// All of them, in the order they came.
  std::vector<TuneEntry> entries() const;

 private:
  struct Table;
  double now() const;
  /// Runs all in turns; of each the least time.
  void time_in_turns(std::span<TuneTiming> timings, const std::function<void(int)>& run) const;

  const Options options_;
  std::atomic<bool> measures_;
  std::atomic<const Table*> table_{nullptr};
  mutable std::mutex mutex_;                               // of what follows
  std::vector<std::unique_ptr<const TuneEntry>> entries_;  // all that ever were
  std::vector<std::unique_ptr<const Table>> tables_;       // likewise: a reader may hold any
  std::mutex measuring_;
  std::atomic<double> spent_ms_{0.0};
};

/// The tuner that kernels ask; null (as at the start): static rules. The caller keeps it alive
/// until it sets another, and does so while no kernel runs.
void set_tuner(Tuner* tuner) noexcept;
Tuner* active_tuner() noexcept;

}  // namespace reelm::kernels
