// Models of ChatGLM2 and ChatGLM3, whole: conversations as the published code has them
// (tools/make_chatglm2_goldens.py), which of the families a directory is, adapters.
#include <gmock/gmock.h>

#include "core/safetensors.h"
#include "pipeline/families.h"
#include "pipeline/prompt_format.h"
#include "tests/pipeline/chatglm_testing.h"
#include "tests/support/compare.h"

namespace reelm::pipeline {
namespace {

using ::testing::HasSubstr;

constexpr const char* kNames[] = {"chatglm2_heads4_bf16", "chatglm2_long_f32",
                                  "chatglm3_head64_f16"};

class ChatGlm2Test : public ChatGlmModelsTest {
 protected:
  ChatGlm2Test() : ChatGlmModelsTest("chatglm2") {}
};

TEST_F(ChatGlm2Test, ConversationsToldAtOnceAreThePublishedIds) {
  for (const char* name : kNames) {
    make_model(name);
    const Model model = open();
    ASSERT_GE(goldens_[name]["prompts"].size(), 3u);
    for (const Json& golden : goldens_[name]["prompts"]) {
      std::vector<Message> messages;
      for (const Json& message : golden["messages"]) {
        messages.push_back(Message::text(message[0], message[1]));
      }
      EXPECT_EQ(Json(model.prompt_format->prompt(model, messages, {}, {})), golden["ids"])
          << name << golden.dump() << remake_;
    }
  }
}

TEST_F(ChatGlm2Test, SessionsAnswerAsThePublishedCode) { expect_turns(kNames); }

TEST_F(ChatGlm2Test, ConvertedModelsAreTheSame) { expect_converted_alike(kNames); }

/// Models that were converted keep opening only while their weights keep these names.
TEST_F(ChatGlm2Test, ConvertedWeightsAreNamedByOrderAndType) {
  make_model("chatglm2_long_f32");
  (void)convert_model(model_, dir_ / "out", {.dtypes = {Dtype::kInt8, Dtype::kAuto}});
  const SafetensorsFile file = SafetensorsFile::open(dir_ / "out" / "model.safetensors");
  const std::string layer = "transformer.encoder.layers.1.";
  for (const char* name : {"self_attention.query_key_value@halves.int8", "mlp.dense_h_to_4h*.int8",
                           "mlp.dense_4h_to_h.int8"}) {
    EXPECT_NE(file.find(layer + name), nullptr) << name;
  }
}

TEST_F(ChatGlm2Test, TheFamilyNeedsItsKey) {
  make_model(kNames[0]);
  EXPECT_STREQ(find_family(model_, "chatglm").name, "ChatGLM2, ChatGLM3");
  EXPECT_TRUE(is_supported(model_, "chatglm"));
  const auto info = supported_families();
  EXPECT_TRUE(std::any_of(info.begin(), info.end(),
                          [](const FamilyInfo& f) { return f.name == "ChatGLM2, ChatGLM3"; }));
  const auto types = supported_model_types();
  EXPECT_EQ(std::count(types.begin(), types.end(), "chatglm"), 1);
}

TEST_F(ChatGlm2Test, SystemMessagesAreChatGlm3s) {
  make_model("chatglm2_heads4_bf16");
  Engine engine(open(), {});
  Request request = Request::question({}, "What?", "Be brief.");
  const Error error = error_of([&] { (void)engine.ask(request); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(error.what(), HasSubstr("'system', expected 'user'"));
}

std::vector<float> values_of(const StoredTensor& tensor) {
  std::vector<float> out(tensor.bytes.size() / sizeof(float));
  std::memcpy(out.data(), tensor.bytes.data(), tensor.bytes.size());
  return out;
}

/// The same weights with scale * B * A added to those of fused layers in layer 1.
TEST_F(ChatGlm2Test, AdaptersReachRowsThatAreMoved) {
  make_model("chatglm2_long_f32");
  const std::string layer = "transformer.encoder.layers.1.";
  const fs::path adapter = dir_ / "adapter", merged = dir_ / "merged";
  fs::create_directory(adapter);
  put(adapter / "adapter_config.json",
      R"({"peft_type": "LORA", "r": 1, "lora_alpha": 2, "bias": "none",
          "target_modules": ["query_key_value", "dense_h_to_4h"]})");
  fs::copy(model_, merged);
  const auto a = [](std::size_t i) { return static_cast<float>(i % 7) / 16.0f - 0.2f; };
  const auto b = [](std::size_t i) { return static_cast<float>(i % 11) / 8.0f - 0.6f; };
  std::vector<std::vector<float>> kept;
  std::vector<StoredTensor> all, updates;
  const SafetensorsFile file = SafetensorsFile::open(model_ / "model.safetensors");
  kept.reserve(3 * file.tensors().size());
  const auto keep = [&](std::vector<float> values) {
    kept.push_back(std::move(values));
    return std::as_bytes(std::span(kept.back()));
  };
  for (const StoredTensor& tensor : file.tensors()) {
    all.push_back(tensor);
    const std::string module = tensor.name.substr(0, tensor.name.rfind('.'));
    if (module != layer + "self_attention.query_key_value" && module != layer + "mlp.dense_h_to_4h")
      continue;
    if (!tensor.name.ends_with(".weight")) continue;
    const auto rows = static_cast<std::size_t>(tensor.shape[0]);
    const auto cols = static_cast<std::size_t>(tensor.shape[1]);
    std::vector<float> weight = values_of(tensor), down(cols), up(rows);
    for (std::size_t j = 0; j < cols; ++j) down[j] = a(j);
    for (std::size_t i = 0; i < rows; ++i) up[i] = b(i);
    for (std::size_t i = 0; i < rows; ++i) {
      for (std::size_t j = 0; j < cols; ++j) weight[i * cols + j] += 2.0f * (up[i] * down[j]);
    }
    all.back().bytes = keep(std::move(weight));
    const std::string name = "base_model.model." + module;
    updates.push_back(
        {name + ".lora_A.weight", DType::kF32, {1, tensor.shape[1]}, keep(std::move(down))});
    updates.push_back(
        {name + ".lora_B.weight", DType::kF32, {tensor.shape[0], 1}, keep(std::move(up))});
  }
  ASSERT_EQ(updates.size(), 4u);
  write_safetensors(adapter / "adapter_model.safetensors", updates);
  write_safetensors(dir_ / "changed.safetensors", all);
  fs::rename(dir_ / "changed.safetensors", merged / "model.safetensors");
  const auto with_adapter = logits_of(open_model(model_, {.dtypes = {Dtype::kF32, Dtype::kAuto},
                                                          .packed_cache = kNoCache,
                                                          .adapters = {{adapter, 1.0}}}));
  const auto expected = logits_of(
      open_model(merged, {.dtypes = {Dtype::kF32, Dtype::kAuto}, .packed_cache = kNoCache}));
  EXPECT_TRUE(testing::all_close(with_adapter, expected, {1e-4, 1e-4}));
  EXPECT_FALSE(testing::all_close(logits_of(open()), expected, {1e-2, 1e-2}));
}

}  // namespace
}  // namespace reelm::pipeline
