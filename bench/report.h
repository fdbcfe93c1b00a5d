// What a benchmark run found, and its forms: a table, JSON, CSV.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bench/ceilings/ceilings.h"
#include "bench/workload.h"
#include "core/json.h"

namespace reelm::bench {

/// The machine, as it says itself.
struct Machine {
  std::string cpu;
  std::string isa;  ///< that the kernels run with
  int cores = 0;    ///< that this process may use
  int threads = 0;  ///< of all loops
  double memory_gb = 0.0;
  double load_average = 0.0;  ///< of the last minute, before the run
};

Machine describe_machine();
/// "machine: ...\n".
std::string machine_line(const Machine& machine);
Json machine_json(const Machine& machine);

/// One stage. Names of parts have the stage before a dot.
struct Row {
  std::string stage;
  double median_ms = 0.0, min_ms = 0.0, max_ms = 0.0;
  double flop = 0.0, bytes = 0.0;
  double rate = 0.0;                         ///< of what bounds it
  std::string rate_unit;                     ///< "GFLOP/s", "GB/s"; empty where nothing is counted
  std::optional<double> percent_of_ceiling;  ///< of the median; not where nothing is counted
};

struct Totals {
  double time_to_first_token_ms = 0.0;  ///< from opening the medium, or the first patch, on
  double tokens_per_second = 0.0;       ///< decoding and sampling
  double end_to_end_ms = 0.0;
  std::int64_t peak_memory_bytes = 0;
  std::optional<double> load_cold_ms;  ///< of a model directory: with its pages dropped first
  std::optional<double> load_warm_ms;
  std::optional<double> synthetic_make_ms;
};

struct Report {
  Machine machine;
  Ceilings ceilings;
  std::string model;
  std::string dtype;         ///< of the decoder
  std::string vision_dtype;  ///< of the vision tower
  std::string kv_dtype;      ///< of the KV cache
  std::string media;         ///< empty: made-up patches
  GridThw grid{};
  std::int64_t prompt_tokens = 0, vision_tokens = 0, new_tokens = 0;
  int repeat = 0;
  std::vector<Row> rows;
  Totals totals;
};

/// Rows of what was measured, each against the ceiling that bounds it.
std::vector<Row> make_rows(const Measured& measured, const Ceilings& ceilings,
                           const pipeline::ModelDtypes& dtypes);

/// As tables have it: "0.123", "12.34", "1234".
std::string milliseconds(double ms);
/// JSON has no NaN and no infinity: null, as for nothing.
Json number(std::optional<double> x);

std::string to_table(const Report& report);
std::string to_json(const Report& report);
std::string to_csv(const Report& report);

}  // namespace reelm::bench
