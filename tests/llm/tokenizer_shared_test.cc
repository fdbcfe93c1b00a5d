// Real vocabularies in ../shared, built in only where that folder lies beside the checkout.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "llm/tokenizer.h"
#include "llm/tokenizer_sentencepiece.h"
#include "tests/llm/tokenizer_testing.h"

namespace reelm::llm {
namespace {

const std::filesystem::path kShared = REELM_SHARED_DIR;

std::string read(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

TEST(SharedQwen2, PublishedVectors) {
  const auto tokenizer = load_tokenizer(kShared / "qwen2-vl-2b");
  EXPECT_EQ(tokenizer->vocab_size(), 151'657);
  EXPECT_EQ(tokenizer->special_id("<|video_pad|>"), 151'656);
  EXPECT_EQ(tokenizer->encode("Hello world"), std::vector<TokenId>({9707, 1879}));
  const std::string texts = read(kShared / "tokenizers/qwen2.inp");
  std::istringstream lines(read(kShared / "tokenizers/qwen2.out"));
  const std::string separator = "\n__ggml_vocab_test__\n";
  std::size_t n = 0;
  for (std::size_t begin = 0; begin < texts.size(); ++n) {
    const std::size_t end = std::min(texts.find(separator, begin), texts.size());
    const std::string text = texts.substr(begin, end - begin);
    begin = end + separator.size();
    std::string line;
    ASSERT_TRUE(std::getline(lines, line));
    std::istringstream numbers(line);
    const std::vector<TokenId> expected(std::istream_iterator<TokenId>(numbers), {});
    const auto ids = tokenizer->encode(text);
    EXPECT_EQ(ids, expected) << text;
    EXPECT_EQ(tokenizer->decode(ids, false), normalize_nfc(text));
  }
  EXPECT_GE(n, 46u);
}

TEST(SharedSentencePiece, RealModels) {
  struct Case {
    const char* file;
    std::int64_t size;
    std::vector<TokenId> hello;  // "Hello world", by the sentencepiece Python package
  };
  const Case cases[] = {{"llama_tokenizer.model", 32'000, {15043, 3186}},
                        {"chatglm6b_ice_text.model", 130'344, {19316, 398}},
                        {"chatglm2_tokenizer.model", 64'789, {13755, 993}}};
  for (const Case& c : cases) {
    const auto tokenizer = load_sentencepiece(kShared / "tokenizers" / c.file, {});
    EXPECT_EQ(tokenizer->vocab_size(), c.size) << c.file;
    EXPECT_EQ(tokenizer->encode("Hello world"), c.hello) << c.file;
    EXPECT_EQ(tokenizer->encode_with_specials("<s>Hello world</s>").size(), 4u) << c.file;
    for (const std::string text : {"Hello world", "\u4f60\u597d \u4e16\u754c", "a \U0001f600 b"}) {
      const auto ids = tokenizer->encode(text);
      EXPECT_EQ(tokenizer->decode(ids, true), text) << c.file;
      StreamDecoder stream(*tokenizer);
      std::string streamed;
      for (const TokenId id : ids) streamed += stream.push(id);
      EXPECT_EQ(streamed + stream.finish(), text) << c.file;
    }
  }
}

TEST(SharedSentencePiece, ChatGlm) {
  testing::TempDir dir;
  std::filesystem::copy_file(kShared / "tokenizers" / "chatglm6b_ice_text.model",
                             dir.path() / "ice_text.model");
  dir.write("tokenizer_config.json", R"({"num_image_tokens": 0})");
  const auto tokenizer = load_tokenizer(dir.path());
  // The ids of config.json, and those of the Python package behind the rules of
  // tokenization_chatglm.py.
  EXPECT_EQ(tokenizer->special_id("[gMASK]"), 130001);
  EXPECT_EQ(tokenizer->special_id("<sop>"), 130004);
  EXPECT_EQ(tokenizer->special_id("<eop>"), 130005);
  const std::pair<std::string, std::vector<TokenId>> cases[] = {
      {"你好", {5, 74874}},
      {"def f(x):\n\treturn  x", {1616, 502, 20, 149, 125662, 4, 130008, 2091, 130009, 149}},
      {"[Round 0]\n问：你好\n答：", {53, 6945, 5, 8, 42, 4, 64286, 12, 74874, 4, 67342, 12}},
      {"ﬁ Ａ　１ 🙂", {6397, 167, 5, 9, 126999}}};
  for (const auto& [text, ids] : cases) EXPECT_EQ(tokenizer->encode(text), ids) << text;
  EXPECT_EQ(tokenizer->decode(cases[1].second, true), cases[1].first);
}

TEST(SharedSentencePiece, ChatGlm3) {
  testing::TempDir dir;
  std::filesystem::copy_file(kShared / "tokenizers" / "chatglm2_tokenizer.model",
                             dir.path() / "tokenizer.model");
  dir.write("config.json", R"({"model_type": "chatglm", "multi_query_group_num": 2,
                               "_name_or_path": "THUDM/chatglm3-6b"})");
  const auto tokenizer = load_tokenizer(dir.path());
  // Ids that the published model goes by (its tokenizer_config.json), and of the Python package.
  EXPECT_EQ(tokenizer->special_id("[gMASK]"), 64790);
  EXPECT_EQ(tokenizer->special_id("sop"), 64792);
  EXPECT_EQ(tokenizer->special_id("<|user|>"), 64795);
  EXPECT_EQ(tokenizer->special_id("<|observation|>"), 64797);
  EXPECT_EQ(tokenizer->encode("\n"), (std::vector<TokenId>{30910, 13}));
  EXPECT_EQ(tokenizer->encode("[Round 1]\n\n\u95ee\uff1a\u4f60\u597d\n\n\u7b54\uff1a"),
            (std::vector<TokenId>{790, 30951, 517, 30910, 30939, 30996, 13, 13, 54761, 31211, 39701,
                                  13, 13, 55437, 31211}));
}

}  // namespace
}  // namespace reelm::llm
