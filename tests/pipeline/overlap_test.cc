// A prompt taken in piece by piece while its video is read: the same answer in every way.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <set>
#include <thread>

#include "core/parallel.h"
#include "pipeline/engine.h"
#include "tests/support/fakes.h"

namespace reelm::pipeline {
namespace {

using testing::FakeModel;
using testing::FakeTokenizer;

const std::filesystem::path kMedia = REELM_TEST_MEDIA;

/// What a caller can see of an answer, bit for bit.
struct Recorder final : Observer {
  void on_patches(std::size_t, const PatchBatch& slice) override {
    callers.insert(std::this_thread::get_id());
    buffers.insert(slice.pixels.data());
    ++slices;
  }
  void on_vision_embeds(TensorView<const float> embeds) override { append(embeds, rows); }
  void on_prompt(std::span<const llm::TokenId> ids, TensorView<const std::int64_t>,
                 std::int64_t) override {
    n_ids = ids.size();
  }
  void on_logits(std::int64_t, TensorView<const float> view) override { append(view, logits); }

  static void append(TensorView<const float> view, std::vector<std::uint32_t>& to) {
    const std::size_t before = to.size();
    to.resize(before + static_cast<std::size_t>(view.numel()));
    std::memcpy(to.data() + before, view.data(), static_cast<std::size_t>(view.numel()) * 4);
  }

  std::vector<std::uint32_t> rows, logits;  // as bits: NaN is not equal to itself
  std::set<std::thread::id> callers;
  std::set<const float*> buffers;
  std::size_t n_ids = 0;
  int slices = 0;
};

struct Outcome {
  Answer answer;
  Recorder seen;
  std::vector<std::string> progress;
};

/// One answer with an observer, for whom all vision rows are kept, and one without: its tokens must
/// be the same.
Outcome run(bool overlap, int threads, Dtype dtype) {
  EngineOptions options;
  options.overlap = overlap;
  options.threads = threads;
  options.dtypes = {dtype, Dtype::kAuto};
  Engine engine = Engine::open(REELM_DEMO_MODEL, options);
  Request request = Request::question({preprocess::MediaSource::from_path(kMedia / "square.mp4")},
                                      "Which direction does the square move?");
  // 10 slices of 280 x 336 pixels, 120 tokens: the prompt ends in its third piece.
  request.sampling.frames = 20;
  request.sampling.min_pixels = 90'000;
  request.sampling.max_pixels = 100'000;
  request.generation.max_new_tokens = 4;
  Outcome out;
  request.observer = &out.seen;
  request.on_progress = [&](const Progress& p) {
    out.seen.callers.insert(std::this_thread::get_id());
    out.progress.push_back(std::string(p.stage) + " " + std::to_string(p.done));
  };
  out.answer = engine.ask(request);
  request.observer = nullptr;
  request.on_progress = nullptr;
  EXPECT_EQ(engine.ask(request).token_ids, out.answer.token_ids) << "when rows are dropped";
  set_num_threads(0);
  return out;
}

TEST(Overlap, ChangesNoBitOfAnAnswer) {
  for (const Dtype dtype : {Dtype::kF32, Dtype::kBF16, Dtype::kInt8, Dtype::kInt4}) {
    const Outcome expected = run(false, 1, dtype);
    EXPECT_GT(expected.seen.n_ids, 1024u);
    EXPECT_EQ(expected.seen.slices, 10);
    EXPECT_EQ(expected.seen.buffers.size(), 1u);
    for (const int threads : {1, 3}) {
      const Outcome found = run(true, threads, dtype);
      EXPECT_EQ(found.seen.rows, expected.seen.rows);
      EXPECT_EQ(found.seen.logits, expected.seen.logits);
      EXPECT_EQ(found.answer.token_ids, expected.answer.token_ids);
      EXPECT_EQ(found.progress, expected.progress);
      EXPECT_EQ(found.seen.buffers.size(), 2u) << "slices in memory";
      EXPECT_EQ(found.seen.callers, std::set{std::this_thread::get_id()});
      ASSERT_EQ(found.answer.stages.size(), expected.answer.stages.size());
      for (std::size_t i = 0; i < found.answer.stages.size(); ++i) {
        EXPECT_EQ(found.answer.stages[i].stage, expected.answer.stages[i].stage);
      }
      for (const char* stage : {"decode", "resize", "patchify", "vision", "prefill"}) {
        EXPECT_GT(found.answer.milliseconds(stage), 0.0) << stage;
      }
    }
  }
}

TEST(Overlap, PiecesEndAtMultiplesOfTheDecodersRows) {
  for (const bool overlap : {false, true}) {
    FakeModel fake;
    fake.decoder->piece_rows = 32;
    fake.say("ok");
    EngineOptions options;
    options.overlap = overlap;
    Engine engine(std::move(fake.model), options);
    Request request =
        Request::question({preprocess::MediaSource::from_path(kMedia / "square.mp4")}, "What?");
    request.sampling.frames = 6;
    std::vector<std::string> progress;
    request.on_progress = [&](const Progress& p) { progress.emplace_back(p.stage); };
    const Answer answer = engine.ask(request);
    EXPECT_EQ(answer.text, "ok");

    std::int64_t total = 0;
    std::int64_t pads = 0;
    const auto& prompts = fake.decoder->prompts;
    ASSERT_GT(prompts.size(), 3u);
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      const auto n = static_cast<std::int64_t>(prompts[i].size());
      if (i + 1 < prompts.size()) {
        EXPECT_EQ(n % 32, 0) << "piece " << i;
      }
      total += n;
      pads += std::count(prompts[i].begin(), prompts[i].end(), FakeTokenizer::kVideoPad);
    }
    EXPECT_EQ(total, answer.prompt_tokens);
    EXPECT_EQ(pads, answer.vision_tokens);
    // Every row once and in order: those of slice k hold k.
    const auto& rows = fake.decoder->vision;
    ASSERT_EQ(static_cast<std::int64_t>(rows.size()), answer.vision_tokens * 4);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      EXPECT_EQ(rows[i], static_cast<float>(i * 3 / rows.size())) << "value " << i;
    }
    // The first piece goes in before the last slice is read.
    const auto first = std::find(progress.begin(), progress.end(), "prefill");
    EXPECT_NE(std::find(first, progress.end(), "frames"), progress.end());
  }
}

/// Two whole images, and one whose header is whole but whose pixels end too soon: that is found
/// when it is read.
std::vector<preprocess::MediaSource> images_with_a_torn_third() {
  std::ifstream file(kMedia / "square.png", std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  auto torn = std::make_shared<std::vector<std::byte>>(bytes.size() / 2);
  std::memcpy(torn->data(), bytes.data(), torn->size());
  const auto whole = preprocess::MediaSource::from_path(kMedia / "square.png");
  return {whole, whole, preprocess::MediaSource::from_memory(torn, "torn.png")};
}

TEST(Overlap, AnErrorInTheThirdSliceLeavesTheSessionUsable) {
  for (const bool overlap : {false, true}) {
    FakeModel fake;
    fake.decoder->piece_rows = 8;
    fake.say("One");
    EngineOptions options;
    options.overlap = overlap;
    Engine engine(std::move(fake.model), options);
    Session session(engine);
    (void)session.ask(Request::question({}, "First?"));
    const std::int64_t length = session.length();
    const std::size_t pieces = fake.decoder->prompts.size();
    try {
      (void)session.ask(Request::question(images_with_a_torn_third(), "Second?"));
      FAIL() << "a torn image was taken";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kFormat);
      EXPECT_NE(std::string(e.what()).find("torn.png"), std::string::npos) << e.what();
    }
    EXPECT_EQ(fake.vision->calls, 2);
    EXPECT_GT(fake.decoder->prompts.size(), pieces) << "nothing had to be taken back";
    EXPECT_EQ(session.length(), length);
    fake.say("Two");
    const auto image = preprocess::MediaSource::from_path(kMedia / "square.png");
    EXPECT_EQ(session.ask(Request::question({image, image}, "Third?")).text, "Two");
  }
}

TEST(Overlap, CancelAndFailuresOfTheEncoderEndTheReader) {
  for (const bool overlap : {false, true}) {
    FakeModel fake;
    EngineOptions options;
    options.overlap = overlap;
    Engine engine(std::move(fake.model), options);
    Request request =
        Request::question({preprocess::MediaSource::from_path(kMedia / "square.mp4")}, "What?");
    request.sampling.frames = 20;
    CancelToken cancel;
    request.cancel = &cancel;
    request.on_progress = [&](const Progress& p) {
      if (p.stage == "vision" && p.done == 2) cancel.cancel();
    };
    try {
      (void)engine.ask(request);
      ADD_FAILURE() << "not cancelled";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kCancelled);
    }
    cancel.reset();
    request.on_progress = nullptr;
    fake.vision->fail_at = fake.vision->calls + 1;
    EXPECT_THROW((void)engine.ask(request), Error);
    fake.vision->fail_at = -1;
    fake.say("fine");
    EXPECT_EQ(engine.ask(request).text, "fine");
  }
}

TEST(Overlap, MemoryPlannedForDoesNotGrowWithTheVideo) {
  FakeModel fake;
  fake.decoder->piece_rows = 32;
  Engine engine(std::move(fake.model), {});
  Request request =
      Request::question({preprocess::MediaSource::from_path(kMedia / "square.mp4")}, "What?");
  request.sampling.min_pixels = 20'000;  // 140 x 168, as it is
  request.sampling.max_pixels = 30'000;
  request.sampling.frames = 8;
  const RequestPlan shorter = engine.plan(request);
  request.sampling.frames = 16;
  const RequestPlan longer = engine.plan(request);
  EXPECT_EQ(longer.vision_tokens, 2 * shorter.vision_tokens);
  EXPECT_EQ(longer.activation_bytes, shorter.activation_bytes);
  // Two slices of 120 patches; the rows of one slice (30) and less than a piece.
  EXPECT_EQ(longer.activation_bytes, 2 * 120 * 1176 * 4 + (30 + 31) * 4 * 4);
}

}  // namespace
}  // namespace reelm::pipeline
