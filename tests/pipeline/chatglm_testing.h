// What the tests of both ChatGLM families share: models, and conversations as the published code
// has them.
#pragma once

#include <gtest/gtest.h>

#include <span>
#include <string>

#include "core/json.h"
#include "pipeline/convert.h"
#include "tests/pipeline/packed_testing.h"

namespace reelm::pipeline {

/// A fixture over tests/goldens/`folder`/chats.json, which tools/make_`folder`_goldens.py writes:
/// what was said to each model by name.
class ChatGlmModelsTest : public PackedTest {
 protected:
  explicit ChatGlmModelsTest(const std::string& folder)
      : goldens_(read_json_file(test::goldens_dir() / folder / "chats.json")),
        remake_("\nmake the goldens again: python tools/make_" + folder + "_goldens.py") {}

  Model open(Dtype dtype = Dtype::kF32) const {
    return open_model(model_, {.dtypes = {dtype, Dtype::kAuto}, .packed_cache = kNoCache});
  }

  /// The models of the goldens are these, and a session with each goes on as its "turns".
  void expect_turns(std::span<const char* const> names) {
    EXPECT_EQ(goldens_.size(), names.size());
    for (const char* name : names) {
      SCOPED_TRACE(name + remake_);
      make_model(name);
      Engine engine(open(), {});
      Session session(engine);
      ASSERT_GE(goldens_[name]["turns"].size(), 3u);
      for (const Json& golden : goldens_[name]["turns"]) {
        Request request = Request::question({}, golden["question"].get<std::string>());
        request.generation.max_new_tokens = 5;
        request.generation.temperature = 0.0;
        request.generation.repetition_penalty = 1.0;
        const Answer answer = session.ask(request);
        EXPECT_EQ(answer.prompt_tokens, std::ssize(golden["prompt_ids"]));
        EXPECT_EQ(Json(answer.token_ids), golden["answer_ids"]);
        EXPECT_EQ(answer.text, golden["answer"]);
      }
    }
  }

  /// Converted in any dtype, each model has the same logits.
  void expect_converted_alike(std::span<const char* const> names) {
    for (const char* name : names) {
      make_model(name);
      for (const Dtype dtype : {Dtype::kF32, Dtype::kBF16, Dtype::kInt8, Dtype::kInt4}) {
        SCOPED_TRACE(std::string(name) + " " + dtype_name(dtype));
        fs::remove_all(dir_ / "out");
        (void)convert_model(model_, dir_ / "out", {.dtypes = {dtype, Dtype::kAuto}});
        EXPECT_EQ(logits_of(open_model(dir_ / "out")), logits_of(open(dtype)));
      }
    }
  }

  const Json goldens_;
  const std::string remake_;
};

}  // namespace reelm::pipeline
