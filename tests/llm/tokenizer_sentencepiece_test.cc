// SentencePiece models made by hand: good ones, damaged ones, hostile ones.
#include "llm/tokenizer_sentencepiece.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "llm/sentencepiece_model.h"
#include "tests/llm/tokenizer_testing.h"

namespace reelm::llm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using testing::TempDir;
using Type = SentencePieceEntry::Type;

std::string varint(std::uint64_t v) {
  std::string out;
  for (; v >= 0x80; v >>= 7) out.push_back(static_cast<char>(v | 0x80));
  return out + static_cast<char>(v);
}
std::string bytes_field(unsigned field, std::string_view value) {
  return varint(field << 3 | 2) + varint(value.size()) + std::string(value);
}
std::string number_field(unsigned field, std::uint64_t value) {
  return varint(field << 3) + varint(value);
}
std::string piece(std::string_view text, float score, Type type = Type::kNormal) {
  char bits[4];
  std::memcpy(bits, &score, 4);
  return bytes_field(1, bytes_field(1, text) + varint(2 << 3 | 5) + std::string(bits, 4) +
                            number_field(3, static_cast<std::uint64_t>(type)));
}

/// A double array with the one rule "A" -> strings + value: the root's children are at 256, the
/// state after "A" is at 512.
std::string charsmap(std::uint32_t value = 0, std::string_view strings = {"a\0", 2},
                     std::uint32_t root = 256u << 10, std::uint32_t edge_offset = 0x341) {
  std::vector<std::uint32_t> units(768, 0x80000000u);  // a label that no byte has
  units[0] = root;
  units[256 + 'A'] = edge_offset << 10 | 0x100u | 'A';
  units[512] = 0x80000000u | value;
  const auto size = static_cast<std::uint32_t>(units.size() * 4);
  std::string out(4 + size, '\0');
  std::memcpy(out.data(), &size, 4);
  std::memcpy(out.data() + 4, units.data(), size);
  return out + std::string(strings);
}

const std::string kPieces = piece("<unk>", 0, Type::kUnknown) + piece("<s>", 0, Type::kControl) +
                            piece("</s>", 0, Type::kControl) + piece("\u2581", -2) +
                            piece("\u2581a", -1) + piece("a", -3) + piece("b", -3) +
                            piece("<x>", 0, Type::kUserDefined);
const std::string kUnigram = bytes_field(2, number_field(3, 1));

std::string model(const std::string& pieces, const std::string& map = "") {
  return pieces + kUnigram + bytes_field(3, bytes_field(1, "test") + bytes_field(2, map));
}

std::string error_of(const std::string& bytes) {
  TempDir dir;
  dir.write("tokenizer.model", bytes);
  return testing::load_error(dir.path());
}

TEST(SentencePiece, EncodesAndDecodes) {
  TempDir dir;
  dir.write("some.model", model(kPieces, charsmap()));
  const auto tokenizer = load_tokenizer(dir.path());
  EXPECT_EQ(tokenizer->vocab_size(), 8);
  EXPECT_EQ(tokenizer->encode("ab a"), std::vector<TokenId>({4, 6, 4}));
  EXPECT_EQ(tokenizer->encode("A"), std::vector<TokenId>({4}));  // by the rule
  EXPECT_EQ(tokenizer->decode(std::vector<TokenId>({1, 4, 6, 4, 2}), true), "ab a");
  EXPECT_EQ(tokenizer->decode(std::vector<TokenId>({1, 4, 2, 99, -1}), false), "<s> a</s>");
  EXPECT_EQ(tokenizer->token_bytes(4), " a");
  EXPECT_THROW(tokenizer->token_bytes(8), Error);
  EXPECT_EQ(tokenizer->special_id("</s>"), 2);
  EXPECT_EQ(tokenizer->special_id("<x>"), std::nullopt);
  EXPECT_EQ(tokenizer->encode_with_specials("<s>a</s>"), std::vector<TokenId>({1, 4, 2}));
  for (const TokenId id : tokenizer->encode("<s></s>")) EXPECT_TRUE(id == 0 || id > 2) << id;
}

TEST(SentencePiece, StreamDropsTheFirstSpaceAsDecodeDoes) {
  TempDir dir;
  dir.write("tokenizer.model", model(kPieces));
  const auto tokenizer = load_tokenizer(dir.path());
  StreamDecoder stream(*tokenizer);
  EXPECT_EQ(stream.push(1), "");
  EXPECT_EQ(stream.push(4), "a");
  EXPECT_EQ(stream.push(4), " a");
  EXPECT_EQ(stream.finish(), "");
  EXPECT_EQ(stream.push(4), "a");
}

TEST(SentencePiece, DamagedFiles) {
  EXPECT_THAT(error_of(""), AllOf(StartsWith("malformed"), HasSubstr("tokenizer.model")));
  EXPECT_THAT(error_of("not a protocol buffer"), StartsWith("malformed"));
  EXPECT_THAT(error_of(std::string(100, '\xff')), StartsWith("malformed"));
  EXPECT_THAT(error_of(kUnigram), AllOf(StartsWith("malformed"), HasSubstr("no pieces")));
  const std::string good = model(kPieces, charsmap());
  EXPECT_EQ(error_of(good), "");
  // Every cut either still is a model or is refused; none may crash.
  for (std::size_t size = 0; size < good.size(); size += 1 + size / 40) {
    const std::string error = error_of(good.substr(0, size));
    EXPECT_TRUE(error.empty() || error.starts_with("malformed")) << size << ": " << error;
  }
}

TEST(SentencePiece, BadPieces) {
  const auto with = [](const std::string& extra) { return error_of(model(kPieces + extra)); };
  EXPECT_THAT(with(piece("", 0)), AllOf(StartsWith("malformed"), HasSubstr("piece 8")));
  EXPECT_THAT(with(piece({"a\0b", 3}, 0)), StartsWith("malformed"));
  EXPECT_THAT(with(piece("\xff", 0)), StartsWith("malformed"));
  EXPECT_THAT(with(piece(std::string(100'000, 'x'), 0)), StartsWith("malformed"));
  EXPECT_THAT(with(piece("c", std::numeric_limits<float>::quiet_NaN())), StartsWith("malformed"));
  EXPECT_THAT(with(piece("c", std::numeric_limits<float>::infinity())), StartsWith("malformed"));
  EXPECT_THAT(with(piece("a", 0)), StartsWith("malformed"));             // twice
  EXPECT_THAT(error_of(model(piece("a", 0))), StartsWith("malformed"));  // no <unk>
  EXPECT_THAT(error_of(kPieces + bytes_field(2, number_field(24, 1))), StartsWith("unsupported"));
}

// libsentencepiece follows these offsets without looking.
TEST(SentencePiece, HostileNormalisationTables) {
  const auto with = [](const std::string& map) { return error_of(model(kPieces, map)); };
  const auto refused = AllOf(StartsWith("malformed"), HasSubstr("precompiled_charsmap"));
  EXPECT_THAT(with("abc"), refused);
  EXPECT_THAT(with(std::string("\xff\xff\xff\xff\0\0\0\0", 8)), refused);
  EXPECT_THAT(with(charsmap(2)), refused);  // a string outside
  EXPECT_THAT(with(charsmap(0x7fffffff)), refused);
  EXPECT_THAT(with(charsmap(0, "a")), refused);  // a string without end
  EXPECT_THAT(with(charsmap(0, std::string(5000, 'a') + '\0')), refused);
  EXPECT_THAT(with(charsmap(0, {"a\0", 2}, 768u << 10)), refused);  // the root leads outside
  EXPECT_THAT(with(charsmap(0, {"a\0", 2}, 0xfffffc00u)), refused);
  EXPECT_THAT(with(charsmap(0, {"a\0", 2}, 256u << 10, 0x1fffff)), refused);  // so does "A"
  EXPECT_THAT(with(charsmap(0, {"a\0", 2}, 256u << 10, 'A')), refused);       // A, AA, AAA, ...
}

}  // namespace
}  // namespace reelm::llm
