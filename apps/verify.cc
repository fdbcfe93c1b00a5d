// `reelm verify`: proof against a golden of the reference implementation.
#include "pipeline/verify.h"

#include <cmath>
#include <memory>

#include "apps/commands.h"
#include "apps/interrupt.h"
#include "apps/options.h"
#include "apps/output.h"
#include "core/throw.h"

namespace reelm::apps {

namespace {

struct VerifyArguments {
  std::string golden;
  std::vector<std::string> media;
  ModelOptions model;
  LoraOption lora;
  DtypeOptions dtypes = {.decoder = "f32"};
  std::string kv_dtype = "auto";
  bool layers = false;
  TimeoutOption timeout;
};

std::string number(double value) {
  return std::isnan(value) ? "-" : value == 0.0 ? "0" : fmt::format("{:.2e}", value);
}

int run_verify(const VerifyArguments& a) {
  a.timeout.start();
  pipeline::VerifyOptions options;
  options.model = a.model.model;
  options.mmproj = a.model.mmproj;
  options.media.assign(a.media.begin(), a.media.end());
  options.dtypes = a.dtypes.parse();
  options.adapters = a.lora.parse();
  options.kv_dtype = llm::parse_kv_type(a.kv_dtype);
  options.limits = a.model.limits;
  options.cancel = &interrupt_token();
  options.layers = a.layers;
  const pipeline::VerifyReport report = pipeline::verify_golden(a.golden, options);
  std::string out = fmt::format("{:<32}{:>11}{:>13}{:>11}{:>9}  {:<34}verdict\n", "stage",
                                "max abs", "relative L2", "signed", "exact", "bound");
  for (const pipeline::VerifyRow& row : report.rows) {
    out += fmt::format("{:<32}{:>11}{:>13}{:>11}{:>8.2f}%  {:<34}{}\n", row.stage,
                       number(row.max_abs), number(row.relative_l2), number(row.signed_error),
                       100.0 * row.exact_fraction, row.bound, row.pass ? "pass" : "FAIL");
  }
  out += fmt::format("answer:    {}\nreference: {}\n{}\n", report.answer, report.reference_answer,
                     report.pass() ? "every bound holds" : "a bound is broken");
  write_stdout(out);
  return report.pass() ? 0 : 1;
}

}  // namespace

void add_verify(CLI::App& app, Command& chosen) {
  CLI::App* sub = app.add_subcommand(
      "verify", "rerun a golden of the reference implementation and compare stage by stage");
  const auto a = std::make_shared<VerifyArguments>();
  sub->add_option("GOLDEN", a->golden, "a file of tools/make_golden.py")->required();
  a->model.add_to(*sub);
  a->lora.add_to(*sub);
  sub->add_option("--media", a->media, "media instead of those the golden names, in their order");
  a->dtypes.add_to(*sub);
  add_kv_dtype(*sub, a->kv_dtype);
  add_threads(*sub);
  sub->add_flag("--layers", a->layers,
                "also compare what is behind every layer (a golden made with --layers)");
  a->timeout.add_to(*sub);
  sub->footer(
      "Exit code 1 when any bound is broken. Example:\n"
      "  reelm verify tests/goldens/demo_direction.safetensors");
  sub->callback([a, &chosen] { chosen = [a] { return run_verify(*a); }; });
}

}  // namespace reelm::apps
