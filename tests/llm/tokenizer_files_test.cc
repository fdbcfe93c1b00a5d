// Files that are damaged, hostile or of another kind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "llm/tokenizer_bpe.h"
#include "tests/llm/tokenizer_testing.h"

namespace reelm::llm {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using testing::byte_vocab;
using ::testing::HasSubstr;
using testing::load_error;
using testing::small_tokenizer;
using ::testing::StartsWith;
using testing::TempDir;

/// The error of a tokenizer.json.
std::string error_of(const std::string& text) {
  TempDir dir;
  dir.write("tokenizer.json", text);
  return load_error(dir.path());
}
std::string error_of(const json& root) { return error_of(root.dump()); }

TEST(TokenizerFiles, Missing) {
  TempDir dir;
  EXPECT_THAT(load_error(dir.path()), AllOf(StartsWith("not found"), HasSubstr("tokenizer.json"),
                                            HasSubstr("vocab.json"), HasSubstr("tokenizer.model")));
  EXPECT_THAT(load_error(dir.path() / "nowhere"), StartsWith("not found"));
  dir.write("vocab.json", "{}");
  EXPECT_THAT(load_error(dir.path()), AllOf(StartsWith("not found"), HasSubstr("not merges.txt")));
}

TEST(TokenizerFiles, Damaged) {
  const std::string good = small_tokenizer().dump();
  EXPECT_EQ(error_of(good), "");
  EXPECT_THAT(error_of(std::string()), AllOf(StartsWith("malformed"), HasSubstr("is empty")));
  for (const std::size_t cut : {1u, 10u, 200u, 2000u}) {
    EXPECT_THAT(error_of(good.substr(0, good.size() - cut)),
                AllOf(StartsWith("malformed"), HasSubstr("tokenizer.json")))
        << cut;
  }
  EXPECT_THAT(error_of(std::string(1'000'000, '[')), StartsWith("limit exceeded"));
  EXPECT_THAT(error_of(std::string("[]")), StartsWith("malformed"));
  EXPECT_THAT(error_of(std::string("\xff\xfe{}")), StartsWith("malformed"));
  EXPECT_NE(error_of(std::string("{}")), "");
}

TEST(TokenizerFiles, OverTheLimit) {
  TempDir dir;
  dir.write("tokenizer.json", small_tokenizer().dump());
  Limits limits;
  limits.json_bytes = 1000;
  EXPECT_THAT(load_error(dir.path(), limits),
              AllOf(StartsWith("limit exceeded"), HasSubstr("json-bytes")));
}

TEST(TokenizerFiles, Vocabulary) {
  const auto with = [](const std::string& spelling, const json& id) {
    json root = small_tokenizer();
    root["model"]["vocab"][spelling] = id;
    return error_of(root);
  };
  EXPECT_THAT(with("new", 65), AllOf(StartsWith("malformed"), HasSubstr("'new'"), HasSubstr("65")));
  EXPECT_THAT(with("new", -1), AllOf(StartsWith("malformed"), HasSubstr("'new' is -1")));
  EXPECT_THAT(with("new", kMaxTokenId + 1), AllOf(StartsWith("malformed"), HasSubstr("'new'")));
  EXPECT_THAT(with("new", 18446744073709551615u), StartsWith("malformed"));
  EXPECT_THAT(with("new", "7"), AllOf(StartsWith("malformed"), HasSubstr("expected an integer")));
  EXPECT_THAT(with("new", nullptr), StartsWith("malformed"));
  EXPECT_EQ(with("new", kMaxTokenId), "");

  json root = small_tokenizer();
  root["model"]["vocab"] = json::array({"a"});
  EXPECT_THAT(error_of(root), AllOf(StartsWith("malformed"), HasSubstr("model.vocab")));
  root["model"].erase("vocab");
  EXPECT_THAT(error_of(root), AllOf(StartsWith("malformed"), HasSubstr("model.vocab")));
  root = small_tokenizer();
  root["model"]["vocab"].erase("x");
  EXPECT_THAT(error_of(root), AllOf(StartsWith("malformed"), HasSubstr("byte 0x78")));

  std::string text = small_tokenizer().dump();
  text.insert(text.find("\"hell\":"), "\"hell\":290,");
  EXPECT_THAT(error_of(text), AllOf(StartsWith("malformed"), HasSubstr("hell")));
}

TEST(TokenizerFiles, Merges) {
  const auto with = [](const json& merge) {
    json root = small_tokenizer();
    root["model"]["merges"].push_back(merge);
    return error_of(root);
  };
  EXPECT_EQ(with("h e"), "");
  EXPECT_EQ(with(json::array({"h", "e"})), "");
  EXPECT_THAT(with("x y"), AllOf(StartsWith("malformed"), HasSubstr("merge 4"), HasSubstr("'xy'")));
  EXPECT_THAT(with("nope h"), AllOf(StartsWith("malformed"), HasSubstr("'nope'")));
  for (const json& bad :
       {json("h"), json("h e y"), json(" h"), json("h "), json(""), json(7), json(nullptr),
        json::array({"h"}), json::array({"h", 1}), json::array({"h", "e", "l"}), json::object()}) {
    EXPECT_THAT(with(bad), AllOf(StartsWith("malformed"), HasSubstr("model.merges[4]"))) << bad;
  }
  json root = small_tokenizer();
  root["model"]["merges"] = "h e";
  EXPECT_THAT(error_of(root), AllOf(StartsWith("malformed"), HasSubstr("model.merges")));
}

TEST(TokenizerFiles, AddedTokens) {
  const auto with = [](const json& entry) {
    json root = small_tokenizer();
    root["added_tokens"].push_back(entry);
    return error_of(root);
  };
  EXPECT_EQ(with({{"id", 302}, {"content", "<new>"}}), "");
  EXPECT_EQ(with({{"id", 256}, {"content", "he"}}), "");
  const json bad[] = {
      json({{"id", 300}, {"content", "<new>"}}),    // the id of <|end|>
      json({{"id", 65}, {"content", "<new>"}}),     // the id of "A"
      json({{"id", 302}, {"content", "<|end|>"}}),  // has 300
      json({{"id", 302}, {"content", "he"}}),       // has 256
      json({{"id", -1}, {"content", "<new>"}}),
      json({{"id", kMaxTokenId + 1}, {"content", "<new>"}}),
      json({{"id", 302}, {"content", ""}}),
      json({{"id", 302}, {"content", std::string(100'000, 'x')}}),
      json({{"id", 302}, {"content", 5}}),
      json({{"id", 302}}),
      json({{"content", "<new>"}}),
      json({{"id", 302}, {"content", "<new>"}, {"special", "yes"}}),
      json("<new>"),
      json(nullptr),
  };
  for (const json& entry : bad) {
    EXPECT_THAT(with(entry), AllOf(StartsWith("malformed"), HasSubstr("added")))
        << entry.dump().substr(0, 100);
  }
  json root = small_tokenizer();
  root["added_tokens"] = json::object();
  EXPECT_THAT(error_of(root), StartsWith("malformed"));
}

TEST(TokenizerFiles, OtherKindsSayWhatTheyAre) {
  const auto with = [](const char* pointer, const json& value) {
    json root = small_tokenizer();
    root[json::json_pointer(pointer)] = value;
    return error_of(root);
  };
  const auto unsupported = [](const std::string& what) {
    return AllOf(StartsWith("unsupported"), HasSubstr("tokenizer.json"), HasSubstr(what));
  };
  EXPECT_THAT(with("/model", {{"type", "WordPiece"}, {"vocab", {{"a", 0}}}}),
              unsupported("WordPiece"));
  EXPECT_THAT(with("/model/byte_fallback", true), unsupported("byte_fallback"));
  EXPECT_THAT(with("/model/dropout", 0.1), unsupported("dropout"));
  EXPECT_THAT(with("/model/end_of_word_suffix", "</w>"), unsupported("</w>"));
  EXPECT_THAT(with("/normalizer", {{"type", "NFKC"}}), unsupported("NFKC"));
  EXPECT_THAT(with("/pre_tokenizer", {{"type", "Metaspace"}}), unsupported("Metaspace"));
  EXPECT_THAT(with("/pre_tokenizer", nullptr), unsupported("pre_tokenizer is null"));
  EXPECT_THAT(with("/pre_tokenizer/pretokenizers/0/pattern/Regex", "\\p{N}{1,3}"),
              unsupported("\\p{N}{1,3}"));
  EXPECT_THAT(with("/pre_tokenizer/pretokenizers/0/behavior", "Removed"), unsupported("Removed"));
  EXPECT_THAT(with("/pre_tokenizer/pretokenizers/1/add_prefix_space", true),
              unsupported("add_prefix_space"));
  EXPECT_THAT(with("/decoder", {{"type", "Metaspace"}}), unsupported("decoder"));
  EXPECT_THAT(with("/post_processor", {{"type", "TemplateProcessing"}}),
              unsupported("TemplateProcessing"));
  const json text_alone = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const json bos = {{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}};
  EXPECT_THAT(
      with("/post_processor", {{"type", "TemplateProcessing"}, {"single", {bos, text_alone}}}),
      unsupported("<s>"));
  EXPECT_THAT(
      with("/post_processor", {{"type", "TemplateProcessing"}, {"single", json::array({bos})}}),
      unsupported("<s>"));
  EXPECT_EQ(with("/post_processor",
                 {{"type", "TemplateProcessing"}, {"single", json::array({text_alone})}}),
            "");
  EXPECT_EQ(with("/normalizer", {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}}}}), "");
  EXPECT_EQ(with("/normalizer", nullptr), "");
  EXPECT_EQ(with("/post_processor", {{"type", "ByteLevel"}, {"trim_offsets", false}}), "");
}

/// vocab.json and merges.txt with the same tokens as small_tokenizer().
void write_vocab_and_merges(const TempDir& dir, const std::string& merges) {
  json vocab = small_tokenizer()["model"]["vocab"];
  dir.write("vocab.json", vocab.dump());
  dir.write("merges.txt", merges);
}

TEST(TokenizerFiles, VocabAndMerges) {
  const std::string merges = "#version: 0.2\nh e\nl l\r\nhe ll\n\n\xc4\xa0 he\n";
  TempDir dir;
  write_vocab_and_merges(dir, merges);
  dir.write("added_tokens.json", R"({"<call>": 301, "<pad>": 302})");
  dir.write("tokenizer_config.json", R"({"pad_token": "<pad>", "eos_token": {"content": "z"},
    "added_tokens_decoder": {"300": {"content": "<|end|>", "special": true}}})");
  const auto tokenizer = load_tokenizer(dir.path());
  EXPECT_EQ(tokenizer->encode_with_specials(" he hello<|end|><call>"),
            std::vector<TokenId>({259, ' ', 258, 'o', 300, 301}));
  EXPECT_EQ(tokenizer->special_id("<|end|>"), 300);
  EXPECT_EQ(tokenizer->special_id("<pad>"), 302);
  EXPECT_EQ(tokenizer->special_id("z"), 'z');
  EXPECT_EQ(tokenizer->special_id("<call>"), std::nullopt);
}

TEST(TokenizerFiles, BadMergesTxt) {
  TempDir dir;
  for (const char* line : {"h", "h e y", " h", "h ", "h  e", "#version: 0.2"}) {
    write_vocab_and_merges(dir, std::string("#version: 0.2\nh e\n") + line + "\n");
    EXPECT_THAT(load_error(dir.path()), AllOf(StartsWith("malformed"), HasSubstr("merges.txt")))
        << line;
  }
  write_vocab_and_merges(dir, "");
  EXPECT_THAT(load_error(dir.path()), AllOf(StartsWith("malformed"), HasSubstr("no merges")));
  write_vocab_and_merges(dir, "h \xff\xff\n");
  EXPECT_THAT(load_error(dir.path()), AllOf(StartsWith("malformed"), HasSubstr("merges.txt")));
}

/// The lines of a rank file for the 256 bytes, each its own rank.
std::string byte_ranks() {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (unsigned b = 0; b < 256; ++b) {
    out += {kDigits[b >> 2], kDigits[(b & 3) << 4], '=', '='};
    out += ' ' + std::to_string(b) + '\n';
  }
  return out;
}

TEST(TokenizerFiles, Ranks) {
  TempDir dir;
  dir.write("qwen.tiktoken", byte_ranks() + "YmE= 256\r\nYWI= 257\n\nYWJh 258\nYWJhYWI= 259\n");
  const auto tokenizer = load_tokenizer(dir.path());
  EXPECT_EQ(tokenizer->vocab_size(), 260 + 208);
  EXPECT_EQ(tokenizer->encode("ab"), std::vector<TokenId>{257});
  EXPECT_EQ(tokenizer->encode("aba"), std::vector<TokenId>{258});
  EXPECT_EQ(tokenizer->encode("abaa"),
            (std::vector<TokenId>{258, 'a'}));  // a + ba, the smaller rank first
  EXPECT_EQ(tokenizer->special_id("<|endoftext|>"), 260);
  EXPECT_EQ(tokenizer->special_id("<|im_start|>"), 261);
  EXPECT_EQ(tokenizer->special_id("<|extra_204|>"), 467);
  EXPECT_EQ(tokenizer->encode("<|im_end|>").size(), 10u);
}

TEST(TokenizerFiles, BadRanks) {
  const auto error = [](const std::string& text) {
    TempDir dir;
    dir.write("qwen.tiktoken", text);
    return load_error(dir.path());
  };
  EXPECT_EQ(error(byte_ranks()), "");
  for (const char* line :
       {"YWI=", "YWI= ", " 256", "YWI= x", "YWI= -1", "YWI= 256 7", "YWI= 1048576", "YWI 256",
        "Y!I= 256", "=== 256", "YWI=  256", "YWI= 99999999999"}) {
    EXPECT_THAT(
        error(byte_ranks() + line + "\n"),
        AllOf(StartsWith("malformed"), HasSubstr("qwen.tiktoken: line 257: expected a token")))
        << line;
  }
  EXPECT_THAT(error(byte_ranks() + std::string(344, 'A') + " 256\n"),  // 258 bytes
              HasSubstr("expected a token of 1 to 256 bytes"));
  EXPECT_THAT(error(byte_ranks() + "YWI= 257\n"), HasSubstr("rank 257 is too large"));
  EXPECT_THAT(error(byte_ranks() + "YWI= 3\n"), HasSubstr("rank 3 is there twice"));
  EXPECT_THAT(error("YWI= 0\n"), HasSubstr("no token for byte"));
  EXPECT_THAT(error("\n\n"), HasSubstr("has no tokens"));
  EXPECT_THAT(error(byte_ranks() + "YQ== 256\n"), HasSubstr("token 'a' has ranks 97 and 256"));
}

TEST(TokenizerFiles, BadConfig) {
  TempDir dir;
  dir.write("tokenizer.json", small_tokenizer().dump());
  const char* const bad[] = {
      "[]",
      R"({"added_tokens_decoder": []})",
      R"({"added_tokens_decoder": {"x": {"content": "<new>"}}})",
      R"({"added_tokens_decoder": {"-1": {"content": "<new>"}}})",
      R"({"added_tokens_decoder": {"99999999999999999999": {"content": "<new>"}}})",
      R"({"added_tokens_decoder": {"300": {"content": "<other>"}}})",
      R"({"added_tokens_decoder": {"302": {"content": "<|end|>"}}})",
      R"({"added_tokens_decoder": {"302": "<new>"}})",
  };
  for (const char* text : bad) {
    dir.write("tokenizer_config.json", text);
    EXPECT_THAT(load_error(dir.path()), StartsWith("malformed")) << text;
  }
  dir.write("tokenizer_config.json", R"({"eos_token": null, "additional_special_tokens": null})");
  EXPECT_EQ(load_error(dir.path()), "");
}

}  // namespace
}  // namespace reelm::llm
