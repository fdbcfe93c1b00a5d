// What the goldens of ChatGLM2 do not show: its rotary embedding channel by channel, prompts in
// pieces, wrong weights.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "core/error.h"
#include "kernels/isa.h"
#include "kernels/reference/reference.h"
#include "kernels/rotary.h"
#include "llm/chatglm2/decoder.h"
#include "llm/chatglm2/rotary.h"
#include "tests/support/compare.h"
#include "tests/support/random_model.h"
#include "tests/support/scratch_dir.h"

namespace reelm::llm::chatglm2 {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

/// Channels of one head, turned as apply_rotary_pos_emb of modeling_chatglm.py does; in f64, as the
/// oracle of the kernels does.
std::vector<float> turned_as_published(const std::vector<float>& head, std::span<const float> cos,
                                       std::span<const float> sin) {
  std::vector<float> out = head;
  for (std::size_t j = 0; j < head.size() / 4; ++j) {
    const double a = head[2 * j], b = head[2 * j + 1], c = cos[j], s = sin[j];
    out[2 * j] = static_cast<float>(a * c - b * s);
    out[2 * j + 1] = static_cast<float>(b * c + a * s);
  }
  return out;
}

DecoderConfig rotary_config(std::int64_t head_dim, double divisor = 1.0) {
  DecoderConfig out;
  out.decoder.head_dim = head_dim;
  out.decoder.rope_theta = 1e4;
  out.position_divisor = divisor;
  return out;
}

/// cos and sin [1, head_dim / 2] at a position.
std::pair<std::vector<float>, std::vector<float>> table_at(const DecoderConfig& config,
                                                           std::int64_t position) {
  const std::int64_t half = config.decoder.head_dim / 2;
  const std::vector<std::int64_t> ids(3, position);
  std::pair<std::vector<float>, std::vector<float>> out;
  out.first.resize(static_cast<std::size_t>(half));
  out.second.resize(static_cast<std::size_t>(half));
  KvCache* const cache = nullptr;
  HalfRotaryEncoding(config).table({ids.data(), {3, 1}}, {&cache, 1}, {out.first.data(), {1, half}},
                                   {out.second.data(), {1, half}});
  return out;
}

TEST(ChatGlm2Rotary, AnglesAreThoseOfHalfAHeadThenNone) {
  const auto [cos, sin] = table_at(rotary_config(16), 7);
  for (std::size_t j = 0; j < 8; ++j) {
    const double angle = j < 4 ? 7.0 / std::pow(1e4, static_cast<double>(2 * j) / 8.0) : 0.0;
    EXPECT_NEAR(cos[j], std::cos(angle), 1e-6) << j;
    EXPECT_NEAR(sin[j], std::sin(angle), 1e-6) << j;
    if (j < 4) continue;
    EXPECT_EQ(cos[j], 1.0f);
    EXPECT_EQ(sin[j], 0.0f);
  }
  const auto [divided, unused] = table_at(rotary_config(16, 4.0), 28);
  EXPECT_TRUE(testing::all_close(divided, cos, {1e-6, 1e-6}));
}

TEST(ChatGlm2Rotary, EveryChannelHasOnePlace) {
  std::vector<std::int64_t> order = channel_order(12);
  EXPECT_EQ(order, (std::vector<std::int64_t>{0, 2, 4, 6, 7, 8, 1, 3, 5, 9, 10, 11}));
  std::sort(order.begin(), order.end());
  std::vector<std::int64_t> all(12);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(order, all);
}

TEST(ChatGlm2Rotary, TurnsChannelsInTheirNewPlacesAsPublished) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  for (const std::int64_t head_dim : {4, 8, 20, 64, 128}) {
    const auto [cos, sin] = table_at(rotary_config(head_dim), 123);
    std::vector<float> head(static_cast<std::size_t>(head_dim));
    for (float& x : head) x = normal(random);
    const std::vector<float> published = turned_as_published(head, cos, sin);
    const std::vector<std::int64_t> order = channel_order(head_dim);
    std::vector<float> moved, expected;
    for (const std::int64_t channel : order) {
      moved.push_back(head[static_cast<std::size_t>(channel)]);
      expected.push_back(published[static_cast<std::size_t>(channel)]);
    }
    const TensorView<const float> c(cos.data(), {1, head_dim / 2});
    const TensorView<const float> s(sin.data(), {1, head_dim / 2});
    std::vector<float> plain = moved;
    kernels::reference::rotary({plain.data(), {1, 1, head_dim}}, c, s);
    EXPECT_EQ(plain, expected) << head_dim;  // bit for bit
    for (const kernels::Isa isa : kernels::supported_isas()) {
      kernels::set_active_isa(isa);
      std::vector<float> found = moved;
      kernels::rotary({found.data(), {1, 1, head_dim}}, c, s);
      EXPECT_TRUE(testing::all_close(found, expected, {1e-6, 1e-6}));
      for (std::size_t i = 0; i < order.size(); ++i) {  // those that do not turn: bit for bit
        if (order[i] >= head_dim / 2) {
          EXPECT_EQ(found[i], expected[i]);
        }
      }
    }
    kernels::set_active_isa(kernels::supported_isas().back());
  }
}

class ChatGlm2DecoderTest : public testing::ScratchDirTest {
 protected:
  static constexpr testing::Tolerance kOrderOfSums = {1e-4, 1e-4};

  void SetUp() override {
    ScratchDirTest::SetUp();
    test::write_random_model(dir_, "chatglm2_heads4_bf16");
    config_ = load_decoder_config(dir_);
  }
  std::unique_ptr<Decoder> make() const {
    return make_decoder(
        config_, layers::WeightReader(std::make_shared<const Checkpoint>(Checkpoint::open(dir_))),
        kernels::ComputeType::kF32);
  }
  std::string error() const {
    try {
      (void)make();
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }

  DecoderConfig config_;
};

TEST_F(ChatGlm2DecoderTest, PiecesAreTheWholePrompt) {
  const auto decoder = make();
  const std::int64_t vocabulary = decoder->vocab_size();
  std::vector<TokenId> ids(70);
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<TokenId>((i * 37 + 11) % 600);
  const auto prefill = [&](std::size_t first, std::size_t n, KvCache& kv) {
    std::vector<std::int64_t> p;
    for (int part = 0; part < 3; ++part) {
      for (std::size_t i = 0; i < n; ++i) p.push_back(static_cast<std::int64_t>(first + i));
    }
    std::vector<float> logits(static_cast<std::size_t>(vocabulary));
    decoder->prefill(
        {std::span(ids).subspan(first, n), {p.data(), {3, static_cast<std::int64_t>(n)}}, {}}, kv,
        {logits.data(), {vocabulary}}, nullptr);
    return logits;
  };
  KvCache whole(decoder->kv_shape(), KvType::kF32, 128),
      pieces = KvCache(decoder->kv_shape(), KvType::kF32, 128);
  const std::vector<float> expected = prefill(0, 70, whole);
  (void)prefill(0, 33, pieces);
  EXPECT_TRUE(testing::all_close(prefill(33, 37, pieces), expected, kOrderOfSums));
}

TEST_F(ChatGlm2DecoderTest, WeightsThatDoNotFitAreNamed) {
  config_.decoder.num_hidden_layers = 4;
  EXPECT_THAT(error(), AllOf(HasSubstr("transformer.encoder.layers.3.input_layernorm.weight"),
                             HasSubstr(dir_.string())));
  config_.decoder.num_hidden_layers = 3;
  config_.decoder.intermediate_size = 96;
  EXPECT_THAT(error(), AllOf(HasSubstr("layers.0.mlp.dense_h_to_4h.weight"), HasSubstr("176"),
                             HasSubstr("192")));
  config_.decoder.intermediate_size = 88;
  config_.decoder.num_key_value_heads = 4;
  EXPECT_THAT(error(), AllOf(HasSubstr("layers.0.self_attention.query_key_value.bias"),
                             HasSubstr("128"), HasSubstr("192")));
}

}  // namespace
}  // namespace reelm::llm::chatglm2
