#include "bench/tune_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "core/json.h"
#include "core/parallel.h"
#include "kernels/attention.h"
#include "kernels/matmul.h"
#include "llm/kv_cache.h"

namespace reelm::bench {

namespace {

using kernels::ComputeType;
using kernels::Tuner;
using kernels::TuneTiming;

/// Contexts of decode steps, where the model takes that many positions.
constexpr std::int64_t kContexts[] = {512, 4096, 16384};

AlignedBuffer<float> made_up(std::int64_t n) {
  AlignedBuffer<float> out(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<float>(i * 2654435761u % 4096) / 2048.0f - 1.0f;
  }
  return out;
}

/// Runs calls with a tuner that times everything, and keeps what it says.
class Reporter {
 public:
  explicit Reporter(int rounds) : rounds_(rounds) {}

  void add(std::string operation, std::string shape, std::string dtype,
           const std::function<void()>& call) {
    Tuner tuner({.measure = true,
                 .margin = Tuner::kMargin,
                 .shape_ms = 300.0,
                 .total_ms = 1e9,
                 .least_rounds = rounds_,
                 .rounds = std::max(rounds_, 30),
                 .everything = true,
                 .now_ms = {}});
    Tuner* const before = kernels::active_tuner();
    kernels::set_tuner(&tuner);
    try {
      call();
    } catch (...) {
      kernels::set_tuner(before);
      throw;
    }
    kernels::set_tuner(before);
    std::vector<kernels::TuneEntry> entries = tuner.entries();
    TuneRow row = {std::move(operation), std::move(shape), std::move(dtype), num_threads(), {}};
    if (!entries.empty()) {
      row.entry = entries.front();
      if (before != nullptr && before->options().measure) before->add(std::move(entries));
    }
    rows_.push_back(std::move(row));
  }

  std::vector<TuneRow> take() { return std::move(rows_); }

 private:
  const int rounds_;
  std::vector<TuneRow> rows_;
};

void report_vit_attention(Reporter& reporter, const vision::TowerSizes& config, std::int64_t n,
                          ComputeType type) {
  const std::int64_t heads = config.num_heads, d = config.head_dim(), row = 3 * heads * d;
  const AlignedBuffer<float> qkv = made_up(n * row);
  AlignedBuffer<float> out(static_cast<std::size_t>(n * heads * d));
  const auto view = [&](int part) {
    return TensorView<const float>(qkv.data() + part * heads * d, {n, heads, d}, {row, d, 1});
  };
  const std::vector<std::int64_t> cu_seqlens = {0, n};
  reporter.add("vit.attention", fmt::format("{} rows, {} heads of {}", n, heads, d), "f32", [&] {
    kernels::attention_forward_varlen(view(0), view(1), view(2), {out.data(), {n, heads, d}},
                                      cu_seqlens, cu_seqlens, 1.0f / std::sqrt(float(d)), false,
                                      kernels::attention_math(type));
  });
}

void report_llm_attention(Reporter& reporter, const llm::qwen2_vl::DecoderConfig& config,
                          std::int64_t n_q, std::int64_t n_k, ComputeType type,
                          llm::KvType kv_type) {
  const std::int64_t heads = config.num_attention_heads, kv_heads = config.num_key_value_heads;
  const std::int64_t d = config.head_dim;
  llm::KvCache cache({1, kv_heads, d}, kv_type, n_k);
  const AlignedBuffer<float> kv = made_up(n_k * kv_heads * d), q = made_up(n_q * heads * d);
  AlignedBuffer<float> out(q.size());
  const TensorView<const float> rows(kv.data(), {n_k, kv_heads, d});
  cache.write(0, rows, rows);
  cache.advance(n_k);
  const auto run = [&](const auto& keys, const auto& values) {
    kernels::attention({q.data(), {n_q, heads, d}}, keys, values, {out.data(), {n_q, heads, d}},
                       1.0f / std::sqrt(float(d)), true, kernels::attention_math(type));
  };
  const std::string shape =
      fmt::format("{} rows, {} keys, {} heads of {} over {}", n_q, n_k, heads, d, kv_heads);
  reporter.add(n_q == 1 ? "decode.attention" : "prefill.attention", shape,
               llm::kv_type_name(kv_type), [&] {
                 switch (kv_type) {
                   case llm::KvType::kF32:
                     return run(cache.keys_f32(0, n_k), cache.values_f32(0, n_k));
                   case llm::KvType::kBF16:
                     return run(cache.keys_bf16(0, n_k), cache.values_bf16(0, n_k));
                   case llm::KvType::kInt8:
                     return run(cache.keys_int8(0, n_k), cache.values_int8(0, n_k));
                 }
               });
}

/// A weight [n, k] and for which rows its product is reported.
struct Product {
  const char* operation;
  std::int64_t n, k;
  ComputeType type;
  bool gated = false;
  std::vector<std::int64_t> rows;
};

void report_product(Reporter& reporter, const Product& p) {
  const DType dtype = kernels::keeps_blocks(p.type) ? kernels::stored_type(p.type) : DType::kBF16;
  // As bf16 about 0.01, as an f16 scale about 1.
  const std::vector<std::uint8_t> stored(static_cast<std::size_t>(dtype_bytes(dtype, p.n * p.k)),
                                         0x3c);
  const kernels::PackedMatrix weight({stored.data(), dtype, p.n, p.k}, p.type);
  for (const std::int64_t m : p.rows) {
    const AlignedBuffer<float> x = made_up(m * p.k);
    const std::int64_t n_y = p.gated ? p.n / 2 : p.n;
    AlignedBuffer<float> y(static_cast<std::size_t>(m * n_y));
    kernels::Epilogue epilogue;
    epilogue.gated = p.gated;
    if (p.gated) epilogue.activation = kernels::Activation::kSilu;
    reporter.add(p.operation, fmt::format("{} x {} x {}", m, p.n, p.k),
                 kernels::compute_type_name(p.type), [&] {
                   kernels::matmul({x.data(), {m, p.k}}, weight, {y.data(), {m, n_y}}, epilogue);
                 });
  }
}

const char* name_of(const kernels::TuneEntry& entry, int candidate) {
  return kernels::candidate_names(entry.key.op)[static_cast<std::size_t>(candidate)];
}

std::string why(const TuneRow& row) {
  return row.entry.timings.empty() ? "no choice of ours: oneDNN has it"
                                   : kernels::tune_reason(row.entry, Tuner::kMargin);
}

}  // namespace

std::vector<TuneRow> tune_report(const pipeline::Model& model,
                                 const pipeline::SyntheticSizes& sizes, const Workload& workload) {
  const vision::TowerSizes& vision = sizes.tower();
  const bool gated = std::holds_alternative<vision::qwen2_5_vl::VisionConfig>(sizes.vision);
  const auto& decoder = sizes.decoder;
  const bool gated_mlp = decoder_work(sizes.decoder_kind).hidden_products > 1;
  const ComputeType vision_type = pipeline::compute_type(model.dtypes.vision);
  const ComputeType decoder_type = pipeline::compute_type(model.dtypes.decoder);
  const llm::KvType kv_type = workload.kv_dtype.value_or(model.decoder->kv_type());
  const std::int64_t patches = workload.grid[1] * workload.grid[2];
  const std::int64_t prompt =
      std::min(workload.prompt_tokens.value_or(model.decoder->prefill_rows()),
               model.decoder->prefill_rows());
  Reporter reporter(workload.repeat);

  if (sizes.has_vision) report_vit_attention(reporter, vision, patches, vision_type);
  report_llm_attention(reporter, decoder, prompt, prompt, decoder_type, kv_type);
  for (const std::int64_t context : kContexts) {
    if (context > decoder.max_position_embeddings) continue;
    report_llm_attention(reporter, decoder, 1, context, decoder_type, kv_type);
  }
  const std::int64_t q = decoder.num_attention_heads * decoder.head_dim;
  const std::int64_t kv = decoder.num_key_value_heads * decoder.head_dim;
  const std::vector<std::int64_t> slice = {patches}, rows = {1, 8, 32, prompt};
  if (sizes.has_vision) {
    for (const Product& product : {
             Product{"vit.qkv", 3 * vision.embed_dim, vision.embed_dim, vision_type, false, slice},
             Product{"vit.proj", vision.embed_dim, vision.embed_dim, vision_type, false, slice},
             gated ? Product{"vit.gate_up", 2 * vision.intermediate_size, vision.embed_dim,
                             vision_type, true, slice}
                   : Product{"vit.fc1", vision.intermediate_size, vision.embed_dim, vision_type,
                             false, slice},
             Product{gated ? "vit.down" : "vit.fc2", vision.embed_dim, vision.intermediate_size,
                     vision_type, false, slice},
         }) {
      report_product(reporter, product);
    }
  }
  for (const Product& product : {
           Product{"llm.qkv", q + 2 * kv, decoder.hidden_size, decoder_type, false, rows},
           Product{"llm.o_proj", decoder.hidden_size, q, decoder_type, false, rows},
           gated_mlp ? Product{"llm.mlp.gate_up", 2 * decoder.intermediate_size,
                               decoder.hidden_size, decoder_type, true, rows}
                     : Product{"llm.mlp.up", decoder.intermediate_size, decoder.hidden_size,
                               decoder_type, false, rows},
           Product{"llm.mlp.down", decoder.hidden_size, decoder.intermediate_size, decoder_type,
                   false, rows},
       }) {
    report_product(reporter, product);
  }
  return reporter.take();
}

std::string to_table(const std::vector<TuneRow>& rows) {
  std::string out = fmt::format("{:<18}{:<46}{:<6}{:>7}  {:<24}{:>10}\n", "operation", "shape",
                                "dtype", "threads", "candidate", "ms");
  for (const TuneRow& row : rows) {
    std::string left =
        fmt::format("{:<18}{:<46}{:<6}{:>7}", row.operation, row.shape, row.dtype, row.threads);
    for (const TuneTiming& timing : row.entry.timings) {
      out += fmt::format("{}  {:<24}{:>10.3f}{}{}\n", left, name_of(row.entry, timing.candidate),
                         timing.ms, timing.eligible ? "" : "  other bits",
                         timing.candidate == row.entry.choice ? "  chosen: " + why(row) : "");
      left.assign(left.size(), ' ');
    }
    if (row.entry.timings.empty()) out += left + "  " + why(row) + "\n";
  }
  return out;
}

std::string to_json(const std::vector<TuneRow>& rows) {
  Json out = Json::array();
  for (const TuneRow& row : rows) {
    Json candidates = Json::array();
    for (const TuneTiming& timing : row.entry.timings) {
      candidates.push_back({{"name", name_of(row.entry, timing.candidate)},
                            {"ms", timing.ms},
                            {"same_bits", timing.eligible}});
    }
    const bool ours = !row.entry.timings.empty();
    out.push_back({{"operation", row.operation},
                   {"shape", row.shape},
                   {"dtype", row.dtype},
                   {"threads", row.threads},
                   {"candidates", std::move(candidates)},
                   {"chosen", ours ? Json(name_of(row.entry, row.entry.choice)) : Json()},
                   {"rule", ours ? Json(name_of(row.entry, row.entry.rule)) : Json()},
                   {"why", why(row)}});
  }
  return out.dump(2) + "\n";
}

}  // namespace reelm::bench
