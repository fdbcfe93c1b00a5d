// Guidance: what the second sequence is fed, turn by turn (over fakes), and the same logits and
// tokens as transformers (on the demo model).
#include "llm/guidance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/json.h"
#include "core/safetensors.h"
#include "pipeline/engine.h"
#include "tests/support/compare.h"
#include "tests/support/fakes.h"

namespace reelm::pipeline {
namespace {

using testing::FakeModel;
using testing::FakeTokenizer;
using ::testing::HasSubstr;

const std::filesystem::path kMedia = REELM_TEST_MEDIA;
const std::filesystem::path kDemo = REELM_DEMO_MODEL;

preprocess::MediaSource square() {
  return preprocess::MediaSource::from_path(kMedia / "square.png");
}

Request guided(const std::string& question, std::vector<preprocess::MediaSource> media,
               double scale = 2.0) {
  Request request = Request::question(media, question);
  request.generation.guidance_scale = scale;
  return request;
}

std::string text_of(const std::vector<llm::TokenId>& ids) {
  std::string out;
  for (const llm::TokenId id : ids) out += id < 256 ? static_cast<char>(id) : '#';
  return out;
}

const std::string kSystem = "#system\nYou are a helpful assistant.#\n";

TEST(Guidance, Formula) {
  // Probabilities 1/4, 3/4 and 1/2, 1/2.
  std::vector<float> logits = {1.0f, 1.0f + std::log(3.0f)};
  const std::vector<float> unconditional = {7.0f, 7.0f};
  llm::apply_guidance(logits, unconditional, 3.0);
  const float u = std::log(0.5f);
  EXPECT_NEAR(logits[0], 3 * (std::log(0.25f) - u) + u, 1e-6);
  EXPECT_NEAR(logits[1], 3 * (std::log(0.75f) - u) + u, 1e-6);
}

// The fake says its script row by row: the conversation's token, then the second sequence's.
TEST(Guidance, BothSequencesAreOneBatch) {
  FakeModel fake;
  fake.say("YnensN", /*end=*/false);
  fake.decoder->script.push_back(FakeTokenizer::kImEnd);
  Engine engine(std::move(fake.model), {});
  const Answer answer = engine.ask(guided("Is it?", {square()}));
  EXPECT_EQ(answer.text, "Yes");
  ASSERT_EQ(fake.decoder->prompts.size(), 2u);
  EXPECT_EQ(text_of(fake.decoder->prompts[1]), kSystem + "#user\nIs it?#\n#assistant\n");
  EXPECT_EQ(fake.decoder->first_positions[1], 0);
  EXPECT_EQ(fake.decoder->batches, (std::vector<std::size_t>{2, 2, 2}));
  // Each goes on at its own position.
  const auto n = static_cast<std::int64_t>(fake.decoder->prompts[1].size());
  ASSERT_EQ(fake.decoder->steps.size(), 6u);
  for (std::int64_t i = 0; i < 3; ++i) {
    const auto main = fake.decoder->steps[static_cast<std::size_t>(2 * i)];
    const auto second = fake.decoder->steps[static_cast<std::size_t>(2 * i + 1)];
    EXPECT_EQ(main.first, second.first);
    EXPECT_EQ(second.second, n + i);
    EXPECT_EQ(main.second, fake.decoder->steps[0].second + i);
    EXPECT_NE(main.second, second.second);
  }
}

TEST(Guidance, ScaleZeroSaysWhatTheSecondSequenceSays) {
  FakeModel fake;
  fake.say("aNbo", /*end=*/false);
  fake.decoder->script.push_back('c');
  fake.decoder->script.push_back(FakeTokenizer::kImEnd);
  Engine engine(std::move(fake.model), {});
  EXPECT_EQ(engine.ask(guided("Is it?", {square()}, 0.0)).text, "No");
}

TEST(Guidance, ScaleOneIsOff) {
  FakeModel fake;
  fake.say("Yes");
  Engine engine(std::move(fake.model), {});
  Request request = guided("Is it?", {square()}, 1.0);
  request.generation.negative_prompt = "No";
  EXPECT_EQ(engine.ask(request).text, "Yes");
  EXPECT_EQ(fake.decoder->prompts.size(), 1u);
  EXPECT_EQ(fake.decoder->batches, (std::vector<std::size_t>{1, 1, 1}));
}

TEST(Guidance, ANegativePromptStandsForTheQuestion) {
  FakeModel fake;
  Engine engine(std::move(fake.model), {});
  Request request = guided("Is it?", {});
  request.messages.insert(request.messages.begin(), Message::text("system", "Be brief."));
  request.generation.negative_prompt = "Guess.";
  (void)engine.ask(request);
  EXPECT_EQ(text_of(fake.decoder->prompts.at(1)),
            "#system\nBe brief.#\n#user\nGuess.#\n#assistant\n");
}

TEST(Guidance, AFollowUpFeedsBothSequencesTheirOwnTokens) {
  FakeModel fake;
  fake.say("aabb", /*end=*/false);
  Engine engine(std::move(fake.model), {});
  Session session(engine);
  (void)session.ask(guided("First?", {square()}));
  const std::size_t steps = fake.decoder->steps.size();
  (void)session.ask(guided("Second?", {}));
  ASSERT_EQ(fake.decoder->prompts.size(), 4u);
  for (const std::size_t prompt : {2, 3}) {
    EXPECT_EQ(text_of(fake.decoder->prompts[prompt]), "#\n#user\nSecond?#\n#assistant\n");
  }
  EXPECT_EQ(fake.decoder->first_positions[3], fake.decoder->steps[steps - 1].second + 1);
}

TEST(Guidance, AfterTurnsWithoutItTheSecondSequenceCatchesUp) {
  FakeModel fake;
  fake.say("One");
  Engine engine(std::move(fake.model), {});
  Session session(engine);
  (void)session.ask(Request::question({square()}, "First?"));
  EXPECT_EQ(fake.decoder->prompts.size(), 1u);
  (void)session.ask(guided("Second?", {}));
  ASSERT_EQ(fake.decoder->prompts.size(), 3u);
  EXPECT_EQ(text_of(fake.decoder->prompts[2]), kSystem +
                                                   "#user\nFirst?#\n#assistant\nOne#\n"
                                                   "#user\nSecond?#\n#assistant\n");
  EXPECT_EQ(fake.decoder->first_positions[2], 0);
  // And again after one more.
  fake.say("Three");
  (void)session.ask(Request::question({}, "Third?"));
  (void)session.ask(guided("Fourth?", {}));
  EXPECT_EQ(text_of(fake.decoder->prompts.back()),
            "#\n#user\nThird?#\n#assistant\nThree#\n#user\nFourth?#\n#assistant\n");
}

TEST(Guidance, AFailedTurnLeavesBothSequencesAsTheyWere) {
  FakeModel fake;
  Engine engine(std::move(fake.model), {});
  Session session(engine);
  (void)session.ask(guided("First?", {square()}));
  const auto again = [&] {
    (void)session.ask(guided("Second?", {}));
    return std::pair(text_of(fake.decoder->prompts.back()), fake.decoder->first_positions.back());
  };
  CancelToken cancel;
  Request failing = guided("Never?", {});
  failing.cancel = &cancel;
  failing.on_text = [&](std::string_view) {
    cancel.cancel();
    return true;
  };
  fake.say("aabb", /*end=*/false);
  EXPECT_THROW((void)session.ask(failing), Error);
  const auto n = static_cast<std::int64_t>(fake.decoder->prompts[1].size());
  EXPECT_EQ(again(), std::pair(std::string("#\n#user\nSecond?#\n#assistant\n"), n));
}

TEST(Guidance, NonsenseIsRefusedInALineBeforeTheMediaAreOpened) {
  FakeModel fake;
  Engine engine(std::move(fake.model), {});
  const auto refused = [&](const Request& request, const char* says) {
    try {
      (void)engine.ask(request);
      ADD_FAILURE() << "taken: " << says;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
      EXPECT_THAT(e.what(), HasSubstr(says));
    }
    EXPECT_THROW((void)engine.plan(request), Error);
  };
  const auto missing = preprocess::MediaSource::from_path("/nowhere.mp4");
  const double inf = std::numeric_limits<double>::infinity();
  refused(guided("?", {missing}, std::nan("")), "guidance is nan");
  refused(guided("?", {missing}, inf), "guidance is inf");
  refused(guided("?", {missing}, -inf), "guidance is -inf");
  refused(guided("?", {missing}, -0.5), "guidance is -0.5, expected a number of 0 or more");
  Request request = Request::question({missing}, "?");
  request.generation.negative_prompt = "No";
  refused(request, "a negative prompt but no guidance");
  refused(guided("?", {}), "guidance has nothing to contrast with");
  EXPECT_TRUE(fake.decoder->prompts.empty());
}

TEST(Guidance, ThePlanCountsTheSecondSequence) {
  FakeModel fake;
  Engine engine(std::move(fake.model), {});
  const RequestPlan plain = engine.plan(Request::question({square()}, "What?"));
  const RequestPlan plan = engine.plan(guided("What?", {square()}));
  EXPECT_EQ(plain.unconditional_tokens, 0);
  EXPECT_EQ(plan.unconditional_tokens, plain.prompt_tokens - plain.vision_tokens - 2);
  const std::int64_t second = plan.unconditional_tokens + plan.max_new_tokens;
  EXPECT_EQ(plan.kv_cache_bytes, plain.kv_cache_bytes + second * 2 * 2 * 4);
}

TEST(Guidance, TheLimitsCountTheSecondSequence) {
  FakeModel fake;
  EngineOptions options;
  {
    FakeModel other;
    Engine engine(std::move(other.model), {});
    const RequestPlan plan = engine.plan(Request::question({square()}, "What?"));
    options.limits.request_bytes =
        plan.kv_cache_bytes + plan.activation_bytes + plan.decoding_bytes;
  }
  Engine engine(std::move(fake.model), options);
  EXPECT_NO_THROW((void)engine.ask(Request::question({square()}, "What?")));
  try {
    (void)engine.ask(guided("What?", {square()}));
    FAIL() << "two sequences fit where one does";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kLimit);
    EXPECT_THAT(e.what(), HasSubstr("request-bytes"));
  }
}

TEST(Guidance, ASecondPromptLongerThanTheContextIsRefused) {
  FakeModel fake;
  fake.decoder->context = 100;
  Engine engine(std::move(fake.model), {});
  Request request = guided("?", {});
  request.generation.negative_prompt = std::string(100, 'x');
  try {
    (void)engine.ask(request);
    FAIL() << "a second prompt of more than 100 tokens was taken";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kLimit);
    EXPECT_THAT(e.what(), HasSubstr("guidance's second prompt"));
  }
  // Where only the answer is too long, it stops.
  request.generation.negative_prompt = "xxxxx";
  fake.say(std::string(200, 'y'), /*end=*/false);
  EXPECT_EQ(engine.ask(request).finish_reason, FinishReason::kLength);
}

/// Guided logits of every token of an answer.
struct Recorder final : Observer {
  void on_logits(std::int64_t, TensorView<const float> view) override {
    logits.insert(logits.end(), view.data(), view.data() + view.numel());
  }
  std::vector<float> logits;
};

Engine open_demo(Dtype dtype) {
  EngineOptions options;
  options.dtypes.decoder = dtype;
  return Engine::open(kDemo, options);
}

/// A case of tests/goldens/guidance/demo.safetensors.
class GuidanceGolden : public ::testing::TestWithParam<const char*> {
 protected:
  GuidanceGolden()
      : path_(std::filesystem::path(REELM_TEST_GOLDENS) / "guidance" / "demo.safetensors"),
        file_(SafetensorsFile::open(path_)),
        case_(parse_json(file_.metadata().at("cases"), "cases").at(GetParam())) {}

  template <typename T>
  std::vector<T> tensor(const char* name) const {
    const StoredTensor* found = file_.find(std::string(GetParam()) + "." + name);
    EXPECT_NE(found, nullptr) << name;
    std::vector<T> out(found->bytes.size() / sizeof(T));
    std::memcpy(out.data(), found->bytes.data(), found->bytes.size());
    return out;
  }
  Request request() const {
    const auto medium =
        preprocess::MediaSource::from_path(path_.parent_path() / std::string(case_["media"]));
    Request request = guided(case_["question"], {medium}, case_["guidance_scale"]);
    GenerationOptions& generation = request.generation;
    generation.temperature = 0.0;
    generation.max_new_tokens = case_["max_new_tokens"].get<std::int64_t>();
    generation.repetition_penalty = case_["repetition_penalty"].get<double>();
    if (!case_["negative_prompt"].is_null()) {
      generation.negative_prompt = std::string(case_["negative_prompt"]);
    }
    return request;
  }

  std::filesystem::path path_;
  SafetensorsFile file_;
  Json case_;
};

TEST_P(GuidanceGolden, LogitsAndTokensAreThoseOfTransformers) {
  const std::vector<float> expected = tensor<float>("scores");
  const std::vector<std::int64_t> tokens = tensor<std::int64_t>("generated_ids");
  for (const Dtype dtype : {Dtype::kF32, Dtype::kBF16}) {
    Engine engine = open_demo(dtype);
    Request asked = request();
    Recorder recorder;
    asked.observer = &recorder;
    EXPECT_EQ(engine.plan(asked).unconditional_tokens,
              std::ssize(tensor<std::int64_t>("unconditional_ids")));
    const Answer answer = engine.ask(asked);
    EXPECT_EQ(std::vector<std::int64_t>(answer.token_ids.begin(), answer.token_ids.end()), tokens)
        << answer.text << "\nto make goldens again: python tools/make_guidance_goldens.py";
    EXPECT_EQ(answer.text, std::string(case_["answer"]));
    ASSERT_EQ(recorder.logits.size(), expected.size());
    double error = 0.0, norm = 0.0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      error += std::pow(double{recorder.logits[i]} - expected[i], 2);
      norm += std::pow(double{expected[i]}, 2);
    }
    // The bounds of reelm verify.
    EXPECT_LE(std::sqrt(error / norm), dtype == Dtype::kF32 ? 1e-4 : 2e-2) << dtype_name(dtype);
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, GuidanceGolden,
                         ::testing::Values("direction", "describe", "weaker", "nothing", "negative",
                                           "penalty"),
                         [](const auto& instance) { return std::string(instance.param); });

class GuidanceDemo : public ::testing::Test {
 protected:
  static Request request(const std::string& question, bool with_clip = true) {
    std::vector<preprocess::MediaSource> media;
    if (with_clip) media.push_back(preprocess::MediaSource::from_path(kDemo / "sample.mp4"));
    return guided(question, media, 1.5);
  }
  Engine engine_ = open_demo(Dtype::kF32);
};

TEST_F(GuidanceDemo, SamplesFromTheGuidedLogits) {
  Request greedy = request("Describe the video.");
  greedy.generation.temperature = 0.0;
  const Answer expected = engine_.ask(greedy);
  Request sampled = greedy;
  sampled.generation.temperature = 5.0;
  sampled.generation.top_k = 1;
  EXPECT_EQ(engine_.ask(sampled).token_ids, expected.token_ids);
  sampled.generation.top_k = 0;
  sampled.generation.seed = 3;
  sampled.generation.max_new_tokens = 12;
  const Answer first = engine_.ask(sampled);
  EXPECT_EQ(engine_.ask(sampled).token_ids, first.token_ids);
  EXPECT_NE(first.token_ids, expected.token_ids);
}

// The second sequence decoded beside the first turn, or prefilled in the second: the same to it.
TEST_F(GuidanceDemo, ASessionThatIsGuidedLateEndsInTheSameLogits) {
  std::vector<float> logits[2];
  for (const bool late : {false, true}) {
    Session session(engine_);
    Request first = request("Describe the video.");
    if (late) first.generation.guidance_scale.reset();
    first.generation.temperature = 0.0;
    EXPECT_EQ(session.ask(first).text, "A yellow square moves down.");
    Request second = request("What color is the square?", false);
    second.generation.temperature = 0.0;
    Recorder recorder;
    second.observer = &recorder;
    (void)session.ask(second);
    logits[late ? 1 : 0] = recorder.logits;
  }
  EXPECT_TRUE(testing::all_close(logits[1], logits[0], {1e-3, 1e-3}));
}

}  // namespace
}  // namespace reelm::pipeline
