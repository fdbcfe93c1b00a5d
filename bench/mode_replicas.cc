// reelm-bench --replicas.
#include <optional>
#include <string>

#include "apps/interrupt.h"
#include "apps/output.h"
#include "bench/matrix.h"
#include "bench/modes.h"
#include "bench/replicas.h"

namespace reelm::bench {

namespace {

/// Every engine with weights that it alone has.
std::unique_ptr<pipeline::Engine> make_engine(const Options& options, int replicas, int threads) {
  pipeline::EngineOptions engine{.threads = threads, .replicas = replicas};
  engine.limits = options.model.limits;
  engine.kv_dtype = options.work.kv_dtype;
  if (pipeline::is_synthetic(options.model.model)) {
    return std::make_unique<pipeline::Engine>(make_synthetic(options).model, engine);
  }
  engine.dtypes = options.dtypes.parse();
  engine.packed_cache = {pipeline::PackedCache::Mode::kOff, {}};
  engine.cancel = &apps::interrupt_token();
  return std::make_unique<pipeline::Engine>(
      pipeline::Engine::open(options.model.directory(), engine));
}

class ReplicasMode final : public Mode {
 public:
  void add_to(CLI::App& app) override;
  bool chosen() const override { return replicas_.has_value(); }
  void run(const Options& options) const override;

 private:
  std::optional<std::string> replicas_;
  std::int64_t requests_ = 0;
  std::string weights_ = "both";
};

void ReplicasMode::add_to(CLI::App& app) {
  auto* replicas =
      app.add_option("--replicas", replicas_,
                     "requests answered at a time (1,2,4), from a queue, as CSV: throughput and "
                     "memory with one copy of the weights and with several");
  for (const char* other : {"--per-token", "--matrix", "--grid", "--json", "--csv", "--plot"}) {
    replicas->excludes(other);
  }
  app.add_option("--requests", requests_, "requests of each line (twice the most replicas)")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{100'000}))
      ->needs(replicas);
  app.add_option("--weights", weights_, "shared, separate or both")
      ->check(CLI::IsMember({"shared", "separate", "both"}))
      ->capture_default_str()
      ->needs(replicas);
}

void ReplicasMode::run(const Options& options) const {
  ReplicaSweep sweep;
  sweep.counts = parse_list(*replicas_, "--replicas");
  sweep.shared = weights_ != "separate";
  sweep.separate = weights_ != "shared";
  sweep.requests = requests_;
  sweep.repeat = options.work.repeat;
  pipeline::Request request = replica_request(options.work);
  request.cancel = &apps::interrupt_token();
  bool first = true;  // nothing is printed before a mistake is told
  run_replicas([&](int replicas, int threads) { return make_engine(options, replicas, threads); },
               request, sweep,
               [&](const ReplicaCell& cell) {
                 apps::write_stdout((first ? replicas_csv_header() : "") + to_csv(cell));
                 first = false;
               });
}

}  // namespace

std::unique_ptr<Mode> replicas_mode() { return std::make_unique<ReplicasMode>(); }

}  // namespace reelm::bench
