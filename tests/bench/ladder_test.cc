// The ladder: every rung computes the same model, and each switch changes what runs. Nothing here
// looks at how fast anything is.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "bench/ladder/climb.h"
#include "bench/ladder/preprocessing.h"
#include "bench/ladder/report.h"
#include "core/json.h"
#include "pipeline/convert.h"
#include "tests/bench/refusal.h"
#include "tests/support/compare.h"
#include "tests/support/scratch_dir.h"

namespace reelm::bench {
namespace {

using pipeline::Dtype;
using ::testing::HasSubstr;

constexpr const char* kTiny = "synthetic:tiny";
constexpr std::int64_t kSteps = 3;
constexpr std::int64_t kPrompt = 20;
const GridThw kGrid = {2, 4, 6};
constexpr std::int64_t kPatches = 2 * 4 * 6;

LadderModel tiny(Dtype dtype) {
  return {pipeline::make_synthetic_model(kTiny, {.decoder = dtype}),
          pipeline::synthetic_sizes(kTiny)};
}

pipeline::SyntheticSizes demo_sizes() {
  return {llm::qwen2_vl::load_decoder_config(REELM_DEMO_MODEL),
          vision::qwen2_vl::load_vision_config(REELM_DEMO_MODEL)};
}

LadderModel demo(Dtype dtype) {
  return {
      pipeline::open_model(REELM_DEMO_MODEL, {.dtypes = {.decoder = dtype},
                                              .packed_cache = pipeline::PackedCache::parse("off")}),
      demo_sizes()};
}

LadderOptions tiny_options() {
  LadderOptions out;
  out.work.grid = kGrid;
  out.work.prompt_tokens = kPrompt;
  out.work.new_tokens = kSteps;
  return out;
}

LadderWork work_of(const LadderModel& ladder, const LadderOptions& options) {
  return make_ladder_work(ladder.model(), ladder.sizes(), options, {});
}

std::vector<LadderRow> rows_of(LadderModel& ladder, const LadderWork& work) {
  std::vector<LadderRow> rows;
  climb(
      ladder, work, 0, 1, [](const LadderProgress&) {},
      [&](const LadderRow& row) { rows.push_back(row); });
  return rows;
}

/// The rungs in the model's own type differ by the order of sums and by where they round; int8
/// weights by their rounding, which must show.
void expect_agreement(LadderModel ladder, const LadderOptions& options, double bound) {
  for (const LadderRow& row : rows_of(ladder, work_of(ladder, options))) {
    const double found = row.max_relative_difference;
    SCOPED_TRACE(rung_name(row.rung));
    if (row.rung == kQuantisedRung) {
      EXPECT_GT(found, 1e-3);
      EXPECT_LT(found, 0.1);  // a weight of 8 bits is off by 1/254 of its group's largest
    } else {
      EXPECT_LE(found, bound);
    }
  }
}

// A rounding to f32 is 6e-8 and sums here have at most some 1,000 terms, rounded at random: 2e-6
// a layer at the worst, few of which add up.
constexpr double kF32Bound = 1e-5;
// A rounding to bf16 is 4e-3 of the number that is rounded. A sum in another order may turn one
// from here to there, in few of the products of many terms.
constexpr double kBF16Bound = 2e-2;

TEST(Ladder, RungsComputeTheSameInF32) {
  expect_agreement(tiny(Dtype::kF32), tiny_options(), kF32Bound);
}

TEST(Ladder, RungsComputeTheSameInBF16) {
  expect_agreement(tiny(Dtype::kBF16), tiny_options(), kBF16Bound);
}

TEST(Ladder, RungsComputeTheSameOfATrainedModel) {
  const std::optional<Sample> sample = find_sample(REELM_DEMO_MODEL, {});
  ASSERT_TRUE(sample);
  LadderOptions options;
  options.work.media = sample->media;
  options.work.new_tokens = kSteps;
  options.question = sample->question;
  expect_agreement(demo(Dtype::kF32), options, kF32Bound);
}

TEST(Ladder, TheLastButOneIsWhatShips) {
  LadderModel ladder = tiny(Dtype::kF32);
  const LadderWork work = work_of(ladder, tiny_options());
  const std::int64_t capacity = kPrompt + kSteps;
  std::vector<llm::TokenId> tokens = {1, 2, 3};
  const auto rung = ladder.rung(kShippedRung, capacity);
  const RungRun run = run_rung(*rung, ladder.model(), work, tokens);

  // The same by hand, with an encoder and a decoder that the ladder has not touched.
  const pipeline::Model model = pipeline::make_synthetic_model(kTiny, {.decoder = Dtype::kF32});
  const std::int64_t hidden = model.decoder->hidden_size();
  const std::int64_t vocabulary = model.decoder->vocab_size();
  std::vector<float> embeds(static_cast<std::size_t>(work.vision_tokens * hidden));
  const TensorView<float> rows(embeds.data(), {work.vision_tokens, hidden});
  for (std::int64_t t = 0; t < kGrid[0]; ++t) {
    const std::int64_t n = kPatches / kGrid[0], rows_each = work.vision_tokens / kGrid[0];
    const TensorView<const float> pixels(work.pixels.data() + t * n * model.vision->patch_dim(),
                                         {n, model.vision->patch_dim()});
    model.vision->encode({pixels, {1, kGrid[1], kGrid[2]}},
                         {rows.row(t * rows_each), {rows_each, hidden}}, nullptr);
  }
  llm::KvCache cache(model.decoder->kv_shape(), model.decoder->kv_type(), capacity);
  std::vector<float> logits(static_cast<std::size_t>((1 + kSteps) * vocabulary));
  model.decoder->prefill({work.prompt.ids, {work.prompt.positions.ids.data(), {3, kPrompt}}, rows},
                         cache, {logits.data(), {vocabulary}}, nullptr);
  for (std::int64_t i = 0; i < kSteps; ++i) {
    model.decoder->step(tokens[static_cast<std::size_t>(i)],
                        kPrompt + work.prompt.positions.rope_delta + i, cache,
                        {logits.data() + (1 + i) * vocabulary, {vocabulary}});
  }
  EXPECT_TRUE(testing::all_equal_bits(run.logits, logits));
}

/// Positions that all steps together attend to: n + 1, n + 2, ...
constexpr std::int64_t attended(std::int64_t n) {
  std::int64_t sum = 0;
  for (std::int64_t i = 1; i <= kSteps; ++i) sum += n + i;
  return sum;
}

/// What the plain form has to do, worked out from the sizes; allocations are not counted.
RungCounters plain_counters(const pipeline::SyntheticSizes& sizes) {
  const vision::TowerSizes& v = sizes.tower();
  const auto& d = sizes.decoder;
  RungCounters out;
  out.vision.mask_elements = v.depth * kPatches * kPatches;
  out.vision.score_elements = v.depth * v.num_heads * kPatches * kPatches;
  out.vision.rotary_tables = v.depth;
  out.vision.separate_adds = 2 * v.depth;
  out.decoder.mask_elements = kPrompt * kPrompt + attended(kPrompt);
  out.decoder.score_elements =
      d.num_hidden_layers * d.num_attention_heads * out.decoder.mask_elements;
  out.decoder.rotary_tables = d.num_hidden_layers * (1 + kSteps);
  out.decoder.separate_adds = 2 * d.num_hidden_layers * (1 + kSteps);
  // Keys and values in f32 of all positions before each step.
  out.decoder.cache_bytes_copied = d.num_hidden_layers * 2 * d.num_key_value_heads * d.head_dim *
                                   4 * (attended(kPrompt) - kSteps);
  out.decoder.logits_rows = kPrompt + kSteps;
  return out;
}

/// What switch number `rung` changes of that, and nothing else.
void apply_switch(int rung, const pipeline::SyntheticSizes& sizes, RungCounters& expected) {
  const std::int64_t layers = sizes.decoder.num_hidden_layers;
  const std::int64_t scores = layers * sizes.decoder.num_attention_heads;  // of a mask element
  Counters& decoder = expected.decoder;
  switch (rung) {
    case 1:
      decoder.mask_elements -= kPrompt * kPrompt;
      decoder.score_elements -= scores * kPrompt * kPrompt;
      break;
    case 2:
      decoder.rotary_tables = 1 + kSteps;
      break;
    case 3:
      decoder.separate_adds = expected.vision.separate_adds = 0;
      break;
    case 4:
      decoder.logits_rows = 1 + kSteps;
      break;
    case 5:
      expected.vision = {.rotary_tables = 1};
      break;
    case 6:
      decoder.cache_bytes_copied = 0;
      decoder.mask_elements = kSteps * (kPrompt + kSteps);  // the whole room, every step
      decoder.score_elements = scores * decoder.mask_elements;
      break;
    case 7:
      decoder.mask_elements = decoder.score_elements = 0;
      break;
    default:
      break;
  }
}

void expect_equal_work(Counters found, Counters expected) {
  EXPECT_GT(found.allocations, 0);
  found.allocations = expected.allocations = 0;
  EXPECT_EQ(found.mask_elements, expected.mask_elements);
  EXPECT_EQ(found.score_elements, expected.score_elements);
  EXPECT_EQ(found.rotary_tables, expected.rotary_tables);
  EXPECT_EQ(found.separate_adds, expected.separate_adds);
  EXPECT_EQ(found.cache_bytes_copied, expected.cache_bytes_copied);
  EXPECT_EQ(found.logits_rows, expected.logits_rows);
}

TEST(Ladder, EachSwitchChangesWhatRunsAndNothingElse) {
  LadderModel ladder = tiny(Dtype::kF32);
  const LadderWork work = work_of(ladder, tiny_options());
  std::vector<llm::TokenId> tokens;
  RungCounters expected = plain_counters(ladder.sizes());
  for (int number = 0; number < kShippedRung; ++number) {
    SCOPED_TRACE(rung_name(number));
    apply_switch(number, ladder.sizes(), expected);
    const auto rung = ladder.rung(number, kPrompt + kSteps);
    (void)run_rung(*rung, ladder.model(), work, tokens);
    expect_equal_work(rung->counters().vision, expected.vision);
    expect_equal_work(rung->counters().decoder, expected.decoder);
  }
}

TEST(Ladder, RowsComeInOrderWithTheTokensOfTheFirst) {
  LadderModel ladder = tiny(Dtype::kF32);
  const LadderWork work = work_of(ladder, tiny_options());
  std::vector<std::pair<int, int>> runs;
  std::vector<LadderRow> rows;
  climb(
      ladder, work, 6, 2, [&](const LadderProgress& p) { runs.emplace_back(p.turn, p.rung); },
      [&](const LadderRow& row) { rows.push_back(row); });
  EXPECT_THAT(runs, ::testing::ElementsAre(std::pair(0, 6), std::pair(0, 7), std::pair(0, 8),
                                           std::pair(0, 9), std::pair(1, 6), std::pair(1, 7),
                                           std::pair(1, 8), std::pair(1, 9)));
  ASSERT_EQ(rows.size(), 4u);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].rung, 6 + static_cast<int>(i));
    EXPECT_GT(rows[i].least_prompt_ms, 0.0);
    EXPECT_GT(rows[i].least_token_ms, 0.0);
    EXPECT_GE(rows[i].prompt_ms, rows[i].least_prompt_ms);
    EXPECT_GE(rows[i].token_ms, rows[i].least_token_ms);
    EXPECT_EQ(rows[i].gain.has_value(), i > 0);
  }
  EXPECT_EQ(rows[0].max_relative_difference, 0.0);  // its second turn too
}

TEST(Ladder, DifferenceIsOfTheLargestAndShowsNaN) {
  const auto buffer = [](std::initializer_list<float> values) {
    AlignedBuffer<float> out(values.size());
    std::copy(values.begin(), values.end(), out.begin());
    return out;
  };
  EXPECT_EQ(max_relative_difference(buffer({1, -4, 2}), buffer({1, -3, 2.5f})), 0.25);
  EXPECT_EQ(max_relative_difference(buffer({0, 0}), buffer({0, 0})), 0.0);
  EXPECT_TRUE(std::isnan(max_relative_difference(buffer({1, 2}), buffer({NAN, 2}))));
}

TEST(Ladder, WhatCannotBeClimbedIsNamed) {
  expect_refused([] { (void)tiny(Dtype::kInt8); }, ErrorCode::kInvalidArgument,
                 "starts from f32 or bf16 weights and ends with int8, found int8");
  const LadderModel ladder = tiny(Dtype::kF32);
  Limits limits;
  limits.request_bytes = 300'000;
  LadderOptions options = tiny_options();
  expect_refused([&] { (void)make_ladder_work(ladder.model(), ladder.sizes(), options, limits); },
                 ErrorCode::kLimit, "the ladder needs");
  options.work.prompt_tokens = 12;  // those of the grid alone
  expect_refused([&] { (void)work_of(ladder, options); }, ErrorCode::kInvalidArgument,
                 "--prompt-tokens is 12");
}

using LadderDirectory = testing::ScratchDirTest;

TEST_F(LadderDirectory, ConvertedWeightsCannotBeQuantisedAgain) {
  (void)pipeline::convert_model(REELM_DEMO_MODEL, dir_ / "converted");
  expect_refused([&] { LadderModel(pipeline::open_model(dir_ / "converted"), demo_sizes()); },
                 ErrorCode::kInvalidArgument, "was converted to bf16, --ladder needs");
}

TEST(LadderPreprocessing, BothFormsMakeTheSamePatches) {
  const LadderModel ladder = tiny(Dtype::kF32);
  for (const std::string& media : {std::string(), std::string(REELM_DEMO_MODEL "/sample.mp4")}) {
    SCOPED_TRACE(media);
    Workload workload = tiny_options().work;
    workload.media = media;
    workload.repeat = 2;
    const PreprocessingTimes times = measure_preprocessing(ladder.model(), workload, {});
    for (const double ms :
         {times.resize_ms, times.rescale_ms, times.normalise_ms, times.cut_ms, times.fused_ms}) {
      EXPECT_GT(ms, 0.0);
    }
    // (x / 255 - mean) / std against (x - 255 mean) / (255 std): four roundings of 6e-8 either way,
    // of numbers up to 4 once they are divided by std.
    EXPECT_GT(times.largest_patch_value, 0.5);
    EXPECT_LT(times.largest_patch_value, 4.0);
    EXPECT_LT(times.max_difference, 2e-6);
  }
}

TEST_F(LadderDirectory, ItsSampleIsFoundWhereThereIsOne) {
  EXPECT_FALSE(find_sample(dir_, {}));
  write("sample.json", R"({"clip": "a.mp4", "questions": [{"question": "Who?"}, {}]})");
  const std::optional<Sample> sample = find_sample(dir_, {});
  ASSERT_TRUE(sample);
  EXPECT_EQ(sample->media, (dir_ / "a.mp4").string());
  EXPECT_EQ(sample->question, "Who?");
  for (const char* bad :
       {R"({"questions": [{"question": "Who?"}]})", R"({"clip": "a.mp4"})",
        R"({"clip": "a.mp4", "questions": []})", R"({"clip": "a.mp4", "questions": [{}]})"}) {
    write("sample.json", bad);
    expect_refused([&] { (void)find_sample(dir_, {}); }, ErrorCode::kFormat,
                   (dir_ / "sample.json").string());
  }
}

TEST(LadderReport, Forms) {
  const LadderRow row = {.rung = 2,
                         .prompt_ms = 12.5,
                         .token_ms = 0.25,
                         .least_prompt_ms = 12,
                         .least_token_ms = 0.125,
                         .gain = 1.5,
                         .max_relative_difference = 1e-6};
  EXPECT_EQ(to_table(row),
            "(2) cos/sin once, fused rotary     |          12.50 |           0.250 |   1.50 | "
            "1.0e-06\n");
  EXPECT_EQ(to_csv(row), "rung,\"cos/sin once, fused rotary\",12.5,0.25,12,0.125,1.5,1e-06,\n");
  LadderRow first = row;
  first.gain.reset();
  first.max_relative_difference = NAN;
  PreprocessingTimes times;
  times.resize_ms = times.fused_ms = 2;
  times.rescale_ms = times.cut_ms = 1;
  times.normalise_ms = 4;
  EXPECT_EQ(times.gain(), 2.0);
  const Json json = parse_json(to_json(LadderFacts(), {first, row}, times), "ladder");
  EXPECT_TRUE(json["rungs"][0]["gain"].is_null());
  EXPECT_TRUE(json["rungs"][0]["max_relative_difference"].is_null());
  EXPECT_EQ(json["rungs"][1]["gain"], 1.5);
  EXPECT_EQ(json["preprocessing"]["separate"]["all_ms"], 8);
  EXPECT_EQ(json["preprocessing"]["fused"]["all_ms"], 4);
  EXPECT_TRUE(json["work"]["question"].is_null());
  EXPECT_THAT(to_csv(times), HasSubstr("fused,patches,,,,,,,2\n"));
}

}  // namespace
}  // namespace reelm::bench
