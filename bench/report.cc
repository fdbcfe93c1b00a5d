#include "bench/report.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <thread>

#include "core/host.h"
#include "core/parallel.h"
#include "kernels/isa.h"

namespace reelm::bench {

namespace {

/// "-" for nothing, three digits of what matters else.
std::string short_number(double x) {
  if (x == 0.0) return "-";
  constexpr const char* kUnits[] = {"", "k", "M", "G", "T"};
  int unit = 0;
  for (; x >= 999.5 && unit < 4; ++unit) x /= 1000;
  return fmt::format("{:.{}f} {}", x, x < 9.995 ? 2 : x < 99.95 ? 1 : 0, kUnits[unit]);
}

std::string ceiling_line(const char* name, const Ceiling& ceiling, const char* unit) {
  return fmt::format("  {:<5} {:>8.1f} {:<8} {}\n", name, ceiling.rate, unit, ceiling.loop);
}

}  // namespace

std::string milliseconds(double ms) {
  return fmt::format("{:.{}f}", ms, ms < 10 ? 3 : ms < 1000 ? 2 : 0);
}

Json number(std::optional<double> x) { return x && std::isfinite(*x) ? Json(*x) : Json(nullptr); }

Machine describe_machine() {
  Machine machine;
  machine.cpu = cpu_name();
  machine.isa = kernels::isa_name(kernels::active_isa());
  machine.cores = static_cast<int>(std::thread::hardware_concurrency());
  machine.threads = num_threads();
  machine.memory_gb = static_cast<double>(::sysconf(_SC_PHYS_PAGES)) *
                      static_cast<double>(::sysconf(_SC_PAGESIZE)) / (1u << 30);
  double load = 0.0;
  if (::getloadavg(&load, 1) == 1) machine.load_average = load;
  return machine;
}

std::string machine_line(const Machine& m) {
  return fmt::format(
      "machine: {}, {} cores, {} threads, {:.1f} GB, instruction set {}, load {:.2f}\n", m.cpu,
      m.cores, m.threads, m.memory_gb, m.isa, m.load_average);
}

Json machine_json(const Machine& m) {
  return {{"cpu", m.cpu},
          {"isa", m.isa},
          {"cores", m.cores},
          {"threads", m.threads},
          {"memory_gb", m.memory_gb},
          {"load_average", m.load_average}};
}

namespace {

/// GFLOP/s of products with weights of a type.
double product_peak(const Ceilings& ceilings, pipeline::Dtype dtype) {
  switch (dtype) {
    case pipeline::Dtype::kF32:
      return ceilings.f32.rate;
    case pipeline::Dtype::kBF16:
      return ceilings.bf16.rate;
    default:
      return ceilings.int8.rate;
  }
}

Peaks peaks_of(const Ceilings& ceilings, const Cost& cost, pipeline::Dtype dtype) {
  const bool f32 = dtype == pipeline::Dtype::kF32;
  return {
      .ops = 1e9 * (cost.unit == Unit::kMatrix ? product_peak(ceilings, dtype) : ceilings.f32.rate),
      .attention_ops = 1e9 * (f32 ? ceilings.f32.rate : ceilings.bf16.rate),
      .bytes = 1e9 * ceilings.read.rate};
}

}  // namespace

std::vector<Row> make_rows(const Measured& measured, const Ceilings& ceilings,
                           const pipeline::ModelDtypes& dtypes) {
  std::vector<Row> rows;
  for (const Samples& samples : measured.stages) {
    Row row;
    row.stage = samples.stage;
    row.median_ms = median(samples.ms);
    row.min_ms = *std::min_element(samples.ms.begin(), samples.ms.end());
    row.max_ms = *std::max_element(samples.ms.begin(), samples.ms.end());
    const auto it = std::find_if(measured.costs.begin(), measured.costs.end(),
                                 [&](const auto& entry) { return entry.first == row.stage; });
    if (it != measured.costs.end() && row.median_ms > 0.0) {
      const Cost& cost = it->second;
      const bool vision = row.stage.starts_with("vit");
      const Peaks peaks = peaks_of(ceilings, cost, vision ? dtypes.vision : dtypes.decoder);
      const bool by_flop = flop_seconds(cost, peaks) > byte_seconds(cost, peaks);
      row.flop = cost.flop;
      row.bytes = cost.bytes;
      row.rate = (by_flop ? cost.flop : cost.bytes) / row.median_ms * 1e-6;
      row.rate_unit = by_flop ? "GFLOP/s" : "GB/s";
      row.percent_of_ceiling = floor_seconds(cost, peaks) * 1e5 / row.median_ms;
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

std::string to_table(const Report& report) {
  std::string out = machine_line(report.machine);
  out += fmt::format(
      "model: {}, {} (vision tower: {}), KV cache {}\n"
      "work: {}, grid {}x{}x{}, {} prompt tokens ({} vision), {} new tokens, {} runs\n"
      "ceilings:\n",
      report.model, report.dtype, report.vision_dtype, report.kv_dtype,
      report.media.empty() ? "made-up patches" : report.media, report.grid[0], report.grid[1],
      report.grid[2], report.prompt_tokens, report.vision_tokens, report.new_tokens, report.repeat);
  out += ceiling_line("bf16", report.ceilings.bf16, "GFLOP/s");
  out += ceiling_line("int8", report.ceilings.int8, "GOP/s");
  out += ceiling_line("f32", report.ceilings.f32, "GFLOP/s");
  out += ceiling_line("read", report.ceilings.read, "GB/s");
  out += fmt::format("\n{:<16} {:>10} {:>10} {:>10} {:>8} {:>8} {:>16} {:>9}\n", "stage",
                     "median ms", "min", "max", "FLOP", "bytes", "rate", "% ceiling");
  for (const Row& row : report.rows) {
    const std::size_t dot = row.stage.find('.');
    const std::string name =
        dot == std::string::npos ? row.stage : "  " + row.stage.substr(dot + 1);
    out +=
        fmt::format("{:<16} {:>10} {:>10} {:>10} {:>8} {:>8} {:>16} {:>9}\n", name,
                    milliseconds(row.median_ms), milliseconds(row.min_ms), milliseconds(row.max_ms),
                    short_number(row.flop), short_number(row.bytes),
                    row.rate_unit.empty() ? "-" : fmt::format("{:.1f} {}", row.rate, row.rate_unit),
                    row.percent_of_ceiling ? fmt::format("{:.1f}", *row.percent_of_ceiling) : "-");
  }
  const Totals& t = report.totals;
  out += fmt::format(
      "\ntime to first token {:.0f} ms, {:.2f} tokens/s, end to end {:.0f} ms, peak memory {} MB\n",
      t.time_to_first_token_ms, t.tokens_per_second, t.end_to_end_ms, t.peak_memory_bytes >> 20);
  if (t.load_cold_ms && t.load_warm_ms) {
    out += fmt::format("load: {:.0f} ms cold, {:.0f} ms warm\n", *t.load_cold_ms, *t.load_warm_ms);
  }
  if (t.synthetic_make_ms) {
    out += fmt::format("weights made and packed in {:.0f} ms\n", *t.synthetic_make_ms);
  }
  return out;
}

std::string to_json(const Report& report) {
  const Ceilings& c = report.ceilings;
  const Totals& t = report.totals;
  Json stages = Json::array();
  for (const Row& row : report.rows) {
    stages.push_back({{"stage", row.stage},
                      {"median_ms", row.median_ms},
                      {"min_ms", row.min_ms},
                      {"max_ms", row.max_ms},
                      {"flop", row.flop},
                      {"bytes", row.bytes},
                      {"rate", row.rate},
                      {"rate_unit", row.rate_unit},
                      {"percent_of_ceiling", number(row.percent_of_ceiling)}});
  }
  const Json out = {
      {"machine", machine_json(report.machine)},
      {"ceilings",
       {{"bf16_gflops", c.bf16.rate},
        {"int8_gops", c.int8.rate},
        {"f32_gflops", c.f32.rate},
        {"read_gbps", c.read.rate},
        {"native_bf16", c.native_bf16},
        {"loops",
         {{"bf16", c.bf16.loop},
          {"int8", c.int8.loop},
          {"f32", c.f32.loop},
          {"read", c.read.loop}}}}},
      {"work",
       {{"model", report.model},
        {"dtype", report.dtype},
        {"vision_dtype", report.vision_dtype},
        {"kv_dtype", report.kv_dtype},
        {"media", report.media.empty() ? Json(nullptr) : Json(report.media)},
        {"grid_thw", report.grid},
        {"prompt_tokens", report.prompt_tokens},
        {"vision_tokens", report.vision_tokens},
        {"new_tokens", report.new_tokens},
        {"repeat", report.repeat}}},
      {"stages", std::move(stages)},
      {"totals",
       {{"time_to_first_token_ms", t.time_to_first_token_ms},
        {"tokens_per_second", t.tokens_per_second},
        {"end_to_end_ms", t.end_to_end_ms},
        {"peak_memory_bytes", t.peak_memory_bytes},
        {"load_cold_ms", number(t.load_cold_ms)},
        {"load_warm_ms", number(t.load_warm_ms)},
        {"synthetic_make_ms", number(t.synthetic_make_ms)}}},
  };
  // Names of files may hold bytes that are no UTF-8.
  return out.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string to_csv(const Report& report) {
  std::string out = "stage,median_ms,min_ms,max_ms,flop,bytes,rate,rate_unit,percent_of_ceiling\n";
  for (const Row& row : report.rows) {
    out += fmt::format("{},{},{},{},{},{},{},{},{}\n", row.stage, row.median_ms, row.min_ms,
                       row.max_ms, row.flop, row.bytes, row.rate, row.rate_unit,
                       row.percent_of_ceiling ? fmt::format("{}", *row.percent_of_ceiling) : "");
  }
  return out;
}

}  // namespace reelm::bench
