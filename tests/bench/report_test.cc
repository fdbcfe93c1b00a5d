#include "bench/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "bench/ceilings/ceilings.h"
#include "bench/plot.h"
#include "core/error.h"
#include "core/json.h"
#include "pipeline/engine.h"
#include "pipeline/synthetic.h"

namespace reelm::bench {
namespace {

using ::testing::HasSubstr;

Ceilings ceilings() {
  Ceilings out;
  out.f32.rate = 100;
  out.bf16.rate = 200;
  out.int8.rate = 400;
  out.read.rate = 10;
  return out;
}

Report sample_report() {
  Measured measured;
  measured.stages = {{"open", {3, 1, 2}}, {"vit", {20, 10}}, {"vit.norm", {4}}};
  measured.costs = {{"vit", {1e9, 1e6, Unit::kMatrix}}, {"vit.norm", {1e6, 1e7, Unit::kF32}}};
  Report report;
  report.ceilings = ceilings();
  report.rows =
      make_rows(measured, report.ceilings, {pipeline::Dtype::kBF16, pipeline::Dtype::kBF16});
  report.grid = {1, 2, 2};
  report.new_tokens = 1;
  return report;
}

TEST(Report, Median) {
  EXPECT_EQ(median({}), 0);
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 2, 3}), 2.5);
}

TEST(Report, RowsAgainstTheCeilingThatBounds) {
  const std::vector<Row> rows = sample_report().rows;
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].median_ms, 2);
  EXPECT_EQ(rows[0].min_ms, 1);
  EXPECT_EQ(rows[0].max_ms, 3);
  EXPECT_FALSE(rows[0].percent_of_ceiling);
  // 1 GFLOP at 200 GFLOP/s are 5 ms of 15.
  EXPECT_NEAR(*rows[1].percent_of_ceiling, 100.0 / 3, 1e-9);
  EXPECT_EQ(rows[1].rate_unit, "GFLOP/s");
  EXPECT_NEAR(rows[1].rate, 1e3 / 15, 1e-9);
  // 10 MB at 10 GB/s are 1 ms of 4.
  EXPECT_NEAR(*rows[2].percent_of_ceiling, 25, 1e-9);
  EXPECT_EQ(rows[2].rate_unit, "GB/s");
}

TEST(Report, Forms) {
  Report report = sample_report();
  report.media = "clip \xff\".mp4";
  const Json json = parse_json(to_json(report), "report");
  EXPECT_EQ(json["stages"].size(), 3u);
  EXPECT_TRUE(json["stages"][0]["percent_of_ceiling"].is_null());
  EXPECT_TRUE(json["totals"]["load_cold_ms"].is_null());
  EXPECT_THAT(to_table(report), HasSubstr("  norm"));
  EXPECT_THAT(to_csv(report), HasSubstr("\nvit,15,10,20,"));
  const std::vector<std::byte> png = plot_png(report);
  ASSERT_GT(png.size(), 1000u);
  EXPECT_EQ(std::memcmp(png.data(), "\x89PNG", 4), 0);
  report.rows.clear();  // nothing to draw is no reason to fail
  EXPECT_GT(plot_png(report).size(), 100u);
}

TEST(Ceilings, AreMeasured) {
  const Ceilings found = measure_ceilings(0.05, 1 << 20);
  for (const Ceiling& c : {found.bf16, found.int8, found.f32, found.read}) {
    EXPECT_GT(c.rate, 0);
    EXPECT_FALSE(c.loop.empty());
  }
  const Ceilings best = best_of(found, ceilings());
  EXPECT_GE(best.read.rate, found.read.rate);
  EXPECT_GE(best.read.rate, 10);
}

TEST(Synthetic, SeedDecidesWeights) {
  const auto weights = [](std::uint64_t seed) {
    const auto model = pipeline::make_synthetic_model("synthetic:tiny", {}, seed);
    const StoredTensor* tensor = model.checkpoint->find("visual.merger.mlp.2.weight");
    return std::vector<std::byte>(tensor->bytes.begin(), tensor->bytes.end());
  };
  EXPECT_EQ(weights(1), weights(1));
  EXPECT_NE(weights(1), weights(2));
}

TEST(Synthetic, Answers) {
  pipeline::Engine engine(pipeline::make_synthetic_model("synthetic:tiny"), {});
  auto request = pipeline::Request::question({}, "hello");
  request.generation.max_new_tokens = 6;
  EXPECT_EQ(engine.ask(request).token_ids.size(), 6u);  // nothing ends it early
}

TEST(Synthetic, SizesAndMemory) {
  const auto small = pipeline::synthetic_sizes("synthetic:qwen2-vl-2b");
  EXPECT_EQ(small.decoder.head_dim, 128);
  EXPECT_THAT(small.decoder.mrope_section, ::testing::ElementsAre(16, 24, 24));
  EXPECT_EQ(small.decoder.vision_tokens.image, 151655);
  EXPECT_EQ(small.decoder.vision_tokens.video, 151656);
  const auto large = pipeline::synthetic_sizes("synthetic:qwen2-vl-7b");
  EXPECT_EQ(large.decoder.head_dim, 128);
  EXPECT_EQ(large.tower().hidden_size, 3584);
  EXPECT_FALSE(large.decoder.tie_word_embeddings);
  const auto windows = pipeline::synthetic_sizes("synthetic:qwen2.5-vl-3b");
  const auto& tower = std::get<vision::qwen2_5_vl::VisionConfig>(windows.vision);
  EXPECT_EQ(windows.decoder.head_dim, 128);
  EXPECT_EQ(tower.hidden_size, 2048);
  EXPECT_EQ(tower.head_dim(), 80);
  EXPECT_EQ(tower.intermediate_size, 3420);
  EXPECT_EQ(pipeline::synthetic_sizes("synthetic:qwen2.5-vl-7b").tower().hidden_size, 3584);
  const auto text = pipeline::synthetic_sizes("synthetic:qwen2-0.5b");
  EXPECT_EQ(text.decoder.head_dim, 64);
  EXPECT_THAT(text.decoder.mrope_section, ::testing::ElementsAre(32, 0, 0));
  EXPECT_EQ(text.decoder.vision_tokens.image, -1);
  EXPECT_FALSE(text.has_vision);
  const std::int64_t available = pipeline::available_memory_bytes();
  if (available == 0 || available > std::int64_t{30} << 30) return;
  try {
    (void)pipeline::make_synthetic_model("synthetic:qwen2-vl-7b",
                                         {pipeline::Dtype::kF32, pipeline::Dtype::kF32});
    FAIL() << "31 GB fit into less than 30";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kOutOfMemory);
    EXPECT_THAT(e.what(), HasSubstr("MB"));
  }
}

}  // namespace
}  // namespace reelm::bench
