// reelm-bench --matrix.
#include <optional>
#include <string>

#include "apps/output.h"
#include "bench/matrix.h"
#include "bench/modes.h"

namespace reelm::bench {

namespace {

class MatrixMode final : public Mode {
 public:
  void add_to(CLI::App& app) override;
  bool chosen() const override { return matrix_; }
  void run(const Options& options) const override;

 private:
  /// The lists as given, the others as they are.
  Matrix parse(const Options& options) const;

  bool matrix_ = false;
  std::optional<std::string> batches_, inputs_, outputs_;
};

void MatrixMode::add_to(CLI::App& app) {
  auto* matrix = app.add_flag("--matrix", matrix_,
                              "batch x input x output length as CSV; the fastest of --repeat runs");
  for (const char* other : {"--per-token", "--media", "--grid", "--prompt-tokens", "--new-tokens",
                            "--json", "--csv", "--plot"}) {
    matrix->excludes(other);
  }
  const auto add_list = [&](const char* name, std::optional<std::string>& value, const char* help) {
    app.add_option(name, value, help)->needs(matrix);
  };
  add_list("--batches", batches_, "sequences decoded together (1,2,4,8)");
  add_list("--inputs", inputs_, "prompt lengths (32,64,128,256,512,1024,2048)");
  add_list("--outputs", outputs_, "answer lengths (32,64,128,256,512,1024)");
}

Matrix MatrixMode::parse(const Options& options) const {
  Matrix out;
  if (batches_) out.batches = parse_list(*batches_, "--batches");
  if (inputs_) out.inputs = parse_list(*inputs_, "--inputs");
  if (outputs_) out.outputs = parse_list(*outputs_, "--outputs");
  out.repeat = options.work.repeat;
  out.kv_dtype = options.work.kv_dtype;
  return out;
}

void MatrixMode::run(const Options& options) const {
  const Matrix matrix = parse(options);
  Loaded loaded = load(options);
  check_matrix(loaded.model, matrix, options.model.limits);
  apps::write_stdout(matrix_csv_header());
  run_matrix(loaded.model, matrix,
             [](const MatrixCell& cell) { apps::write_stdout(to_csv(cell)); });
}

}  // namespace

std::unique_ptr<Mode> matrix_mode() { return std::make_unique<MatrixMode>(); }

}  // namespace reelm::bench
