// `reelm perplexity`: how well a model foretells a text, to compare dtypes.
#include "pipeline/perplexity.h"

#include <fmt/format.h>

#include <memory>

#include "apps/commands.h"
#include "apps/interrupt.h"
#include "apps/options.h"
#include "apps/output.h"
#include "core/mapped_file.h"

namespace reelm::apps {

namespace {

struct PerplexityArguments {
  std::string file;
  ModelOptions model;
  LoraOption lora;
  DtypeOptions dtypes;
  CacheOptions cache;
  std::string kv_dtype = "auto";
  std::int64_t context = 512;
  bool quiet = false;
  TimeoutOption timeout;
};

int run_perplexity(const PerplexityArguments& a) {
  a.timeout.start();
  const MappedFile file(a.file);
  const std::string text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  pipeline::Model model =
      pipeline::open_model(a.model.directory(), {.dtypes = a.dtypes.parse(),
                                                 .limits = a.model.limits,
                                                 .packed_cache = a.cache.parse(),
                                                 .adapters = a.lora.parse(),
                                                 .mmproj = a.model.mmproj,
                                                 .cancel = &interrupt_token()});
  for (const std::string& warning : model.warnings) warn(warning);
  ProgressLine progress(!a.quiet);
  pipeline::PerplexityOptions options;
  options.context = a.context;
  options.kv_dtype = llm::parse_kv_type(a.kv_dtype);
  options.cancel = &interrupt_token();
  options.on_progress = [&](std::int64_t done, std::int64_t total) {
    progress.show(fmt::format("tokens {}/{}", done, total));
  };
  const pipeline::PerplexityReport report = pipeline::perplexity(model, text, options);
  progress.clear();
  write_stdout(
      fmt::format("{}: {} tokens, {} scored, dtype {}: perplexity {:.4f}, {:.4f} nats a token, "
                  "{:.2f} % foretold\n",
                  a.file, report.tokens, report.scored, pipeline::dtype_name(model.dtypes.decoder),
                  report.perplexity, report.negative_log_likelihood, 100.0 * report.top1));
  return 0;
}

}  // namespace

void add_perplexity(CLI::App& app, Command& chosen) {
  CLI::App* sub =
      app.add_subcommand("perplexity", "how well a model foretells a text: compares dtypes");
  const auto a = std::make_shared<PerplexityArguments>();
  sub->add_option("FILE", a->file, "a text in UTF-8")->required();
  a->model.add_to(*sub);
  a->lora.add_to(*sub);
  a->dtypes.add_to(*sub);
  a->cache.add_to(*sub);
  add_kv_dtype(*sub, a->kv_dtype);
  sub->add_option("--context", a->context, "tokens of a window; each begins anew")
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 30))
      ->capture_default_str();
  add_threads(*sub);
  a->timeout.add_to(*sub);
  sub->add_flag("--quiet", a->quiet, "no progress line");
  sub->footer(
      "Example:\n"
      "  reelm perplexity --model Qwen2-VL-2B-Instruct --dtype int4 text.txt");
  sub->callback([a, &chosen] { chosen = [a] { return run_perplexity(*a); }; });
}

}  // namespace reelm::apps
