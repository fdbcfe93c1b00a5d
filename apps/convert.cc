// `reelm convert`: a model directory with its weights packed and quantised ahead.
#include "pipeline/convert.h"

#include <fmt/ranges.h>

#include <memory>

#include "apps/commands.h"
#include "apps/interrupt.h"
#include "apps/options.h"
#include "apps/output.h"

namespace reelm::apps {

namespace {

struct ConvertArguments {
  std::string in, out, mmproj;
  DtypeOptions dtypes = {.decoder = "int4"};
  LoraOption lora;
  bool force = false;
  bool quiet = false;
  Limits limits;
  TimeoutOption timeout;
};

int run_convert(const ConvertArguments& a) {
  a.timeout.start();
  ProgressLine progress(!a.quiet);
  pipeline::ConvertOptions options;
  options.dtypes = a.dtypes.parse();
  options.adapters = a.lora.parse();
  options.force = a.force;
  options.mmproj = a.mmproj;
  options.limits = a.limits;
  options.cancel = &interrupt_token();
  options.on_progress = [&](const char* step, std::int64_t done, std::int64_t total) {
    progress.show(total == 0 ? std::string(step)
                             : fmt::format("{} {}/{} MB", step, done / 1000000, total / 1000000));
  };
  const pipeline::ConvertReport report = pipeline::convert_model(a.in, a.out, options);
  progress.clear();
  write_stdout(fmt::format(
      "{}: {}, vision tower {}: {:.1f} MB of weights are {:.1f} MB now\ncopied: {}\n", a.out,
      pipeline::dtype_name(report.dtypes.decoder), pipeline::dtype_name(report.dtypes.vision),
      static_cast<double>(report.bytes_before) / 1e6, static_cast<double>(report.bytes_after) / 1e6,
      fmt::join(report.copied, " ")));
  return 0;
}

}  // namespace

void add_convert(CLI::App& app, Command& chosen) {
  CLI::App* sub =
      app.add_subcommand("convert", "quantise and pack a model ahead, into a directory of its own");
  const auto a = std::make_shared<ConvertArguments>();
  sub->add_option("IN", a->in, "model directory or GGUF file")->required();
  sub->add_option("OUT", a->out, "directory to write: a new or an empty one")->required();
  add_mmproj(*sub, a->mmproj);
  a->dtypes.add_to(*sub);
  a->lora.add_to(*sub);
  sub->add_flag("--force", a->force, "replace the model in OUT");
  add_threads(*sub);
  a->timeout.add_to(*sub);
  sub->add_flag("-q,--quiet", a->quiet, "no progress");
  add_limits(*sub, a->limits);
  sub->footer(
      "OUT opens as any model directory, without IN. Example:\n"
      "  reelm convert --dtype int4 Qwen2-VL-2B-Instruct Qwen2-VL-2B-int4\n"
      "  reelm ask --model Qwen2-VL-2B-int4 clip.mp4 \"What happens in the video?\"");
  sub->callback([a, &chosen] { chosen = [a] { return run_convert(*a); }; });
}

}  // namespace reelm::apps
