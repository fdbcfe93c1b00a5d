#include "bench/costs.h"

#include <algorithm>

namespace reelm::bench {

namespace {

constexpr double kF32 = 4.0;  // bytes of an activation

/// y [n, out] = x [n, in] * w [out, in]: 2 operations a weight and row; w once, x once, y once.
Cost product(double n, double in, double out, double weight_bytes) {
  return {2 * n * in * out, in * out * weight_bytes + n * (in + out) * kF32, Unit::kMatrix};
}

/// The same where y is added to: it is read as well.
Cost product_onto(double n, double in, double out, double weight_bytes) {
  Cost cost = product(n, in, out, weight_bytes);
  cost.bytes += n * out * kF32;
  return cost;
}

/// Two products behind each other; the rows between them need not leave the caches.
Cost chain(double n, double in, double hidden, double out, double hidden_products,
           double weight_bytes) {
  const double weights = hidden_products * in * hidden + hidden * out;
  return {2 * n * weights, weights * weight_bytes + n * (in + out) * kF32, Unit::kMatrix};
}

Cost times(double n, Cost cost) {
  cost.flop *= n;
  cost.bytes *= n;
  cost.attention_flop *= n;
  return cost;
}

Cost plus(Cost a, const Cost& b) {
  a.flop += b.flop;
  a.bytes += b.bytes;
  a.attention_flop += b.attention_flop;
  if (b.unit == Unit::kMatrix) a.unit = Unit::kMatrix;
  return a;
}

/// LayerNorm: mean 1, centre and square 3, scale and shift 4 operations an element (shared work of
/// a row not counted); read and written once.
Cost layer_norm(double n, double dim) { return {8 * n * dim, 2 * n * dim * kF32}; }

/// The same, and once more times a number in the place of x: 1 operation, written twice.
Cost layer_norm_twice(double n, double dim) { return {9 * n * dim, 3 * n * dim * kF32}; }

/// RMSNorm: squares 2, scales 2 operations an element; read and written once.
Cost rms_norm(double n, double dim) { return {4 * n * dim, 2 * n * dim * kF32}; }

/// x += delta, then RMSNorm of x: 1 + 2 + 2 operations; reads x and delta, writes x and the result.
Cost add_rms_norm(double n, double dim) { return {5 * n * dim, 4 * n * dim * kF32}; }

/// Each pair of elements: 4 multiplies, 2 adds; read and written in place. Tables [n, dim / 2].
Cost rotary(double n, double heads, double dim) {
  return {3 * n * heads * dim, 2 * n * heads * dim * kF32 + n * dim * kF32};
}

/// Puts the sum of `parts` in front of them, all under `name`.
StageCosts with_sum(const std::string& name, StageCosts parts) {
  Cost sum;
  for (auto& [part, cost] : parts) {
    sum = plus(sum, cost);
    part = name + "." + part;
  }
  parts.emplace(parts.begin(), name, sum);
  return parts;
}

/// Sizes of one decoder pass: `rows` through every layer but the last, where `last_rows` go on
/// behind the keys and values. `pairs` and `last_pairs`: queries times the keys they attend to.
struct Pass {
  double rows, last_rows;
  double pairs, last_pairs;
  double keys;  // positions whose keys and values attention reads
};

StageCosts decoder_parts(const llm::qwen2_vl::DecoderConfig& c, const Pass& pass, const Formats& f,
                         const DecoderWork& work) {
  const auto hidden = static_cast<double>(c.hidden_size);
  const auto width = static_cast<double>(c.intermediate_size);
  const auto layers = static_cast<double>(c.num_hidden_layers);
  const auto head_dim = static_cast<double>(c.head_dim);
  const double heads = static_cast<double>(c.num_attention_heads);
  const double kv_heads = static_cast<double>(c.num_key_value_heads);
  const double q = heads * head_dim, kv = kv_heads * head_dim;
  const double rows = pass.rows, last = pass.last_rows;
  const auto all_but_last = [&](Cost cost, Cost last_cost) {
    return plus(times(layers - 1, cost), last_cost);
  };
  // Scores and mixing: 2 * head_dim operations each for a pair and head. Reads q, writes the mix,
  // reads the keys and values in the cache's type.
  const auto attention = [&](double n, double pairs) {
    return Cost{4 * pairs * q, 2 * n * q * kF32 + 2 * pass.keys * kv * f.kv_bytes, Unit::kMatrix,
                4 * pairs * q};
  };
  const auto mlp = [&](double n) {
    Cost cost = chain(n, hidden, width, hidden, work.hidden_products, f.weight_bytes);
    if (work.layer_norms) cost.bytes += n * hidden * kF32;  // adds to the residual
    return cost;
  };
  const auto o_proj = [&](double n) {
    return (work.layer_norms ? product_onto : product)(n, q, hidden, f.weight_bytes);
  };
  const Cost kv_write = {0, rows * 2 * kv * (kF32 + f.kv_bytes)};
  // The first norm of all reads and writes without a sum; then two a layer.
  Cost norms = plus(rms_norm(rows, hidden),
                    times(2, all_but_last(add_rms_norm(rows, hidden), add_rms_norm(last, hidden))));
  if (work.layer_norms) {  // before each half of a layer, and behind the last
    norms = plus(times(layers, layer_norm_twice(rows, hidden)),
                 plus(all_but_last(layer_norm_twice(rows, hidden), layer_norm_twice(last, hidden)),
                      layer_norm(last, hidden)));
  }
  if (c.qk_norm) norms = plus(norms, times(layers, rms_norm(rows, q + kv)));
  return {
      {"norm", norms},
      {"qkv", times(layers, product(rows, hidden, q + 2 * kv, f.weight_bytes))},
      {"rotary", times(layers, rotary(rows, heads + kv_heads, head_dim))},
      {"kv_write", times(layers, kv_write)},
      {"attention", all_but_last(attention(rows, pass.pairs), attention(last, pass.last_pairs))},
      {"o_proj", all_but_last(o_proj(rows), o_proj(last))},
      {"mlp", all_but_last(mlp(rows), mlp(last))},
      {"lm_head", product(1, hidden, static_cast<double>(c.vocab_size), f.kept_bytes)},
  };
}

/// What a family's tower does in its own way.
struct TowerKind {
  double hidden_products;  // of the MLP, before the last: fc1; gate and up
  Cost (*norm)(double n, double dim);
  double pairs;              // patches times those they attend to, of all blocks and a slice
  double position_taps = 0;  // rows that a patch's learned position is interpolated from
  double mergers = 1;
};

StageCosts tower_costs(const vision::TowerSizes& c, const GridThw& grid, const Formats& f,
                       const TowerKind& kind) {
  const auto slices = static_cast<double>(grid[0]);
  const auto n = static_cast<double>(grid[1] * grid[2]);
  const auto d = static_cast<double>(c.embed_dim);
  const auto hidden = static_cast<double>(c.intermediate_size);
  const auto depth = static_cast<double>(c.depth);
  const auto merged = static_cast<double>(c.merged_dim());
  const double w = f.weight_bytes;
  Cost mlp = chain(n, d, hidden, d, kind.hidden_products, w);
  mlp.bytes += n * d * kF32;  // adds to the residual
  // Two products of a pair by head_dim a head; q, k, v in and the mix out, no scores in memory.
  const double attention_flop = 4 * kind.pairs * d;
  const Cost attention = {attention_flop, depth * 4 * n * d * kF32, Unit::kMatrix, attention_flop};
  const Cost merger = plus(kind.norm(n, d), chain(n * d / merged, merged, merged,
                                                  static_cast<double>(c.hidden_size), 1, w));
  // A multiply and an add a tap, onto the patch; the table stays in the caches.
  const bool learned = kind.position_taps > 0;
  const Cost positions = {2 * kind.position_taps * n * d, learned ? 2 * n * d * kF32 : 0.0};
  StageCosts parts = {
      {"patch_embed",
       plus(product(n, static_cast<double>(c.patch_dim()), d, f.kept_bytes), positions)},
      {"norm", times(2 * depth, kind.norm(n, d))},
      {"qkv", times(depth, product(n, d, 3 * d, w))},
      {"rotary", times(depth, rotary(n, 2 * static_cast<double>(c.num_heads),
                                     static_cast<double>(c.head_dim())))},
      {"attention", attention},
      {"proj", times(depth, product_onto(n, d, d, w))},
      {"mlp", times(depth, mlp)},
      {"merger", times(kind.mergers, merger)},
  };
  for (auto& part : parts) part.second = times(slices, part.second);
  return with_sum("vit", std::move(parts));
}

/// A side of `length` cut into windows of `side`: the sum of their squares. The product of two such
/// sums is the pairs inside of windows.
double window_squares(std::int64_t length, std::int64_t side) {
  const auto whole = static_cast<double>(length / side), rest = static_cast<double>(length % side);
  return whole * static_cast<double>(side * side) + rest * rest;
}

}  // namespace

StageCosts vision_costs(const vision::qwen2_vl::VisionConfig& c, const GridThw& grid,
                        const Formats& f) {
  const auto n = static_cast<double>(grid[1] * grid[2]);
  const auto depth = static_cast<double>(c.depth);
  return tower_costs(c, grid, f, {1, &layer_norm, depth * n * n});
}

StageCosts vision_costs(const vision::qwen2_5_vl::VisionConfig& c, const GridThw& grid,
                        const Formats& f) {
  const auto n = static_cast<double>(grid[1] * grid[2]);
  const std::int64_t side = c.window_side() * c.spatial_merge_size;
  const double window_pairs = window_squares(grid[1], side) * window_squares(grid[2], side);
  double pairs = 0.0;
  for (std::int64_t i = 0; i < c.depth; ++i) pairs += c.full_attention(i) ? n * n : window_pairs;
  return tower_costs(c, grid, f, {2, &rms_norm, pairs});
}

StageCosts vision_costs(const vision::qwen3_vl::VisionConfig& c, const GridThw& grid,
                        const Formats& f) {
  const auto n = static_cast<double>(grid[1] * grid[2]);
  const auto mergers = static_cast<double>(1 + c.deepstack_visual_indexes.size());
  return tower_costs(c, grid, f,
                     {1, &layer_norm, static_cast<double>(c.depth) * n * n, 4, mergers});
}

DecoderWork decoder_work(std::string_view kind) noexcept {
  if (kind == "chatglm") return {1, true, true};
  return {};
}

StageCosts prefill_costs(const llm::qwen2_vl::DecoderConfig& c, std::int64_t n, const Formats& f,
                         const DecoderWork& work) {
  const auto rows = static_cast<double>(n);
  const auto hidden = static_cast<double>(c.hidden_size);
  const double pairs = work.two_way_prompt ? (rows - 1) * (rows - 1) + rows : rows * (rows + 1) / 2;
  StageCosts out = with_sum("prefill", decoder_parts(c, {rows, 1, pairs, rows, rows}, f, work));
  // A row is read (an embedding, or a row of vision) and written as f32.
  out.emplace(out.begin(), "merge", Cost{0, rows * hidden * (f.embedding_bytes + kF32)});
  return out;
}

StageCosts decode_costs(const llm::qwen2_vl::DecoderConfig& c, double context, const Formats& f,
                        const DecoderWork& work) {
  return with_sum("decode_token", decoder_parts(c, {1, 1, context, context, context}, f, work));
}

StageCosts sampling_costs(std::int64_t vocab_size) {
  const auto n = static_cast<double>(vocab_size);
  return {{"sampling", {n, n * kF32}}};
}

StageCosts frame_costs(const FrameSizes& s) {
  const auto taken = static_cast<double>(s.taken);
  const auto h = static_cast<double>(s.height), w = static_cast<double>(s.width);
  const auto source_h = static_cast<double>(s.source_height);
  const auto source_w = static_cast<double>(s.source_width);
  const double source = source_h * source_w;
  // Bicubic with antialiasing (torchvision, PIL): 4 taps a pixel, times the shrinking. Rows first,
  // then columns; 3 channels. A size that stays is not filtered.
  const auto taps = [](double from, double to) {
    return from == to ? 0.0 : 4 * std::max(1.0, from / to);
  };
  const double across = 2 * 3 * source_h * w * taps(source_w, w);
  const double down = 2 * 3 * h * w * taps(source_h, h);
  return {
      {"decode", {0, static_cast<double>(s.decoded) * source * 1.5}},
      // 3x3 matrix with an offset; YUV 4:2:0 in, RGB8 out.
      {"convert", times(taken, {source * 3 * 6, source * (1.5 + 3)})},
      {"resize", times(taken, {across + down, source * 3 + h * w * 3})},
      // Scale and shift each of three channels; RGB8 in, f32 out.
      {"patchify", times(taken, {h * w * 3 * 2, h * w * 3 * (1 + kF32)})},
  };
}

double flop_seconds(const Cost& cost, const Peaks& peaks) {
  double seconds = 0.0;
  if (peaks.ops > 0) seconds += (cost.flop - cost.attention_flop) / peaks.ops;
  if (peaks.attention_ops > 0) seconds += cost.attention_flop / peaks.attention_ops;
  return seconds;
}

double byte_seconds(const Cost& cost, const Peaks& peaks) {
  return peaks.bytes > 0 ? cost.bytes / peaks.bytes : 0.0;
}

double floor_seconds(const Cost& cost, const Peaks& peaks) {
  return std::max(flop_seconds(cost, peaks), byte_seconds(cost, peaks));
}

}  // namespace reelm::bench
