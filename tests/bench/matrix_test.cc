// The sweep and the per-token report: counts and sums. Nothing here looks at how fast anything is.
#include "bench/matrix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bench/per_token.h"
#include "core/error.h"
#include "core/json.h"
#include "pipeline/synthetic.h"
#include "tests/bench/refusal.h"

namespace reelm::bench {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Matrix, ListsAreReadOrRefused) {
  EXPECT_THAT(parse_list("32", "--inputs"), ElementsAre(32));
  EXPECT_THAT(parse_list("4,1,1000000", "--inputs"), ElementsAre(4, 1, 1'000'000));
  for (const char* bad : {"", ",", "1,", ",1", "1,,2", "0", "-1", "1;2", "1, 2", "x", "1.5", "+1",
                          "1000001", "99999999999999999999"}) {
    expect_refused([&] { (void)parse_list(bad, "--inputs"); }, ErrorCode::kInvalidArgument,
                   std::string("--inputs is '") + bad + "'");
  }
}

TEST(Matrix, WhatCannotFitIsNamedBeforeAnyWork) {
  const pipeline::Model model = pipeline::make_synthetic_model("synthetic:tiny");
  const std::int64_t longest = model.decoder->max_position_embeddings();
  Matrix matrix{.batches = {1, 3}, .inputs = {8, longest}, .outputs = {4}};
  expect_refused([&] { check_matrix(model, matrix, {}); }, ErrorCode::kInvalidArgument,
                 "batch 1, input " + std::to_string(longest) + ", output 4: ");
  matrix.inputs = {8, 16};
  check_matrix(model, matrix, {});
  matrix.batches = {1, model.decoder->prefill_rows() + 1};
  expect_refused([&] { check_matrix(model, matrix, {}); }, ErrorCode::kInvalidArgument,
                 "a step takes at most 512 sequences");
  // Room for what one sequence of 16 + 4 takes, and not for three.
  matrix.batches = {1, 3};
  const std::int64_t per_position =
      model.decoder->kv_shape().bytes_per_position(model.decoder->kv_type());
  Limits limits;
  limits.request_bytes = static_cast<std::int64_t>(model.decoder->workspace_bytes()) +
                         3 * 4 * model.decoder->vocab_size() + 3 * 19 * per_position;
  expect_refused([&] { check_matrix(model, matrix, limits); }, ErrorCode::kLimit,
                 "batch 3, input 16, output 4: needs");
}

TEST(Matrix, EveryCellComesOnceAndItsNumbersAgree) {
  pipeline::Model model = pipeline::make_synthetic_model("synthetic:tiny");
  const Matrix matrix{.batches = {1, 3}, .inputs = {5, 9}, .outputs = {1, 4}, .repeat = 2};
  std::vector<MatrixCell> cells;
  run_matrix(model, matrix, [&](const MatrixCell& cell) { cells.push_back(cell); });
  std::vector<std::vector<std::int64_t>> sizes;
  for (const MatrixCell& cell : cells) {
    sizes.push_back({cell.batch, cell.input, cell.output});
    EXPECT_GT(cell.first_token_ms, 0.0);
    EXPECT_GE(cell.response_ms, cell.first_token_ms);
    EXPECT_NEAR(
        cell.response_ms,
        cell.first_token_ms + cell.time_per_token_ms() * static_cast<double>(cell.output - 1),
        cell.output == 1 ? 1.0 : 1e-9);
  }
  EXPECT_EQ(
      sizes,
      (std::vector<std::vector<std::int64_t>>{
          {1, 5, 1}, {3, 5, 1}, {1, 5, 4}, {3, 5, 4}, {1, 9, 1}, {3, 9, 1}, {1, 9, 4}, {3, 9, 4}}));
}

TEST(Matrix, Line) {
  const MatrixCell cell{
      .batch = 2, .input = 30, .output = 11, .first_token_ms = 100, .response_ms = 200};
  EXPECT_EQ(to_csv(cell), "2,41,30,11,110.000,200.000,100.000,10.000\n");
}

PerToken sample_run() {
  return {.session_preprocess_ms = 7,
          .tokens = {{0.5, 10, 1, 12}, {0.25, 2, 0.5, 3}, {0.75, 4, 0.5, 6}}};
}

TEST(PerTokenReport, TotalsAndAverages) {
  const TokenTimes sum = total(sample_run().tokens);
  EXPECT_EQ(sum.input_generate, 1.5);
  EXPECT_EQ(sum.model, 16);
  EXPECT_EQ(sum.sampling, 2);
  EXPECT_EQ(sum.token, 21);
  const TokenTimes mean = average_of_increments(sample_run().tokens);
  EXPECT_EQ(mean.input_generate, 0.5);
  EXPECT_EQ(mean.model, 3);
  EXPECT_EQ(mean.sampling, 0.5);
  EXPECT_EQ(mean.token, 4.5);
  EXPECT_EQ(average_of_increments({{1, 1, 1, 3}}).token, 0);
}

TEST(PerTokenReport, Forms) {
  EXPECT_EQ(to_csv(sample_run()),
            "Token,InputGenerate(ms),ModelTime(ms),Sampling(ms),TokenTime(ms)\n"
            "SessionPreProcess,,,,7\n0,0.5,10,1,12\n1,0.25,2,0.5,3\n2,0.75,4,0.5,6\n"
            "total,1.5,16,2,21\naverage of the increments,0.5,3,0.5,4.5\n");
  EXPECT_THAT(to_table(sample_run()), HasSubstr("SessionPreProcess 7.000 ms"));
  const Json json = parse_json(to_json(sample_run()), "report");
  EXPECT_EQ(json["tokens"].size(), 3u);
  EXPECT_EQ(json["average_of_increments"]["token_ms"], 4.5);
}

}  // namespace
}  // namespace reelm::bench
