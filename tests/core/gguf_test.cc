#include "core/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/scratch_dir.h"

namespace reelm {
namespace {

using test::GgufWriter;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::uint32_t kF32 = 0, kQ4_0 = 2, kQ8_0 = 8, kQ2_K = 10;  // ids of ggml

class Gguf : public testing::ScratchDirTest {
 protected:
  GgufFile open(const std::string& bytes, const Limits& limits = {}) const {
    write("x.gguf", bytes);
    return GgufFile::open(dir_ / "x.gguf", limits);
  }
  /// The error of opening a file of these bytes: its code, then its message.
  std::string open_error(const std::string& bytes, const Limits& limits = {}) const {
    try {
      open(bytes, limits);
    } catch (const Error& e) {
      return std::string(error_code_name(e.code())) + ": " + e.what();
    }
    return "";
  }
  std::string open_error(const GgufWriter& writer, const Limits& limits = {}) const {
    return open_error(writer.file(), limits);
  }
};

/// Two tensors, the second quantised, and one of a type reelm cannot compute with.
GgufWriter three() {
  GgufWriter w;
  w.value("general.architecture", "none");
  w.tensor("b", kF32, {2, 3}, std::string(24, 'b'));
  w.tensor("a", kQ4_0, {2, 64}, std::string(72, 'a'));
  w.tensor("c", kQ2_K, {256}, std::string(84, 'c'));
  return w;
}

TEST_F(Gguf, Reads) {
  for (const std::uint32_t version : {2u, 3u}) {
    GgufWriter w = three();
    w.version = version;
    const GgufFile file = open(w.file());
    EXPECT_EQ(file.version(), version);
    ASSERT_EQ(file.tensors().size(), 2u);
    const StoredTensor& a = file.tensors()[0];
    EXPECT_EQ(a.name, "a");
    EXPECT_EQ(a.dtype, DType::kQ4_0);
    EXPECT_THAT(a.shape, ElementsAre(2, 64));
    EXPECT_EQ(a.bytes.size(), 72u);
    EXPECT_EQ(a.bytes.back(), std::byte{'a'});
    EXPECT_THAT(file.find("b")->shape, ElementsAre(2, 3)) << "outermost first";
    EXPECT_EQ(file.find("d"), nullptr);
    ASSERT_EQ(file.other_tensors().size(), 1u);
    EXPECT_EQ(file.other_tensors()[0].dtype, "Q2_K");
    EXPECT_EQ(file.total_bytes(), 24 + 72 + 84);
    EXPECT_THROW(file.find("c"), Error);
  }
}

TEST_F(Gguf, ReadsWhatAnotherWriterWrote) {
  const GgufFile file =
      GgufFile::open(std::filesystem::path(REELM_TEST_GOLDENS) / "gguf/types.gguf");
  constexpr std::int64_t kMin = INT64_MIN, kMax = INT64_MAX;
  EXPECT_EQ(file.string("general.architecture"), "none");
  EXPECT_EQ(file.string("a.string"), "Ġhéllo");
  EXPECT_EQ(file.integer("a.u8", kMin, kMax), 255);
  EXPECT_EQ(file.integer("a.i8", kMin, kMax), -128);
  EXPECT_EQ(file.integer("a.u16", kMin, kMax), 65535);
  EXPECT_EQ(file.integer("a.i16", kMin, kMax), -32768);
  EXPECT_EQ(file.integer("a.u32", kMin, kMax), 4294967295);
  EXPECT_EQ(file.integer("a.i32", kMin, kMax), -2147483648);
  EXPECT_EQ(file.integer("a.i64", kMin, kMax), kMin);
  EXPECT_EQ(file.number("a.f32"), 1e-6) << "not the double next to the float";
  EXPECT_EQ(file.number("a.f64"), 1e-300);
  EXPECT_EQ(file.flag("a.yes"), true);
  EXPECT_EQ(file.flag("a.no"), false);
  const auto strings = file.strings("a.strings");
  ASSERT_TRUE(strings);
  EXPECT_THAT(*strings, ElementsAre("a", "", "Ġb c"));
  EXPECT_THAT(file.integers("a.numbers", kMin, kMax).value(), ElementsAre(1, -2, 3));
  EXPECT_THAT(file.numbers("a.floats").value(), ElementsAre(0.5, 0.48145467));
  EXPECT_EQ(file.find_value("a.flags")->numbers.size(), 2u);
  EXPECT_EQ(file.integer("a.missing", kMin, kMax), std::nullopt);
  EXPECT_EQ(file.tensors().size(), 11u);
  EXPECT_THAT(file.find("F16")->shape, ElementsAre(5, 3, 2, 7));
}

TEST_F(Gguf, MetadataOfTheWrongTypeIsAnError) {
  GgufWriter w;
  w.value("s", "text");
  w.value("n", 7u);
  w.value("f", 0.5f);
  w.raw_value("wide", GgufWriter::type(GgufType::kU64) + GgufWriter::raw(~std::uint64_t{0}));
  w.raw_value("nan", GgufWriter::type(GgufType::kF64) + GgufWriter::raw(std::nan("")));
  const GgufFile file = open(w.file());
  const auto error_of = [&](auto&& fn) -> std::string {
    try {
      (void)fn();
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_THAT(error_of([&] { return file.integer("s", 0, 9); }),
              HasSubstr("x.gguf: metadata 's' is string, expected an integer"));
  EXPECT_THAT(error_of([&] { return file.integer("n", 0, 6); }),
              HasSubstr("metadata 'n' is 7, expected 0 to 6"));
  EXPECT_THAT(error_of([&] { return file.integer("f", 0, 6); }), HasSubstr("expected an integer"));
  EXPECT_THAT(error_of([&] { return file.integer("wide", 0, 6); }), HasSubstr("is over 2^63 - 1"));
  EXPECT_THAT(error_of([&] { return file.number("nan"); }), HasSubstr("a finite number"));
  EXPECT_THAT(error_of([&] { return file.strings("s"); }),
              HasSubstr("'s' is string, expected an array of strings"));
  EXPECT_THAT(error_of([&] { return file.flag("n"); }), HasSubstr("'n' is u32, expected a bool"));
}

TEST_F(Gguf, RefusesOtherFiles) {
  EXPECT_THAT(open_error("GGUF"), AllOf(StartsWith("malformed"), HasSubstr("cut short")));
  EXPECT_THAT(open_error(""), HasSubstr("the magic number takes 4 bytes, the file has 0 more"));
  EXPECT_THAT(open_error(std::string(100, 'x')), HasSubstr("does not begin with 'GGUF'"));
  GgufWriter w = three();
  w.version = 1;
  EXPECT_THAT(open_error(w), AllOf(StartsWith("unsupported"), HasSubstr("is GGUF version 1")));
  w.version = 3u << 24;
  EXPECT_THAT(open_error(w), HasSubstr("is big-endian, expected GGUF version 2 or 3"));
}

TEST_F(Gguf, EveryCutIsAnError) {
  const std::string whole = three().file();
  ASSERT_EQ(open_error(whole), "");
  const std::size_t padding = (32 - 84 % 32) % 32;  // behind the last tensor: may be missing
  ASSERT_EQ(open_error(whole.substr(0, whole.size() - padding)), "");
  for (std::size_t n = 0; n < whole.size() - padding; ++n) {
    EXPECT_THAT(open_error(whole.substr(0, n)), StartsWith("malformed")) << "at " << n;
  }
}

// CVE-2025-53630, CVE-2026-27940: sizes of tensors whose product or sum wraps, so that a small
// buffer is allocated for what a large one is read into.
TEST_F(Gguf, SizesThatOverflow) {
  constexpr std::uint64_t kHuge = std::uint64_t{1} << 62;
  const auto with = [](std::uint32_t type, const std::vector<std::uint64_t>& shape,
                       std::uint64_t offset) {
    GgufWriter w;
    w.raw_tensor("t", type, shape, offset);
    w.data(std::string(64, 'x'));
    return w;
  };
  EXPECT_THAT(open_error(with(kF32, {kHuge}, 0)),
              HasSubstr("tensor 't' [4611686018427387904] overflows"));
  EXPECT_THAT(open_error(with(kF32, {kHuge, kHuge, 4}, 0)), HasSubstr("overflows"));
  EXPECT_THAT(open_error(with(kF32, {std::uint64_t{1} << 32, std::uint64_t{1} << 32}, 0)),
              HasSubstr("overflows"));
  EXPECT_THAT(open_error(with(kQ8_0, {kHuge / 16, 32 * 8}, 0)), HasSubstr("overflows"));
  EXPECT_THAT(open_error(with(kF32, {~std::uint64_t{0}}, 0)),
              HasSubstr("has the size 18446744073709551615"));
  EXPECT_THAT(open_error(with(kF32, {kHuge, 0}, 0)), HasSubstr("has the size 0"))
      << "a zero hides no other size";
  EXPECT_THAT(open_error(with(kF32, {16}, ~std::uint64_t{0} - 31)),
              HasSubstr("the data, which has 64"));
  EXPECT_THAT(open_error(with(kF32, {17}, 0)), HasSubstr("takes 68 bytes from byte 0"));
  EXPECT_THAT(open_error(with(kF32, {8}, 64)), HasSubstr("takes 32 bytes from byte 64"));
  EXPECT_EQ(open_error(with(kF32, {16}, 0)), "");
}

// CVE-2026-33298, CVE-2026-7482: counts and lengths that are believed before the file is looked at.
TEST_F(Gguf, CountsThatTheFileDoesNotHold) {
  GgufWriter tensors = three();
  tensors.claimed_tensors = std::uint64_t{1} << 60;
  EXPECT_THAT(open_error(tensors), AllOf(StartsWith("limit"), HasSubstr("tensor-count")));
  GgufWriter none;
  none.claimed_tensors = 90'000;
  EXPECT_THAT(open_error(none), HasSubstr("the length of the name of a tensor takes 8 bytes"));
  GgufWriter values = three();
  values.claimed_values = ~std::uint64_t{0};
  EXPECT_THAT(open_error(values), StartsWith("malformed"));

  const auto with_value = [](const std::string& bytes) {
    GgufWriter w;
    w.raw_value("key", bytes);
    return w;
  };
  for (const std::uint64_t n : {std::uint64_t{1} << 61, ~std::uint64_t{0}, std::uint64_t{100}}) {
    EXPECT_THAT(open_error(with_value(GgufWriter::array(GgufType::kString, n))),
                HasSubstr("strings of metadata 'key' cannot be in the 0 bytes"));
    EXPECT_THAT(open_error(with_value(GgufWriter::array(GgufType::kU64, n))),
                HasSubstr("values of metadata 'key' cannot be in the 0 bytes"));
    EXPECT_THAT(open_error(with_value(GgufWriter::type(GgufType::kString) + GgufWriter::raw(n))),
                HasSubstr("metadata 'key' takes"));
  }
  GgufWriter name;
  name.claimed_tensors = 1;
  EXPECT_THAT(open_error(name.file() + GgufWriter::raw(~std::uint64_t{7})),
              HasSubstr("the name of a tensor takes"));
}

TEST_F(Gguf, Limits) {
  Limits limits;
  limits.tensor_count = 2;
  EXPECT_THAT(open_error(three(), limits), HasSubstr("3 tensors, over the limit tensor-count (2)"));
  limits = {};
  limits.tensor_rank = 1;
  EXPECT_THAT(open_error(three(), limits), HasSubstr("2 sizes, over the limit tensor-rank (1)"));
  limits = {};
  limits.json_bytes = 100;
  EXPECT_THAT(open_error(three(), limits),
              AllOf(StartsWith("limit"), HasSubstr("the limit json-bytes")));
  GgufWriter w;
  w.raw_tensor("t", kF32, std::vector<std::uint64_t>(1 << 16, 1), 0);
  EXPECT_THAT(open_error(w), HasSubstr("over the limit tensor-rank (8)"));
}

TEST_F(Gguf, RefusesWhatCannotBe) {
  GgufWriter twice = three();
  twice.value("general.architecture", "other");
  EXPECT_THAT(open_error(twice), HasSubstr("metadata 'general.architecture' is there twice"));

  GgufWriter same = three();
  same.tensor("c", kF32, {1}, "1234");
  EXPECT_THAT(open_error(same), HasSubstr("tensor 'c' is there twice"));

  GgufWriter overlap;
  overlap.raw_tensor("a", kF32, {16}, 0);
  overlap.raw_tensor("b", kF32, {8}, 32);
  overlap.data(std::string(64, 'x'));
  EXPECT_THAT(open_error(overlap),
              HasSubstr("tensor 'b' begins at byte 32 of the data, but the one before ends at 64"));

  GgufWriter crooked;
  crooked.raw_tensor("a", kF32, {1}, 4);
  crooked.data(std::string(64, 'x'));
  EXPECT_THAT(open_error(crooked),
              HasSubstr("begins at byte 4 of the data, expected a multiple of 32"));

  GgufWriter rows;
  rows.tensor("a", kQ4_0, {32, 8}, std::string(256, 'x'));
  EXPECT_THAT(open_error(rows), HasSubstr("is Q4_0 with rows of 8, expected a multiple of 32"));

  GgufWriter unknown;
  unknown.raw_tensor("a", 4, {32}, 0);
  EXPECT_THAT(open_error(unknown), AllOf(StartsWith("unsupported"), HasSubstr("is of type 4")));
}

TEST_F(Gguf, RefusesMetadataThatCannotBe) {
  const auto with = [](const std::string& bytes) {
    GgufWriter w;
    w.raw_value("key", bytes);
    return w;
  };
  EXPECT_THAT(open_error(with(GgufWriter::raw(std::uint32_t{13}))),
              HasSubstr("'key' is of type 13"));
  EXPECT_THAT(open_error(with(GgufWriter::array(GgufType::kArray, 1))),
              HasSubstr("an array of arrays"));
  EXPECT_THAT(open_error(with(GgufWriter::type(GgufType::kBool) + "\2")),
              HasSubstr("has the flag 2"));
  for (const std::uint32_t alignment : {0u, 3u, 48u, 1u << 31}) {
    GgufWriter w;
    w.value("general.alignment", alignment);
    EXPECT_THAT(open_error(w), HasSubstr("metadata 'general.alignment' is")) << alignment;
  }
  GgufWriter w;
  w.value("general.alignment", "32");
  EXPECT_THAT(open_error(w), HasSubstr("'general.alignment' is string, expected an integer"));
  w = GgufWriter();
  w.value("general.alignment", 64u);
  w.alignment = 64;
  w.tensor("a", kF32, {1}, "1234");
  w.tensor("b", kF32, {1}, "5678");
  EXPECT_EQ(open(w.file()).find("b")->bytes[0], std::byte{'5'});
}

TEST_F(Gguf, NamesInErrorsAreShortAndOneLine) {
  GgufWriter w;
  w.raw_tensor(std::string(5000, 'n') + "\n\x1b[2J", 4, {32}, 0);
  const std::string error = open_error(w);
  EXPECT_LT(error.size(), 400u);
  EXPECT_EQ(error.find('\n'), std::string::npos);
}

}  // namespace
}  // namespace reelm
