#include "bench/replicas.h"

#include <fmt/format.h>

#include <algorithm>
#include <future>

#include "bench/clock.h"
#include "bench/peak_memory.h"
#include "core/parallel.h"
#include "core/throw.h"
#include "pipeline/worker_pool.h"

namespace reelm::bench {

namespace {

/// Engines and a pool of workers over each.
struct Served {
  std::vector<std::unique_ptr<pipeline::Engine>> engines;
  std::vector<std::unique_ptr<pipeline::WorkerPool>> pools;
};

/// Refuses a second copy of the weights that would not fit.
void check_copy(std::int64_t weights, std::int64_t copies, std::int64_t count) {
  const std::int64_t available = pipeline::available_memory_bytes();
  if (available > 0 && weights > available) {
    throw_error(ErrorCode::kLimit,
                "{} replicas with separate weights: {} copies are made, another one of {} MB does "
                "not fit into the {} MB of memory available",
                count, copies, weights >> 20, available >> 20);
  }
}

Served serve(const MakeEngine& make, std::int64_t count, bool shared, std::size_t requests) {
  Served out;
  const auto replicas = static_cast<int>(count);
  const std::int64_t engines = shared ? 1 : count;
  const int threads = shared ? 0 : std::max(1, num_threads() / replicas);
  for (std::int64_t i = 0; i < engines; ++i) {
    if (i > 0) {
      const pipeline::Model& model = out.engines.front()->model();
      const std::size_t vision = model.vision == nullptr ? 0 : model.vision->weight_bytes();
      check_copy(static_cast<std::int64_t>(model.decoder->weight_bytes() + vision), i, count);
    }
    out.engines.push_back(make(shared ? replicas : 1, threads));
    out.pools.push_back(std::make_unique<pipeline::WorkerPool>(*out.engines.back(), requests));
  }
  return out;
}

/// All requests at once; fills in what was seen of them.
void run_once(Served& served, const pipeline::Request& request, ReplicaCell& cell) {
  const auto n = static_cast<std::size_t>(cell.requests);
  cell.latencies_ms.assign(n, 0.0);
  std::vector<std::future<pipeline::Answer>> answers;
  std::vector<pipeline::Request> requests(n, request);
  const auto begin = Clock::now();
  // Told by whoever answers: futures are looked at in order, and the first may be the slowest.
  for (std::size_t i = 0; i < n; ++i) {
    requests[i].on_text = [&cell, i, begin](std::string_view) {
      cell.latencies_ms[i] = ms_since(begin);
      return true;
    };
    answers.push_back(served.pools[i % served.pools.size()]->submit(requests[i]));
  }
  cell.new_tokens = 0;
  for (auto& future : answers) {
    const pipeline::Answer answer = future.get();
    cell.prompt_tokens = answer.prompt_tokens;
    cell.new_tokens += std::ssize(answer.token_ids);
  }
  cell.total_ms = ms_since(begin);
}

ReplicaCell run_cell(const MakeEngine& make, const pipeline::Request& request,
                     const ReplicaSweep& sweep, std::int64_t count, bool shared) {
  ReplicaCell cell{.replicas = count, .shared = shared};
  cell.requests = sweep.requests > 0
                      ? sweep.requests
                      : 2 * *std::max_element(sweep.counts.begin(), sweep.counts.end());
  Served served = serve(make, count, shared, static_cast<std::size_t>(cell.requests));
  // After loading, which needs more for a while.
  reset_peak_memory();
  ReplicaCell best;
  for (int run = 0; run < sweep.repeat; ++run) {
    run_once(served, request, cell);
    if (run == 0 || cell.total_ms < best.total_ms) best = cell;
  }
  best.peak_memory_bytes = peak_memory_bytes();
  return best;
}

}  // namespace

pipeline::Request replica_request(const Workload& workload) {
  constexpr std::int64_t kDefaultTokens = 512;
  std::vector<preprocess::MediaSource> media;
  std::string text = "Describe the video.";
  if (!workload.media.empty()) {
    media.push_back(preprocess::MediaSource::from_argument(workload.media));
  } else {
    text.clear();
    // A token of most vocabularies each.
    for (std::int64_t i = workload.prompt_tokens.value_or(kDefaultTokens); i > 0; --i) text += " a";
  }
  pipeline::Request out = pipeline::Request::question(media, text);
  out.generation.max_new_tokens = workload.new_tokens;
  return out;
}

double ReplicaCell::tokens_per_second() const {
  return 1000.0 * static_cast<double>(new_tokens) / total_ms;
}

double ReplicaCell::requests_per_second() const {
  return 1000.0 * static_cast<double>(requests) / total_ms;
}

void run_replicas(const MakeEngine& make, const pipeline::Request& request,
                  const ReplicaSweep& sweep,
                  const std::function<void(const ReplicaCell&)>& on_cell) {
  for (const bool shared : {true, false}) {
    if (!(shared ? sweep.shared : sweep.separate)) continue;
    for (const std::int64_t count : sweep.counts) {
      on_cell(run_cell(make, request, sweep, count, shared));
    }
  }
}

std::string replicas_csv_header() {
  return "Replicas,Weights,Requests,PromptTokens,NewTokens,RequestsPerSecond,TokensPerSecond,"
         "MedianLatency(ms),MaxLatency(ms),PeakMemory(MB)\n";
}

std::string to_csv(const ReplicaCell& cell) {
  return fmt::format("{},{},{},{},{},{:.4f},{:.3f},{:.1f},{:.1f},{}\n", cell.replicas,
                     cell.shared ? "shared" : "separate", cell.requests, cell.prompt_tokens,
                     cell.new_tokens, cell.requests_per_second(), cell.tokens_per_second(),
                     median(cell.latencies_ms),
                     *std::max_element(cell.latencies_ms.begin(), cell.latencies_ms.end()),
                     cell.peak_memory_bytes >> 20);
}

}  // namespace reelm::bench
