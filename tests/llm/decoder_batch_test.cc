// Several sequences in one step: the same logits as each has alone, whatever their lengths, the
// types of weights and caches, and the threads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "tests/llm/demo_decoder.h"
#include "tests/support/compare.h"

namespace reelm::llm::qwen2 {
namespace {

using kernels::ComputeType;

class DecoderBatch : public ::testing::TestWithParam<std::tuple<ComputeType, KvType>> {
 protected:
  void SetUp() override { decoder_ = demo_decoder(type()); }
  void TearDown() override { set_num_threads(0); }

  static ComputeType type() { return std::get<0>(GetParam()); }
  std::int64_t vocabulary() const { return decoder_->vocab_size(); }

  /// Sequence number i: a prompt of its own and of another length than its neighbours'. Mostly
  /// short, for the sanitizers' sake.
  static std::int64_t prompt_length(std::size_t i) {
    return i % 8 == 1 ? 70 : static_cast<std::int64_t>(i) % 11 + 1;
  }
  KvCache begun(std::size_t i, std::int64_t room) {
    const std::int64_t n = prompt_length(i);
    std::vector<TokenId> ids;
    std::vector<std::int64_t> positions;
    for (std::int64_t j = 0; j < n; ++j) {
      ids.push_back(
          static_cast<TokenId>((j * 37 + static_cast<std::int64_t>(i) * 101 + 11) % 1000));
    }
    for (std::int64_t j = 0; j < 3 * n; ++j) positions.push_back(j % n);
    KvCache cache(decoder_->kv_shape(), std::get<1>(GetParam()), n + room);
    decoder_->prefill({ids, {positions.data(), {3, n}}, {}}, cache, {}, nullptr);
    return cache;
  }
  std::vector<KvCache> begun_all(std::size_t batch, std::int64_t room) {
    std::vector<KvCache> caches;
    for (std::size_t i = 0; i < batch; ++i) caches.push_back(begun(i, room));
    return caches;
  }
  static std::vector<BatchRow> rows_of(std::vector<KvCache>& caches, std::size_t step) {
    std::vector<BatchRow> rows;
    for (std::size_t i = 0; i < caches.size(); ++i) {
      rows.push_back(
          {static_cast<TokenId>((step * 331 + i * 17 + 5) % 1000), caches[i].length(), &caches[i]});
    }
    return rows;
  }
  /// Logits of `steps` batched steps, [steps][batch][vocab_size].
  std::vector<float> together(std::size_t batch, std::size_t steps) {
    std::vector<KvCache> caches = begun_all(batch, static_cast<std::int64_t>(steps));
    const std::size_t step_size = batch * static_cast<std::size_t>(vocabulary());
    std::vector<float> logits(steps * step_size);
    for (std::size_t s = 0; s < steps; ++s) {
      decoder_->step_batch(rows_of(caches, s), {logits.data() + s * step_size,
                                                {static_cast<std::int64_t>(batch), vocabulary()}});
    }
    return logits;
  }
  /// The same, every sequence by itself.
  std::vector<float> alone(std::size_t batch, std::size_t steps) {
    std::vector<KvCache> caches = begun_all(batch, static_cast<std::int64_t>(steps));
    const auto size = static_cast<std::size_t>(vocabulary());
    std::vector<float> logits(steps * batch * size);
    for (std::size_t s = 0; s < steps; ++s) {
      const std::vector<BatchRow> rows = rows_of(caches, s);
      for (std::size_t i = 0; i < batch; ++i) {
        decoder_->step(rows[i].token, rows[i].position, *rows[i].cache,
                       {logits.data() + (s * batch + i) * size, {vocabulary()}});
      }
    }
    return logits;
  }
  std::vector<std::ptrdiff_t> best_tokens(const std::vector<float>& logits) const {
    std::vector<std::ptrdiff_t> out;
    for (auto row = logits.begin(); row != logits.end(); row += vocabulary()) {
      out.push_back(std::max_element(row, row + vocabulary()) - row);
    }
    return out;
  }
  /// What two orders of summation may differ by: that of decoder_test.cc. Where the cache is
  /// rounded to bf16, a key on the edge between two of its numbers may fall to either side, which
  /// is 2^-8 of it: oneDNN's products of 17 rows (AVX-512) did that to one, and moved logits by
  /// 5e-4 (with a cache of f32 the same run stays within 1e-4).
  static testing::Tolerance tolerance() {
    if (type() != ComputeType::kF32) return {0.15, 0.05};
    return std::get<1>(GetParam()) == KvType::kBF16 ? testing::Tolerance{1e-3, 1e-4}
                                                    : testing::Tolerance{1e-4, 1e-4};
  }

  std::unique_ptr<Decoder> decoder_;
};

// 13 and 17 rows: products of more than 12, and of more than oneDNN's 16, take other ways.
TEST_P(DecoderBatch, LogitsAreThoseOfEverySequenceAlone) {
  for (const std::size_t batch : {2, 13, 17}) {
    const std::vector<float> expected = alone(batch, 2), found = together(batch, 2);
    EXPECT_TRUE(testing::all_close(found, expected, tolerance())) << "batch of " << batch;
    EXPECT_EQ(best_tokens(found), best_tokens(expected)) << "batch of " << batch;
  }
}

TEST_P(DecoderBatch, OneRowIsAStep) {
  const std::vector<float> expected = alone(1, 3), found = together(1, 3);
  EXPECT_EQ(std::memcmp(found.data(), expected.data(), found.size() * sizeof(float)), 0);
}

TEST_P(DecoderBatch, AnyNumberOfThreadsGivesTheSameBits) {
  set_num_threads(1);
  const std::vector<float> expected = together(3, 2);
  for (const int threads : {2, 3, 8}) {
    set_num_threads(threads);
    const std::vector<float> found = together(3, 2);
    EXPECT_EQ(std::memcmp(found.data(), expected.data(), found.size() * sizeof(float)), 0)
        << threads << " threads";
  }
}

TEST_P(DecoderBatch, AFullCacheIsAnErrorThatNamesTheRowAndChangesNothing) {
  std::vector<KvCache> caches = begun_all(2, 2);
  caches.push_back(begun(2, 0));
  std::vector<float> logits(static_cast<std::size_t>(3 * vocabulary()));
  try {
    decoder_->step_batch(rows_of(caches, 0), {logits.data(), {3, vocabulary()}});
    FAIL() << "a batch with a full cache was taken";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kLimit);
    EXPECT_THAT(e.what(), ::testing::HasSubstr("row 2 of the batch: the KV cache is full"));
  }
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(caches[i].length(), prompt_length(i));
  // The others go on as if nothing had been.
  caches.pop_back();
  logits.resize(static_cast<std::size_t>(2 * vocabulary()));
  decoder_->step_batch(rows_of(caches, 0), {logits.data(), {2, vocabulary()}});
  EXPECT_EQ(logits, together(2, 1));
}

TEST_P(DecoderBatch, WhatIsNoBatchIsRefused) {
  std::vector<KvCache> caches = begun_all(2, 2);
  std::vector<float> logits(static_cast<std::size_t>(3 * vocabulary()));
  const auto refused = [&](const std::vector<BatchRow>& rows, std::int64_t n, std::int64_t width,
                           const char* says) {
    try {
      decoder_->step_batch(rows, {logits.data(), {n, width}});
      ADD_FAILURE() << "taken: " << says;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
      EXPECT_THAT(e.what(), ::testing::HasSubstr(says));
    }
  };
  const std::vector<BatchRow> good = rows_of(caches, 0);
  refused({}, 0, vocabulary(), "the batch has 0 rows, expected 1 to 512");
  refused(good, 3, vocabulary(), "logits must be 2x");
  refused(good, 2, vocabulary() - 1, "expected 1024");
  refused({good[0], good[0]}, 2, vocabulary(), "rows 0 and 1 of the batch share a KV cache");
  std::vector<BatchRow> bad = good;
  bad[1].token = static_cast<TokenId>(vocabulary());
  refused(bad, 2, vocabulary(), "outside the vocabulary");
  EXPECT_EQ(caches[0].length(), prompt_length(0));
}

// Each sequence has the cache it likes.
TEST_P(DecoderBatch, CachesOfTwoTypesAreTaken) {
  std::vector<KvCache> caches = begun_all(1, 1);
  KvCache other(decoder_->kv_shape(), KvType::kInt8, 1);
  const BatchRow rows[] = {rows_of(caches, 0)[0], {9, 0, &other}};
  std::vector<float> logits(static_cast<std::size_t>(2 * vocabulary()));
  decoder_->step_batch(rows, {logits.data(), {2, vocabulary()}});
  logits.resize(static_cast<std::size_t>(vocabulary()));
  EXPECT_TRUE(testing::all_close(logits, alone(1, 1), tolerance()));
}

INSTANTIATE_TEST_SUITE_P(
    Types, DecoderBatch,
    ::testing::Combine(::testing::Values(ComputeType::kF32, ComputeType::kBF16, ComputeType::kInt8,
                                         ComputeType::kInt4, ComputeType::kQ8_0,
                                         ComputeType::kQ4_0),
                       ::testing::Values(KvType::kF32, KvType::kBF16, KvType::kInt8)),
    [](const auto& instance) {
      return std::string(kernels::compute_type_name(std::get<0>(instance.param))) + "_kv_" +
             kv_type_name(std::get<1>(instance.param));
    });

}  // namespace
}  // namespace reelm::llm::qwen2
