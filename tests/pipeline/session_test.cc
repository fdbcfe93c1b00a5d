// Engine and session over scripted fakes: what is fed to the decoder, turn by turn.
#include <gtest/gtest.h>

#include "core/parallel.h"
#include "pipeline/engine.h"
#include "tests/support/fakes.h"

namespace reelm::pipeline {
namespace {

using testing::FakeModel;
using testing::FakeTokenizer;

const std::filesystem::path kMedia = REELM_TEST_MEDIA;

std::string text_of(const std::vector<llm::TokenId>& ids) {
  std::string out;
  for (const llm::TokenId id : ids) out += id < 256 ? static_cast<char>(id) : '#';
  return out;
}

Request ask(const std::string& question, std::vector<preprocess::MediaSource> media = {}) {
  return Request::question(media, question);
}

TEST(Engine, StreamsWhatTheModelSays) {
  FakeModel fake;
  fake.say("Yes");
  Engine engine(std::move(fake.model), {});
  std::string streamed;
  Request request = ask("Is it?");
  request.on_text = [&](std::string_view piece) {
    streamed += piece;
    return true;
  };
  const Answer answer = engine.ask(request);
  EXPECT_EQ(answer.text, "Yes");
  EXPECT_EQ(streamed, "Yes");
  EXPECT_EQ(answer.finish_reason, FinishReason::kStop);
  EXPECT_EQ(answer.token_ids.size(), 4u);  // with the token that ended it
  EXPECT_EQ(answer.vision_tokens, 0);
  EXPECT_EQ(answer.prompt_tokens, static_cast<std::int64_t>(fake.decoder->prompts[0].size()));
}

TEST(Engine, StopsAtMaxNewTokensAndWhenTheCallbackSays) {
  FakeModel fake;
  fake.say("abcdef");
  fake.say("abcdef");
  Engine engine(std::move(fake.model), {});
  Request request = ask("?");
  request.generation.max_new_tokens = 3;
  Answer answer = engine.ask(request);
  EXPECT_EQ(answer.text, "abc");
  EXPECT_EQ(answer.finish_reason, FinishReason::kLength);
  EXPECT_EQ(fake.decoder->steps.size(), 2u);  // the third token needs no step of its own

  fake.decoder->script.clear();
  fake.say("abcdef");
  request.generation.max_new_tokens.reset();
  request.on_text = [](std::string_view piece) { return piece != "b"; };
  answer = engine.ask(request);
  EXPECT_EQ(answer.finish_reason, FinishReason::kCallback);
  EXPECT_EQ(answer.text, "ab");
}

TEST(Engine, HalfACharacterIsNeverStreamed) {
  FakeModel fake;
  fake.say("\xE2\x82\xAC!");  // a euro sign, one byte a token
  Engine engine(std::move(fake.model), {});
  std::vector<std::string> pieces;
  Request request = ask("?");
  request.on_text = [&](std::string_view piece) {
    pieces.emplace_back(piece);
    return true;
  };
  (void)engine.ask(request);
  EXPECT_EQ(pieces, (std::vector<std::string>{"\xE2\x82\xAC", "!"}));
}

TEST(Engine, AnImageIsEncodedAndPlacedInThePrompt) {
  FakeModel fake;
  fake.say("ok");
  Engine engine(std::move(fake.model), {});
  const Answer answer =
      engine.ask(ask("What?", {preprocess::MediaSource::from_path(kMedia / "square.png")}));
  ASSERT_EQ(answer.media.size(), 1u);
  const GridThw grid = answer.media[0].plan.grid_thw;
  EXPECT_EQ(grid[0], 1);
  EXPECT_EQ(answer.vision_tokens, grid[1] * grid[2] / 4);
  EXPECT_EQ(fake.vision->slices, (std::vector<GridThw>{grid}));
  const auto& prompt = fake.decoder->prompts[0];
  EXPECT_EQ(std::count(prompt.begin(), prompt.end(), FakeTokenizer::kImagePad),
            answer.vision_tokens);
  EXPECT_EQ(static_cast<std::int64_t>(fake.decoder->vision.size()), answer.vision_tokens * 4);
}

TEST(Engine, AVideoIsEncodedSliceBySlice) {
  FakeModel fake;
  fake.say("ok");
  Engine engine(std::move(fake.model), {});
  Request request = ask("What?", {preprocess::MediaSource::from_path(kMedia / "square.mp4")});
  request.sampling.frames = 6;
  const Answer answer = engine.ask(request);
  const GridThw grid = answer.media.at(0).plan.grid_thw;
  ASSERT_EQ(grid[0], 3);
  EXPECT_EQ(fake.vision->calls, 3);
  for (const GridThw& slice : fake.vision->slices) EXPECT_EQ(slice[0], 1);
  // Rows of slice k hold k, in order.
  const auto rows = static_cast<std::size_t>(answer.vision_tokens / 3 * 4);
  for (std::size_t k = 0; k < 3; ++k) {
    EXPECT_EQ(fake.decoder->vision.at(k * rows), static_cast<float>(k));
    EXPECT_EQ(fake.decoder->vision.at((k + 1) * rows - 1), static_cast<float>(k));
  }
}

TEST(Engine, TooLongAPromptIsRefusedBeforeAnyWork) {
  FakeModel fake;
  fake.decoder->context = 64;
  Engine engine(std::move(fake.model), {});
  try {
    (void)engine.ask(
        ask(std::string(200, 'x'), {preprocess::MediaSource::from_path(kMedia / "square.png")}));
    FAIL() << "a prompt of more than 64 tokens was taken";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kLimit);
    EXPECT_NE(std::string(e.what()).find("max_position_embeddings"), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("64"), std::string::npos) << e.what();
  }
  EXPECT_EQ(fake.vision->calls, 0);
  EXPECT_TRUE(fake.decoder->prompts.empty());
}

TEST(Engine, TheAnswerStopsWhereTheContextEnds) {
  FakeModel fake;
  fake.say(std::string(500, 'y'));
  fake.decoder->context = 100;
  Engine engine(std::move(fake.model), {});
  const Answer answer = engine.ask(ask("?"));
  EXPECT_EQ(answer.finish_reason, FinishReason::kLength);
  EXPECT_EQ(answer.prompt_tokens + static_cast<std::int64_t>(answer.token_ids.size()), 100);
}

TEST(Engine, LimitsAreNamed) {
  FakeModel fake;
  EngineOptions options;
  options.limits.media_count = 1;
  Engine engine(std::move(fake.model), options);
  const auto image = preprocess::MediaSource::from_path(kMedia / "square.png");
  try {
    (void)engine.ask(ask("?", {image, image}));
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("media-count"), std::string::npos) << e.what();
  }
}

TEST(Engine, IsUsableAfterAFailure) {
  FakeModel fake;
  fake.vision->fail_at = 0;
  Engine engine(std::move(fake.model), {});
  const auto image = preprocess::MediaSource::from_path(kMedia / "square.png");
  EXPECT_THROW((void)engine.ask(ask("?", {image})), Error);
  fake.vision->fail_at = -1;
  fake.say("fine");
  EXPECT_EQ(engine.ask(ask("?", {image})).text, "fine");
}

TEST(Engine, CancelEndsTheWork) {
  FakeModel fake;
  Engine engine(std::move(fake.model), {});
  CancelToken cancel;
  Request request = ask("?");
  request.cancel = &cancel;
  fake.say("abc");
  request.on_text = [&](std::string_view) {
    cancel.cancel();
    return true;
  };
  try {
    (void)engine.ask(request);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kCancelled);
  }
}

TEST(Engine, BadSettingsAreRefused) {
  FakeModel fake;
  Engine engine(std::move(fake.model), {});
  Request request = ask("?");
  request.generation.temperature = -1.0;
  EXPECT_THROW((void)engine.ask(request), Error);
  request = ask("?");
  request.generation.top_p = 0.0;
  EXPECT_THROW((void)engine.ask(request), Error);
  request = ask("?");
  request.generation.max_new_tokens = 0;
  EXPECT_THROW((void)engine.ask(request), Error);
}

TEST(Engine, PlanTellsTheCostWithoutDecoding) {
  FakeModel fake;
  Engine engine(std::move(fake.model), {});
  const RequestPlan plan =
      engine.plan(ask("What?", {preprocess::MediaSource::from_path(kMedia / "square.mp4")}));
  ASSERT_EQ(plan.media.size(), 1u);
  EXPECT_EQ(plan.vision_tokens, plan.media[0].n_vision_tokens);
  EXPECT_GT(plan.prompt_tokens, plan.vision_tokens);
  EXPECT_EQ(plan.kv_cache_bytes, (plan.prompt_tokens + plan.max_new_tokens) * 2 * 2 * 4);
  EXPECT_EQ(fake.vision->calls, 0);
}

TEST(Engine, DecodedFramesCountAgainstTheRequest) {
  const auto plan_of = [](const char* file, const Limits& limits) {
    FakeModel fake;
    Engine engine(std::move(fake.model), {.limits = limits});
    return engine.plan(ask("What?", {preprocess::MediaSource::from_path(kMedia / file)}));
  };
  // 4:2:0 of 168 x 140, its rows padded to 64 at most, 20 frames and one a thread; and RGB.
  const std::int64_t rgb = 168 * 140 * 3;
  const std::int64_t video = plan_of("square.mp4", {}).decoding_bytes;
  EXPECT_GE(video, 21 * 168 * 140 * 3 / 2 + rgb);
  EXPECT_LE(video, (20 + num_threads()) * (192 * 140 + 2 * 128 * 70) + rgb);
  EXPECT_EQ(plan_of("square.mp4", {.decoded_bytes = 200'000}).decoding_bytes, 200'000 + rgb);
  EXPECT_EQ(plan_of("square.png", {}).decoding_bytes, 120 * 90 * 7);

  const RequestPlan plan = plan_of("square.png", {});
  const std::int64_t all = plan.kv_cache_bytes + plan.activation_bytes + plan.decoding_bytes;
  for (const std::int64_t bytes : {all, all - 1}) {
    FakeModel fake;
    Engine engine(std::move(fake.model), {.limits = {.request_bytes = bytes}});
    const Request request =
        ask("What?", {preprocess::MediaSource::from_path(kMedia / "square.png")});
    if (bytes == all) {
      EXPECT_NO_THROW((void)engine.ask(request));
    } else {
      EXPECT_THROW((void)engine.ask(request), Error);
    }
  }
}

TEST(Session, AFollowUpFeedsOnlyItsOwnTokens) {
  FakeModel fake;
  fake.say("One");
  fake.say("Two");
  Engine engine(std::move(fake.model), {});
  Session session(engine);
  const Answer first =
      session.ask(ask("First?", {preprocess::MediaSource::from_path(kMedia / "square.png")}));
  EXPECT_EQ(fake.vision->calls, 1);
  const std::int64_t length = session.length();
  // The ending token was chosen but not fed.
  EXPECT_EQ(length, first.prompt_tokens + static_cast<std::int64_t>(first.token_ids.size()) - 1);

  const Answer second = session.ask(ask("Second?"));
  EXPECT_EQ(second.text, "Two");
  EXPECT_EQ(second.vision_tokens, 0);
  EXPECT_EQ(fake.vision->calls, 1);
  EXPECT_EQ(text_of(fake.decoder->prompts[1]), "#\n#user\nSecond?#\n#assistant\n");
  // Positions go on where the first turn's last step left off.
  const std::int64_t last_step = fake.decoder->steps.at(first.token_ids.size() - 2).second;
  EXPECT_EQ(fake.decoder->first_positions[1], last_step + 1);
}

TEST(Session, AnAnswerCutOffIsClosedBeforeTheNextTurn) {
  FakeModel fake;
  fake.say("abcdef");
  Engine engine(std::move(fake.model), {});
  Session session(engine);
  Request request = ask("?");
  request.generation.max_new_tokens = 2;
  (void)session.ask(request);
  fake.decoder->script.clear();
  (void)session.ask(ask("More"));
  EXPECT_EQ(text_of(fake.decoder->prompts[1]), "b#\n#user\nMore#\n#assistant\n");
}

TEST(Session, AFailedTurnLeavesTheConversationAsItWas) {
  FakeModel fake;
  fake.say("One");
  Engine engine(std::move(fake.model), {});
  Session session(engine);
  (void)session.ask(ask("First?"));
  const std::int64_t length = session.length();
  fake.vision->fail_at = 0;
  EXPECT_THROW(
      (void)session.ask(ask("?", {preprocess::MediaSource::from_path(kMedia / "square.png")})),
      Error);
  EXPECT_EQ(session.length(), length);
  fake.say("Two");
  EXPECT_EQ(session.ask(ask("Again?")).text, "Two");
}

TEST(Session, BeginsAgainWhereALongerPromptIsEncodedOtherwise) {
  FakeModel fake;
  fake.say("Yes");
  Engine engine(std::move(fake.model), {});
  Session session(engine);
  (void)session.ask(ask("First?"));
  const std::vector<llm::TokenId> first = fake.decoder->prompts[0];
  fake.decoder->begins_again_at = session.length() + 1;

  CancelToken cancelled;
  cancelled.cancel();
  Request request = ask("Then?");
  request.cancel = &cancelled;
  EXPECT_THROW((void)session.ask(request), Error);
  EXPECT_EQ(session.length(), 0);  // the conversation is held, its cache is not

  fake.say("No");
  EXPECT_EQ(session.ask(ask("Then?")).text, "No");
  EXPECT_EQ(text_of(fake.decoder->prompts[1]),
            text_of(first) + "Yes#\n#user\nThen?#\n#assistant\n");
  EXPECT_EQ(fake.decoder->first_positions[1], 0);

  fake.decoder->begins_again_at = 1 << 20;
  fake.say("Bye");
  const std::int64_t length = session.length();
  (void)session.ask(ask("Well?"));
  EXPECT_EQ(text_of(fake.decoder->prompts[2]), "#\n#user\nWell?#\n#assistant\n");
  EXPECT_EQ(fake.decoder->first_positions[2], length);
}

TEST(Session, ContextIsCheckedAgainstTheModel) {
  FakeModel fake;
  fake.decoder->context = 100;
  Engine engine(std::move(fake.model), {});
  EXPECT_THROW(Session(engine, 101), Error);
  EXPECT_THROW(Session(engine, -1), Error);
  Session session(engine, 50);
  EXPECT_THROW((void)session.ask(ask(std::string(60, 'x'))), Error);
}

}  // namespace
}  // namespace reelm::pipeline
