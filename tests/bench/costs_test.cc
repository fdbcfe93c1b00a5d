// Operations and bytes, worked out by hand.
#include "bench/costs.h"

#include <gtest/gtest.h>

#include "pipeline/synthetic.h"

namespace reelm::bench {
namespace {

const Formats kF32 = {4, 4, 4, 4};

Cost find(const StageCosts& costs, const std::string& stage) {
  for (const auto& [name, cost] : costs) {
    if (name == stage) return cost;
  }
  ADD_FAILURE() << "no stage " << stage;
  return {};
}

/// Parts of a stage add up to it.
void expect_sum(const StageCosts& costs, const std::string& stage) {
  Cost sum;
  for (const auto& [name, cost] : costs) {
    if (!name.starts_with(stage + ".")) continue;
    sum.flop += cost.flop;
    sum.bytes += cost.bytes;
  }
  EXPECT_DOUBLE_EQ(find(costs, stage).flop, sum.flop);
  EXPECT_DOUBLE_EQ(find(costs, stage).bytes, sum.bytes);
}

// embed_dim 4, 2 heads of 2, MLP 8, patches of 3*2*2*2 = 24 values, 2x2 merged to 6 wide; 8
// patches.
vision::qwen2_vl::VisionConfig small_vision() {
  vision::qwen2_vl::VisionConfig config;
  config.depth = 3;
  config.embed_dim = 4;
  config.num_heads = 2;
  config.hidden_size = 6;
  config.patch_size = 2;
  config.intermediate_size = 8;
  return config;
}

TEST(Costs, Vision) {
  const StageCosts costs = vision_costs(small_vision(), {1, 2, 4}, kF32);
  EXPECT_EQ(find(costs, "vit.patch_embed").flop, 2 * 8 * 24 * 4);
  EXPECT_EQ(find(costs, "vit.patch_embed").bytes, 4 * (24 * 4 + 8 * 24 + 8 * 4));
  EXPECT_EQ(find(costs, "vit.qkv").flop, 3 * 2 * 8 * 4 * 12);
  EXPECT_EQ(find(costs, "vit.qkv").bytes, 3 * 4 * (4 * 12 + 8 * 4 + 8 * 12));
  EXPECT_EQ(find(costs, "vit.rotary").flop, 3 * 3 * 8 * 8);  // q and k, 3 operations an element
  EXPECT_EQ(find(costs, "vit.attention").flop, 3 * 4 * 8 * 8 * 4);
  EXPECT_EQ(find(costs, "vit.attention").bytes, 3 * 4 * (3 * 8 * 4 + 8 * 4));
  EXPECT_EQ(find(costs, "vit.proj").flop, 3 * 2 * 8 * 4 * 4);
  EXPECT_EQ(find(costs, "vit.proj").bytes, 3 * 4 * (4 * 4 + 8 * 4 + 2 * 8 * 4));
  EXPECT_EQ(find(costs, "vit.mlp").flop, 3 * 2 * 8 * (4 * 8 + 8 * 4));
  EXPECT_EQ(find(costs, "vit.mlp").bytes, 3 * 4 * (2 * 4 * 8 + 3 * 8 * 4));
  EXPECT_EQ(find(costs, "vit.norm").bytes, 6 * 4 * 2 * 8 * 4);
  EXPECT_EQ(find(costs, "vit.merger").flop, 8 * 8 * 4 + 2 * 2 * (16 * 16 + 16 * 6));
  expect_sum(costs, "vit");
  // Slices do not attend to one another: twice the slices, twice everything.
  const StageCosts twice = vision_costs(small_vision(), {2, 2, 4}, kF32);
  EXPECT_EQ(find(twice, "vit").flop, 2 * find(costs, "vit").flop);
}

// The sizes of small_vision with windows of 2 x 2 groups, 4 x 4 patches; the last of 3 blocks sees
// all.
TEST(Costs, VisionWithWindows) {
  vision::qwen2_5_vl::VisionConfig config;
  static_cast<vision::TowerSizes&>(config) = small_vision();
  config.window_size = 8;
  config.fullatt_block_indexes = {2};
  const StageCosts costs = vision_costs(config, {1, 4, 6}, kF32);
  // 24 patches: windows of 16 and 8.
  EXPECT_EQ(find(costs, "vit.attention").flop, (2 * (16 * 16 + 8 * 8) + 24 * 24) * 4 * 4);
  EXPECT_EQ(find(costs, "vit.attention").bytes, 3 * 4 * (3 * 24 * 4 + 24 * 4));
  EXPECT_EQ(find(costs, "vit.mlp").flop, 3 * 2 * 24 * (2 * 4 * 8 + 8 * 4));
  EXPECT_EQ(find(costs, "vit.mlp").bytes, 3 * 4 * (3 * 4 * 8 + 3 * 24 * 4));
  EXPECT_EQ(find(costs, "vit.norm").flop, 6 * 4 * 24 * 4);
  expect_sum(costs, "vit");
}

// The sizes of small_vision with learned positions and features of two blocks.
TEST(Costs, VisionWithDeepstack) {
  vision::qwen3_vl::VisionConfig config;
  static_cast<vision::TowerSizes&>(config) = small_vision();
  config.deepstack_visual_indexes = {0, 2};
  const StageCosts costs = vision_costs(config, {1, 2, 4}, kF32);
  EXPECT_EQ(find(costs, "vit.patch_embed").flop, 2 * 8 * 24 * 4 + 8 * 8 * 4);
  EXPECT_EQ(find(costs, "vit.patch_embed").bytes, 4 * (24 * 4 + 8 * 24 + 8 * 4 + 2 * 8 * 4));
  EXPECT_EQ(find(costs, "vit.merger").flop, 3 * (8 * 8 * 4 + 2 * 2 * (16 * 16 + 16 * 6)));
  EXPECT_EQ(find(costs, "vit.attention").flop, 3 * 4 * 8 * 8 * 4);
  expect_sum(costs, "vit");
}

// hidden 8, 4 heads of 2 over 2 kv heads, MLP 16, 3 layers, 10 tokens in the vocabulary.
llm::qwen2_vl::DecoderConfig small_decoder() {
  llm::qwen2_vl::DecoderConfig config;
  config.hidden_size = 8;
  config.intermediate_size = 16;
  config.num_hidden_layers = 3;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 2;
  config.vocab_size = 10;
  return config;
}

// Norms of heads: 4 operations an element of queries and keys, 12 wide, in every layer.
TEST(Costs, NormsOfHeads) {
  llm::qwen2_vl::DecoderConfig config = small_decoder();
  const double without = find(prefill_costs(config, 5, kF32), "prefill.norm").flop;
  config.qk_norm = true;
  EXPECT_EQ(find(prefill_costs(config, 5, kF32), "prefill.norm").flop, without + 3 * 4 * 5 * 12);
}

TEST(Costs, Prefill) {
  const StageCosts costs = prefill_costs(small_decoder(), 5, {2, 2, 4});
  EXPECT_EQ(find(costs, "merge").bytes, 5 * 8 * (4 + 4));
  EXPECT_EQ(find(costs, "prefill.qkv").flop, 3 * 2 * 5 * 8 * 16);
  EXPECT_EQ(find(costs, "prefill.qkv").bytes, 3 * (8 * 16 * 2 + 5 * (8 + 16) * 4));
  EXPECT_EQ(find(costs, "prefill.kv_write").bytes, 3 * 5 * 8 * (4 + 2));
  // Two layers of 1 + 2 + 3 + 4 + 5 pairs, one where the last row attends to 5.
  EXPECT_EQ(find(costs, "prefill.attention").flop, (2 * 15 + 5) * 4 * 8);
  EXPECT_EQ(find(costs, "prefill.o_proj").flop, (2 * 5 + 1) * 2 * 8 * 8);
  EXPECT_EQ(find(costs, "prefill.mlp").flop, (2 * 5 + 1) * 2 * 3 * 8 * 16);
  EXPECT_EQ(find(costs, "prefill.mlp").bytes, 3 * 3 * 8 * 16 * 2 + (2 * 5 + 1) * 2 * 8 * 4);
  EXPECT_EQ(find(costs, "prefill.lm_head").flop, 2 * 8 * 10);
  EXPECT_EQ(find(costs, "prefill.norm").bytes, 5 * 2 * 8 * 4 + 2 * (2 * 5 + 1) * 4 * 8 * 4);
  expect_sum(costs, "prefill");
}

TEST(Costs, Decode) {
  const StageCosts costs = decode_costs(small_decoder(), 7, {2, 2, 4, 2});
  EXPECT_EQ(find(costs, "decode_token.attention").flop, 3 * 4 * 7 * 8);
  EXPECT_EQ(find(costs, "decode_token.attention").bytes, 3 * (2 * 8 * 4 + 2 * 7 * 4 * 2));
  EXPECT_EQ(find(costs, "decode_token.lm_head").bytes, 8 * 10 * 2 + (8 + 10) * 4);
  expect_sum(costs, "decode_token");
}

// What docs/performance.md and others say of the real model.
TEST(Costs, Qwen2Vl2b) {
  const auto sizes = pipeline::synthetic_sizes("synthetic:qwen2-vl-2b");
  const Formats bf16 = {2, 2, 2, 2};
  // 32 blocks of 19.66 M weights and 4 * n^2 * 1280 of attention, n = 1196; embedding and merger.
  const auto& vision = std::get<vision::qwen2_vl::VisionConfig>(sizes.vision);
  EXPECT_NEAR(find(vision_costs(vision, {1, 26, 46}, bf16), "vit").flop, 1.764e12, 0.002e12);
  // 28 layers of 46.8 M weights and a head of 233 M, 2 bytes each: 3.09 GB a token.
  EXPECT_NEAR(find(decode_costs(sizes.decoder, 1, bf16), "decode_token").bytes, 3.09e9, 0.01e9);
  // int4: 1.31 G weights of 4.625 bits, the head in 8.125: 0.99 GB.
  const Formats int4 = {4.625 / 8, 2, 2, 8.125 / 8};
  EXPECT_NEAR(find(decode_costs(sizes.decoder, 1, int4), "decode_token").bytes, 0.99e9, 0.01e9);
  EXPECT_NEAR(find(prefill_costs(sizes.decoder, 512, bf16), "prefill").flop, 1.335e12, 0.04e12);
}

TEST(Costs, Qwen2Text) {
  // 494 M parameters are published of Qwen2-0.5B, embeddings counted once; each is read a token.
  const auto sizes = pipeline::synthetic_sizes("synthetic:qwen2-0.5b");
  EXPECT_NEAR(find(decode_costs(sizes.decoder, 1, {2, 2, 2, 2}), "decode_token").bytes, 0.988e9,
              0.005e9);
}

TEST(Costs, Qwen7b) {
  // 7.72 G parameters are published, of which a token reads all but the 622 M of the embeddings.
  const auto sizes = pipeline::synthetic_sizes("synthetic:qwen-7b");
  EXPECT_NEAR(find(decode_costs(sizes.decoder, 1, {2, 2, 2, 2}), "decode_token").bytes, 14.2e9,
              0.05e9);
}

TEST(Costs, ChatGlm) {
  const DecoderWork work = decoder_work("chatglm");
  const StageCosts prefill = prefill_costs(small_decoder(), 5, {2, 2, 4}, work);
  // Four rows see four, the last all five.
  EXPECT_EQ(find(prefill, "prefill.attention").flop, (2 * (4 * 4 + 5) + 5) * 4 * 8);
  EXPECT_EQ(find(prefill, "prefill.mlp").flop, (2 * 5 + 1) * 2 * 2 * 8 * 16);
  EXPECT_EQ(find(prefill, "prefill.mlp").bytes, 3 * 2 * 8 * 16 * 2 + (2 * 5 + 1) * 3 * 8 * 4);
  EXPECT_EQ(find(prefill, "prefill.o_proj").bytes, 3 * 8 * 8 * 2 + (2 * 5 + 1) * 3 * 8 * 4);
  // Before each half of a layer: one element read, two written; behind the last: one and one.
  EXPECT_EQ(find(prefill, "prefill.norm").bytes, (3 * 5 + 2 * 5 + 1) * 3 * 8 * 4 + 2 * 8 * 4);
  expect_sum(prefill, "prefill");
  // 6.71 G parameters (13.4 GB in f16), of which a token reads all but the 535 M of the embeddings.
  const auto sizes = pipeline::synthetic_sizes("synthetic:chatglm-6b");
  EXPECT_EQ(sizes.decoder_kind, "chatglm");
  EXPECT_NEAR(find(decode_costs(sizes.decoder, 1, {2, 2, 2, 2}, work), "decode_token").bytes,
              12.35e9, 0.05e9);
}

TEST(Costs, ChatGlm2) {
  // 6.24 G parameters are published, of which a token reads all but the 266 M of the embeddings.
  const auto sizes = pipeline::synthetic_sizes("synthetic:chatglm2-6b");
  EXPECT_NEAR(find(decode_costs(sizes.decoder, 1, {2, 2, 2, 2}), "decode_token").bytes, 11.95e9,
              0.05e9);
}

TEST(Costs, Frames) {
  FrameSizes sizes;
  sizes.decoded = 10;
  sizes.taken = 2;
  sizes.source_height = 8;
  sizes.source_width = 16;
  sizes.height = 4;
  sizes.width = 16;
  const StageCosts costs = frame_costs(sizes);
  EXPECT_EQ(find(costs, "decode").bytes, 10 * 8 * 16 * 1.5);
  EXPECT_EQ(find(costs, "convert").bytes, 2 * 8 * 16 * 4.5);
  // Across stays; down shrinks by 2, so 8 taps.
  EXPECT_EQ(find(costs, "resize").flop, 2 * (2 * 3 * 4 * 16 * 8));
  EXPECT_EQ(find(costs, "patchify").bytes, 2 * 4 * 16 * 3 * 5);
}

TEST(Costs, Floor) {
  EXPECT_EQ(floor_seconds({100, 10}, {50, 25, 1}), 10);
  EXPECT_EQ(floor_seconds({100, 10}, {5, 25, 1}), 20);
  // 40 of the operations are attention's, at its own rate.
  EXPECT_EQ(floor_seconds({100, 10, Unit::kMatrix, 40}, {10, 2, 1}), 26);
  EXPECT_EQ(floor_seconds({0, 0}, {5, 5, 1}), 0);
}

}  // namespace
}  // namespace reelm::bench
