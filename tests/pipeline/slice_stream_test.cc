// Reading ahead, with a scripted source: order, memory, errors, ends.
#include "pipeline/slice_stream.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

#include "core/error.h"
#include "core/parallel.h"

namespace reelm::pipeline {
namespace {

/// Slice k holds k. Remembers who read and which buffers were used.
class ScriptedSource final : public SliceSource {
 public:
  ScriptedSource(std::int64_t size, const CancelToken* cancel) : size_(size), cancel_(cancel) {}

  std::int64_t size() const override { return size_; }
  bool next(Slice& slice) override {
    if (read == fail_at) throw Error(ErrorCode::kFormat, "scripted failure");
    while (read == hang_at) {  // a source that never comes to an end of its own
      hangs = true;
      cancel_->check();
      std::this_thread::yield();
    }
    if (read == size_) return false;
    slice.pixels.reserve(100);
    buffers.insert(slice.pixels.data());
    readers.insert(std::this_thread::get_id());
    slice.pixels[0] = static_cast<float>(read++);
    slice.patches = {{slice.pixels.data(), {1, 100}}, {1, 1, 1}};
    return true;
  }

  std::int64_t fail_at = -1, hang_at = -1;
  std::atomic<bool> hangs{false};
  std::atomic<std::int64_t> read{0};
  std::set<const float*> buffers;  // to be looked at when the stream is gone
  std::set<std::thread::id> readers;

 private:
  std::int64_t size_;
  const CancelToken* cancel_;
};

class SliceStreamTest : public ::testing::TestWithParam<bool> {
 protected:
  CancelToken request_;
  CancelToken stop_{&request_};
};

TEST_P(SliceStreamTest, GivesAllSlicesInOrderInRecycledBuffers) {
  ScriptedSource source(50, &stop_);
  {
    SliceStream stream(source, stop_, GetParam());
    for (std::int64_t k = 0; k < 50; ++k) {
      const Slice* slice = stream.next();
      ASSERT_NE(slice, nullptr);
      EXPECT_EQ(slice->patches.pixels.data()[0], static_cast<float>(k));
      // Never further ahead than the slices that may be in memory.
      EXPECT_LT(source.read.load(), k + 1 + static_cast<std::int64_t>(SliceStream::kSlices));
    }
    EXPECT_EQ(stream.next(), nullptr);
  }
  EXPECT_EQ(source.buffers.size(), GetParam() ? SliceStream::kSlices : 1u);
  EXPECT_EQ(source.readers.size(), GetParam() ? 2u : 1u);  // the first is read by the caller
}

TEST_P(SliceStreamTest, AnErrorInTheThirdSliceComesAfterTheSecond) {
  ScriptedSource source(5, &stop_);
  source.fail_at = 2;
  SliceStream stream(source, stop_, GetParam());
  ASSERT_NE(stream.next(), nullptr);
  ASSERT_NE(stream.next(), nullptr);
  try {
    (void)stream.next();
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kFormat);
    EXPECT_STREQ(e.what(), "scripted failure");
  }
}

TEST_P(SliceStreamTest, CancelEndsAReaderThatHangs) {
  ScriptedSource source(5, &stop_);
  source.hang_at = 1;
  SliceStream stream(source, stop_, GetParam());
  ASSERT_NE(stream.next(), nullptr);
  std::thread canceller([&] {
    while (!source.hangs) std::this_thread::yield();
    request_.cancel();
  });
  try {
    (void)stream.next();
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kCancelled);
  }
  canceller.join();
}

TEST_P(SliceStreamTest, NobodyHasToReadToTheEnd) {
  for (const std::int64_t hang_at : {std::int64_t{-1}, std::int64_t{1}}) {
    CancelToken stop(&request_);
    ScriptedSource source(1000, &stop);
    source.hang_at = hang_at;
    {
      SliceStream stream(source, stop, GetParam());
      ASSERT_NE(stream.next(), nullptr);
    }
    EXPECT_LE(source.read.load(), static_cast<std::int64_t>(SliceStream::kSlices));
    EXPECT_FALSE(request_.stopped());
  }
}

TEST_P(SliceStreamTest, OneSliceAndNoneNeedNoThread) {
  for (const std::int64_t size : {0, 1}) {
    ScriptedSource source(size, &stop_);
    SliceStream stream(source, stop_, GetParam());
    for (std::int64_t k = 0; k < size; ++k) ASSERT_NE(stream.next(), nullptr);
    EXPECT_EQ(stream.next(), nullptr);
    EXPECT_LE(source.readers.size(), 1u);
  }
}

INSTANTIATE_TEST_SUITE_P(Overlap, SliceStreamTest, ::testing::Bool(),
                         [](const auto& instance) { return instance.param ? "On" : "Off"; });

}  // namespace
}  // namespace reelm::pipeline
