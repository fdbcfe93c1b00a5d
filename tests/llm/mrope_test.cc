#include "llm/mrope.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"

namespace reelm::llm {
namespace {

constexpr TokenId kText = 1, kImage = 8, kVideo = 9;
constexpr VisionTokenIds kTokens = {kImage, kVideo};

std::vector<TokenId> prompt(std::initializer_list<std::pair<TokenId, int>> runs) {
  std::vector<TokenId> out;
  for (const auto& [id, count] : runs) out.insert(out.end(), static_cast<std::size_t>(count), id);
  return out;
}

using Positions = std::vector<std::int64_t>;

TEST(Mrope, TextCountsUpInAllParts) {
  const MropePositions p = mrope_positions(prompt({{kText, 3}}), {}, 2, kTokens);
  EXPECT_EQ(p.ids, (Positions{0, 1, 2, 0, 1, 2, 0, 1, 2}));
  EXPECT_EQ(p.rope_delta, 0);
}

TEST(Mrope, AVideoRunsOverTimeHeightAndWidth) {
  // The example of get_rope_index's documentation: 3 x 2 x 2 vision tokens, then text.
  const std::vector<VisionGrid> grids = {{{3, 4, 4}}};
  const MropePositions p =
      mrope_positions(prompt({{kText, 1}, {kVideo, 12}, {kText, 2}}), grids, 2, kTokens);
  const Positions t = {0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 5};
  const Positions h = {0, 1, 1, 2, 2, 1, 1, 2, 2, 1, 1, 2, 2, 4, 5};
  const Positions w = {0, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 4, 5};
  Positions expected = t;
  expected.insert(expected.end(), h.begin(), h.end());
  expected.insert(expected.end(), w.begin(), w.end());
  EXPECT_EQ(p.ids, expected);
  EXPECT_EQ(p.rope_delta, 6 - 15);
}

TEST(Mrope, TheInstalledRuleLooksAtTheSidesOnly) {
  const std::vector<VisionGrid> grids = {{{3, 4, 4}}};
  const MropePositions p = mrope_positions(prompt({{kVideo, 12}, {kText, 2}}), grids, 2, kTokens, 0,
                                           PositionRule::kInstalled);
  EXPECT_EQ(p.ids[12], 2);  // max(h, w) / 2, though the last frame is at 2 as well
  EXPECT_EQ(p.ids[13], 3);
  EXPECT_EQ(p.rope_delta, 4 - 14);
}

TEST(Mrope, MediaOfBothKindsFollowOneAnother) {
  const std::vector<VisionGrid> grids = {{{1, 2, 6}}, {{2, 2, 2}}};
  const MropePositions p =
      mrope_positions(prompt({{kImage, 3}, {kText, 1}, {kVideo, 2}}), grids, 2, kTokens, 10);
  const std::size_t n = 6;
  EXPECT_EQ(Positions(p.ids.begin(), p.ids.begin() + n), (Positions{10, 10, 10, 13, 14, 15}));
  EXPECT_EQ(Positions(p.ids.begin() + n, p.ids.begin() + 2 * n),
            (Positions{10, 10, 10, 13, 14, 14}));
  EXPECT_EQ(Positions(p.ids.begin() + 2 * n, p.ids.end()), (Positions{10, 11, 12, 13, 14, 14}));
  EXPECT_EQ(p.rope_delta, 16 - 10 - 6);
}

TEST(Mrope, AdjacentMediaOfOneKindAreTwo) {
  const std::vector<VisionGrid> grids = {{{1, 2, 4}}, {{1, 2, 4}}};
  const MropePositions p = mrope_positions(prompt({{kImage, 4}}), grids, 2, kTokens);
  EXPECT_EQ(Positions(p.ids.begin() + 8, p.ids.end()), (Positions{0, 1, 2, 3}));
}

TEST(Mrope, TimeRunsBySeconds) {
  // 2 positions a second, 1.7 seconds a temporal patch: at 0, 3.4, 6.8 and 10.2.
  const std::vector<VisionGrid> grids = {{{4, 2, 4}, time_interval(2.0, 1.7)}};
  const std::vector<TokenId> ids = prompt({{kText, 1}, {kVideo, 8}, {kText, 1}});
  const MropePositions paper = mrope_positions(ids, grids, 2, kTokens);
  EXPECT_EQ(Positions(paper.ids.begin(), paper.ids.begin() + 10),
            (Positions{0, 1, 1, 4, 4, 7, 7, 11, 11, 12}));
  EXPECT_EQ(paper.rope_delta, 13 - 10);
  const MropePositions installed =
      mrope_positions(ids, grids, 2, kTokens, 0, PositionRule::kInstalled);
  EXPECT_EQ(installed.ids[9], 3);  // behind the longer side
  EXPECT_EQ(installed.rope_delta, 12 - 10);
  EXPECT_EQ(time_interval(0.0, 1.7), 1.0f);  // a family that only counts
}

TEST(Mrope, TimesThatAreNoPositionsAreRefused) {
  const std::vector<TokenId> ids = prompt({{kVideo, 4}});
  for (const float interval : {1e30f, INFINITY, NAN, -1.0f}) {
    const std::vector<VisionGrid> grids = {{{2, 2, 4}, interval}};
    EXPECT_THROW(mrope_positions(ids, grids, 2, kTokens), Error) << interval;
  }
}

TEST(Mrope, RunsAndGridsMustMatch) {
  const std::vector<VisionGrid> grids = {{{1, 4, 4}}};
  EXPECT_THROW(mrope_positions(prompt({{kImage, 3}}), grids, 2, kTokens), Error);
  EXPECT_THROW(mrope_positions(prompt({{kImage, 5}}), grids, 2, kTokens), Error);
  EXPECT_THROW(mrope_positions(prompt({{kText, 5}}), grids, 2, kTokens), Error);
  EXPECT_THROW(mrope_positions(prompt({{kImage, 2}, {kText, 1}, {kImage, 2}}), grids, 2, kTokens),
               Error);
}

TEST(Mrope, SectionsTurnWithTheirPart) {
  const std::vector<float> inv_freq = rope_inv_freq(10000.0, 8);
  ASSERT_EQ(inv_freq.size(), 4u);
  EXPECT_FLOAT_EQ(inv_freq[0], 1.0f);
  EXPECT_FLOAT_EQ(inv_freq[2], 0.01f);
  const std::vector<std::int64_t> positions = {5, 7, 11};  // t, h, w of one token
  const std::vector<std::int64_t> section = {1, 1, 2};
  std::vector<float> cos(4), sin(4);
  mrope_table({positions.data(), {3, 1}}, inv_freq, section, {cos.data(), {1, 4}},
              {sin.data(), {1, 4}});
  const double parts[] = {5, 7, 11, 11};
  for (std::size_t j = 0; j < 4; ++j) {
    EXPECT_NEAR(cos[j], std::cos(parts[j] * inv_freq[j]), 1e-6) << j;
    EXPECT_NEAR(sin[j], std::sin(parts[j] * inv_freq[j]), 1e-6) << j;
  }
}

}  // namespace
}  // namespace reelm::llm
