// Several requests at a time: throughput and memory, with one copy of the weights and with several.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/workload.h"
#include "pipeline/engine.h"

namespace reelm::bench {

/// What is swept: every count with shared weights, then with separate ones.
struct ReplicaSweep {
  std::vector<std::int64_t> counts = {1, 2, 4};  ///< requests answered at a time
  bool shared = true;                            ///< an engine of so many replicas
  bool separate = true;                          ///< as many engines, a copy of the weights each
  std::int64_t requests = 0;  ///< of a cell; 0: twice as many as the largest count
  int repeat = 3;             ///< runs of a cell, of which the fastest counts
};

/// One count and kind of weights.
struct ReplicaCell {
  std::int64_t replicas = 0;
  bool shared = true;
  std::int64_t requests = 0;
  std::int64_t prompt_tokens = 0;  ///< of a request
  std::int64_t new_tokens = 0;     ///< of all requests
  double total_ms = 0.0;           ///< until the last answer
  /// Of each request: from when the first was queued to its last text.
  std::vector<double> latencies_ms = {};
  std::int64_t peak_memory_bytes = 0;  ///< of the process, weights included

  double tokens_per_second() const;
  double requests_per_second() const;
};

/// The request that is asked again and again: about the workload's medium, or a text of about as
/// many tokens as its prompt_tokens (512).
pipeline::Request replica_request(const Workload& workload);

/// Makes an engine of so many replicas, with a copy of the weights that no other has.
using MakeEngine = std::function<std::unique_ptr<pipeline::Engine>(int replicas, int threads)>;

/// Runs all cells and hands them on as they are done; each with engines of its own, which are gone
/// before those of the next are made. A request's answer is as long as its max_new_tokens unless
/// the model ends it. Throws Error as making engines and asking them do, kLimit (separate weights
/// that do not fit into the memory available).
void run_replicas(const MakeEngine& make, const pipeline::Request& request,
                  const ReplicaSweep& sweep,
                  const std::function<void(const ReplicaCell&)>& on_cell);

/// "Replicas,Weights,...\n" and a line of it.
std::string replicas_csv_header();
std::string to_csv(const ReplicaCell& cell);

}  // namespace reelm::bench
