#include "llm/tokenizer.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/llm/tokenizer_testing.h"

namespace reelm::llm {
namespace {

using testing::small_tokenizer;
using testing::TempDir;

class SmallTokenizer : public ::testing::Test {
 protected:
  SmallTokenizer() {
    dir_.write("tokenizer.json", small_tokenizer().dump());
    tokenizer_ = load_tokenizer(dir_.path());
  }
  TempDir dir_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

using Ids = std::vector<TokenId>;

TEST_F(SmallTokenizer, MergesByRankNotByLength) {
  EXPECT_EQ(tokenizer_->encode("hell"), Ids({258}));
  EXPECT_EQ(tokenizer_->encode("hello"), Ids({258, 'o'}));
  EXPECT_EQ(tokenizer_->encode("lll"), Ids({257, 'l'}));
  // "h e" comes before "Ġ he", which then applies.
  EXPECT_EQ(tokenizer_->encode(" hell"), Ids({' ', 258}));
  EXPECT_EQ(tokenizer_->encode(" he"), Ids({259}));
  EXPECT_TRUE(tokenizer_->encode("").empty());
}

TEST_F(SmallTokenizer, UserTextNeverBecomesASpecialToken) {
  EXPECT_EQ(tokenizer_->encode_with_specials("he<|end|>"), Ids({256, 300}));
  EXPECT_EQ(tokenizer_->encode("<|end|>"), Ids({'<', '|', 'e', 'n', 'd', '|', '>'}));
  // Added tokens that are not special are found in either.
  EXPECT_EQ(tokenizer_->encode("he<call>"), Ids({256, 301}));
  EXPECT_EQ(tokenizer_->special_id("<|end|>"), 300);
  EXPECT_EQ(tokenizer_->special_id("<call>"), std::nullopt);
  EXPECT_EQ(tokenizer_->special_id("he"), std::nullopt);
  EXPECT_TRUE(tokenizer_->is_special(300));
  EXPECT_FALSE(tokenizer_->is_special(301));
  EXPECT_FALSE(tokenizer_->is_special(-1));
  EXPECT_FALSE(tokenizer_->is_special(1'000'000));
}

TEST_F(SmallTokenizer, IdsOutsideTheVocabulary) {
  EXPECT_EQ(tokenizer_->vocab_size(), 302);
  EXPECT_EQ(tokenizer_->token_bytes(258), "hell");
  EXPECT_EQ(tokenizer_->token_bytes(300), "<|end|>");
  EXPECT_EQ(tokenizer_->token_bytes(0xff), "\xff");
  for (const TokenId id : {-1, 260, 302, 1 << 30}) {
    EXPECT_THROW(tokenizer_->token_bytes(id), Error) << id;
    EXPECT_FALSE(tokenizer_->has_token(id)) << id;
    EXPECT_EQ(tokenizer_->decode(Ids({'a', id, 'b'}), true), "ab") << id;
  }
}

TEST_F(SmallTokenizer, DecodeReplacesWhatIsNotUtf8) {
  EXPECT_EQ(tokenizer_->decode(Ids({0xe2, 0x82, 0xac}), true), "\u20ac");
  EXPECT_EQ(tokenizer_->decode(Ids({0xe2, 0x82}), true), "\ufffd");
  EXPECT_EQ(tokenizer_->decode(Ids({0xe2, 0x82, 300, 0xac}), true), "\u20ac");
  EXPECT_EQ(tokenizer_->decode(Ids({0xe2, 0x82, 300, 0xac}), false), "\ufffd<|end|>\ufffd");
  EXPECT_EQ(tokenizer_->decode(Ids({0xff, 0xff}), true), "\ufffd\ufffd");
}

TEST_F(SmallTokenizer, StreamHoldsBackHalfCharacters) {
  StreamDecoder stream(*tokenizer_);
  EXPECT_EQ(stream.push(258), "hell");
  EXPECT_EQ(stream.push(0xf0), "");
  EXPECT_EQ(stream.push(0x9f), "");
  EXPECT_EQ(stream.push(300), "");  // a skipped token does not break the character
  EXPECT_EQ(stream.push(1 << 29), "");
  EXPECT_EQ(stream.push(0x98), "");
  EXPECT_EQ(stream.push(0x80), "\U0001f600");
  EXPECT_EQ(stream.push(0xe2), "");
  EXPECT_EQ(stream.push('a'), "\ufffda");
  EXPECT_EQ(stream.push(0xe2), "");
  EXPECT_EQ(stream.finish(), "\ufffd");
  EXPECT_EQ(stream.finish(), "");
}

TEST_F(SmallTokenizer, StreamEqualsDecodeForAnyIds) {
  std::uint32_t state = 1;
  const auto random = [&](std::uint32_t n) {
    state = state * 1664525u + 1013904223u;
    return static_cast<TokenId>((state >> 8) % n);
  };
  for (int round = 0; round < 3000; ++round) {
    Ids ids(static_cast<std::size_t>(random(14)));
    // Mostly bytes that begin or go on with characters.
    for (TokenId& id : ids) id = random(4) == 0 ? random(310) : 0x80 + random(0x80);
    for (const bool skip : {false, true}) {
      StreamDecoder stream(*tokenizer_, skip);
      std::string text;
      for (const TokenId id : ids) {
        const std::string piece = stream.push(id);
        EXPECT_EQ(utf8_valid_prefix(piece), piece.size());
        text += piece;
      }
      text += stream.finish();
      ASSERT_EQ(text, tokenizer_->decode(ids, skip)) << ::testing::PrintToString(ids);
    }
  }
}

TEST_F(SmallTokenizer, InvalidUtf8IsReplaced) {
  EXPECT_EQ(tokenizer_->encode("a\xff"), Ids({'a', 0xef, 0xbf, 0xbd}));
  EXPECT_EQ(tokenizer_->encode("\xe2\x82"), tokenizer_->encode("\ufffd"));
}

// Quadratic merging would take hours here.
TEST_F(SmallTokenizer, LongWordsAreLinearithmic) {
  EXPECT_EQ(tokenizer_->encode(std::string(2'000'000, 'l')).size(), 1'000'000u);
  std::string text;
  for (int i = 0; i < 250'000; ++i) text += "hell";
  EXPECT_EQ(tokenizer_->encode(text), Ids(250'000, 258));
  EXPECT_EQ(tokenizer_->encode(std::string(1'000'000, ' ')).size(), 1'000'000u);
  EXPECT_EQ(tokenizer_->encode_with_specials(std::string(1'000'000, '<')).size(), 1'000'000u);
  std::string marks = "a";
  for (int i = 0; i < 100'000; ++i) marks += "\u0301";
  EXPECT_FALSE(tokenizer_->encode(marks).empty());
}

TEST_F(SmallTokenizer, ThreadsShareIt) {
  const std::string text = "hello \u00e9 he'll 42 <call> e\u0301";
  const Ids expected = tokenizer_->encode(text);
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (std::size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) wrong[t] += tokenizer_->encode(text) != expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

TEST(AddedTokens, FlagsAsInTheReference) {
  TempDir dir;
  auto json = small_tokenizer();
  json["added_tokens"] = nlohmann::json::parse(R"([
    {"id": 300, "content": "<L>", "special": true, "lstrip": true, "normalized": false},
    {"id": 301, "content": "<R>", "special": true, "rstrip": true, "normalized": false},
    {"id": 302, "content": "word", "special": false, "single_word": true, "normalized": false},
    {"id": 303, "content": "wordy", "special": false, "normalized": false},
    {"id": 304, "content": "caf\u0065\u0301", "special": false, "normalized": true}])");
  dir.write("tokenizer.json", json.dump());
  const auto tokenizer = load_tokenizer(dir.path());
  EXPECT_EQ(tokenizer->encode_with_specials("a \n<L> b"), Ids({'a', 300, ' ', 'b'}));
  EXPECT_EQ(tokenizer->encode_with_specials("a <R> \u3000b"), Ids({'a', ' ', 301, 'b'}));
  EXPECT_EQ(tokenizer->encode_with_specials("<R>  <L>"), Ids({301, 300}));
  EXPECT_EQ(tokenizer->encode_with_specials("word"), Ids({302}));
  EXPECT_EQ(tokenizer->encode_with_specials("-word-"), Ids({'-', 302, '-'}));
  EXPECT_EQ(tokenizer->encode_with_specials("aword").size(), 5u);
  EXPECT_EQ(tokenizer->encode_with_specials("wordy"), Ids({303}));  // the longest
  EXPECT_EQ(tokenizer->encode_with_specials("caf\u00e9"), Ids({304}));
  EXPECT_EQ(tokenizer->encode_with_specials("cafe\u0301"), Ids({304}));
}

TEST(Bpe, IgnoreMergesTakesWholeWords) {
  TempDir dir;
  auto json = small_tokenizer();
  json["model"]["vocab"]["xyz"] = 260;
  dir.write("tokenizer.json", json.dump());
  EXPECT_EQ(load_tokenizer(dir.path())->encode("xyz"), Ids({'x', 'y', 'z'}));
  json["model"]["ignore_merges"] = true;
  dir.write("tokenizer.json", json.dump());
  EXPECT_EQ(load_tokenizer(dir.path())->encode("xyz"), Ids({260}));
}

}  // namespace
}  // namespace reelm::llm
