#include "core/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "core/checkpoint.h"
#include "core/error.h"

namespace reelm {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class Safetensors : public ::testing::Test {
 protected:
  Safetensors() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "reelm_safetensors_XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp");
    dir_ = pattern;
  }
  ~Safetensors() override { std::filesystem::remove_all(dir_); }

  std::filesystem::path write(const std::string& name, const std::string& bytes) const {
    std::ofstream(dir_ / name, std::ios::binary) << bytes;
    return dir_ / name;
  }

  /// A file of this header and so many bytes of data; `claimed` overrides the header's length.
  static std::string file_of(const std::string& header, std::size_t data_bytes,
                             std::int64_t claimed = -1) {
    const auto size = claimed < 0 ? static_cast<std::uint64_t>(header.size())
                                  : static_cast<std::uint64_t>(claimed);
    std::string out(8, '\0');
    std::memcpy(out.data(), &size, 8);
    out += header;
    for (std::size_t i = 0; i < data_bytes; ++i) out.push_back(static_cast<char>(i));
    return out;
  }

  template <typename Fn>
  static std::string error_of(Fn&& fn) {
    try {
      fn();
    } catch (const Error& e) {
      return std::string(error_code_name(e.code())) + ": " + e.what();
    }
    return "";
  }

  /// The error of opening a file of these bytes.
  std::string open_error(const std::string& bytes, const Limits& limits = {}) const {
    const auto path = write("x.safetensors", bytes);
    return error_of([&] { SafetensorsFile::open(path, limits); });
  }
  std::string checkpoint_error() const {
    return error_of([&] { Checkpoint::open(dir_); });
  }

  std::filesystem::path dir_;
};

const std::string kTwo =
    R"({"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
    R"("b":{"dtype":"U8","shape":[],"data_offsets":[8,9]},"__metadata__":{"k":"v"}})";

TEST_F(Safetensors, Reads) {
  const auto file = SafetensorsFile::open(write("x.safetensors", file_of(kTwo + "   ", 9)));
  ASSERT_EQ(file.tensors().size(), 2u);
  const StoredTensor& a = file.get("a", {2, 1});
  EXPECT_EQ(a.dtype, DType::kF32);
  ASSERT_EQ(a.bytes.size(), 8u);
  EXPECT_EQ(a.bytes[7], std::byte{7});
  const StoredTensor* b = file.find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_TRUE(b->shape.empty());
  EXPECT_EQ(b->bytes[0], std::byte{8});
  EXPECT_EQ(file.find("c"), nullptr);
  EXPECT_EQ(file.find("__metadata__"), nullptr);
  EXPECT_EQ(file.metadata().at("k"), "v");
  EXPECT_EQ(file.total_bytes(), 9);
}

TEST_F(Safetensors, EmptyTensorsAndNoTensors) {
  EXPECT_EQ(open_error(file_of("{}", 0)), "");
  EXPECT_EQ(open_error(file_of(
                R"({"e":{"dtype":"F16","shape":[0,3],"data_offsets":[0,0]},)"
                R"("f":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},)"
                R"("g":{"dtype":"F16","shape":[9223372036854775807,0],"data_offsets":[2,2]}})",
                2)),
            "");
}

TEST_F(Safetensors, HeaderLength) {
  EXPECT_THAT(open_error(""), AllOf(StartsWith("malformed"), HasSubstr("x.safetensors")));
  EXPECT_THAT(open_error("1234567"), StartsWith("malformed"));
  EXPECT_THAT(open_error(file_of("", 0)), StartsWith("malformed"));
  EXPECT_THAT(open_error(file_of("{}", 0, 3)),
              AllOf(StartsWith("malformed"), HasSubstr("3 bytes")));
  EXPECT_THAT(open_error(file_of("{}", 0, INT64_MAX)), StartsWith("malformed"));
  EXPECT_THAT(open_error(std::string(64, '\xff')), StartsWith("malformed"));
  EXPECT_THAT(open_error(file_of(" {}", 0)), StartsWith("malformed"));
  EXPECT_THAT(open_error(file_of("{\"a\": ", 0)), StartsWith("malformed"));
  EXPECT_THAT(open_error(file_of("{" + std::string(5000, '['), 0)), StartsWith("limit exceeded"));
  Limits limits;
  limits.json_bytes = 20;
  EXPECT_THAT(open_error(file_of(kTwo, 9), limits),
              AllOf(StartsWith("limit exceeded"), HasSubstr("json-bytes")));
  limits = {};
  limits.tensor_count = 1;
  EXPECT_THAT(open_error(file_of(kTwo, 9), limits),
              AllOf(StartsWith("limit exceeded"), HasSubstr("tensor-count")));
}

TEST_F(Safetensors, EntriesThatLie) {
  const auto with = [&](const std::string& entry, std::size_t data_bytes) {
    return open_error(file_of("{\"w\":" + entry + "}", data_bytes));
  };
  const auto refused = AllOf(StartsWith("malformed"), HasSubstr("x.safetensors"), HasSubstr("'w'"));
  const char* const bad[] = {
      "7",
      "null",
      "[]",
      "{}",
      R"({"dtype":"F32","shape":[1]})",
      R"({"dtype":"F32","data_offsets":[0,4]})",
      R"({"shape":[1],"data_offsets":[0,4]})",
      R"({"dtype":5,"shape":[1],"data_offsets":[0,4]})",
      R"({"dtype":"F32","shape":1,"data_offsets":[0,4]})",
      R"({"dtype":"F32","shape":[-1],"data_offsets":[0,4]})",
      R"({"dtype":"F32","shape":[1.0],"data_offsets":[0,4]})",
      R"({"dtype":"F32","shape":["1"],"data_offsets":[0,4]})",
      R"({"dtype":"F32","shape":[2],"data_offsets":[0,4]})",
      R"({"dtype":"F32","shape":[1],"data_offsets":[4,0]})",
      R"({"dtype":"F32","shape":[1],"data_offsets":[0]})",
      R"({"dtype":"F32","shape":[1],"data_offsets":[0,4,4]})",
      R"({"dtype":"F32","shape":[1],"data_offsets":[-4,0]})",
      R"({"dtype":"F32","shape":[1],"data_offsets":[0,8]})",
      R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})",
      R"({"dtype":"F32","shape":[1],"data_offsets":[18446744073709551612,18446744073709551615]})",
      // Products that wrap to 4 bytes, to 0, or past the sign.
      R"({"dtype":"F32","shape":[4294967296,4294967296,1],"data_offsets":[0,4]})",
      R"({"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]})",
      R"({"dtype":"U8","shape":[9223372036854775807,2],"data_offsets":[0,4]})",
      R"({"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]})",
  };
  for (const char* entry : bad) EXPECT_THAT(with(entry, 4), refused) << entry;
  EXPECT_THAT(with(R"({"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]})", 4),
              AllOf(StartsWith("limit exceeded"), HasSubstr("'w'"), HasSubstr("tensor-rank (8)")));
  EXPECT_THAT(with(R"({"dtype":"F128","shape":[1],"data_offsets":[0,4]})", 4),
              AllOf(StartsWith("unsupported"), HasSubstr("F128")));
  EXPECT_THAT(with(R"({"dtype":"F6_E2M3","shape":[1],"data_offsets":[0,1]})", 1), refused);
  EXPECT_EQ(with(R"({"dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3]})", 3), "");
}

TEST_F(Safetensors, GapsOverlapsAndRemainders) {
  const auto two = [&](const char* a, const char* b, std::size_t bytes) {
    return open_error(file_of(std::string(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)") + a +
                                  R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + b + "}}",
                              bytes));
  };
  EXPECT_EQ(two("[0,4]", "[4,8]", 8), "");
  EXPECT_EQ(two("[4,8]", "[0,4]", 8), "");
  EXPECT_THAT(two("[0,4]", "[0,4]", 4), StartsWith("malformed"));
  EXPECT_THAT(two("[0,4]", "[2,6]", 6), AllOf(StartsWith("malformed"), HasSubstr("'b'")));
  EXPECT_THAT(two("[0,4]", "[5,9]", 9), AllOf(StartsWith("malformed"), HasSubstr("'b'")));
  EXPECT_THAT(two("[1,5]", "[5,9]", 9), StartsWith("malformed"));
  EXPECT_THAT(two("[0,4]", "[4,8]", 9), AllOf(StartsWith("malformed"), HasSubstr("9 bytes")));
}

TEST_F(Safetensors, RepeatedNamesAndBadMetadata) {
  const std::string w = R"("w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  EXPECT_THAT(open_error(file_of("{" + w + "," + w + "}", 1)),
              AllOf(StartsWith("malformed"), HasSubstr("\"w\" is there twice")));
  EXPECT_THAT(open_error(file_of(R"({"__metadata__":[]})", 0)), StartsWith("malformed"));
  EXPECT_THAT(open_error(file_of(R"({"__metadata__":{"a":1}})", 0)), StartsWith("malformed"));
}

TEST_F(Safetensors, GetSaysWhatItFound) {
  write("model.safetensors",
        file_of(R"({"a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},)"
                R"("i":{"dtype":"I64","shape":[1],"data_offsets":[12,20]},)"
                R"("q":{"dtype":"F8_E4M3","shape":[3],"data_offsets":[20,23]}})",
                23));
  const Checkpoint checkpoint = Checkpoint::open(dir_);
  EXPECT_EQ(checkpoint.get("a", {2, 3}).bytes.size(), 12u);
  EXPECT_EQ(checkpoint.total_bytes(), 23);
  EXPECT_THAT(checkpoint.names(), ElementsAre("a", "i", "q"));
  ASSERT_EQ(checkpoint.other_tensors().size(), 1u);
  EXPECT_EQ(checkpoint.other_tensors()[0].dtype, "F8_E4M3");
  EXPECT_THAT(checkpoint.file_of("q"), HasSubstr("model.safetensors"));
  EXPECT_THAT(error_of([&] {
                checkpoint.get("a", {3, 2});
              }),
              AllOf(StartsWith("malformed"), HasSubstr("model.safetensors"), HasSubstr("'a'"),
                    HasSubstr("[2, 3], expected [3, 2]")));
  EXPECT_THAT(error_of([&] { checkpoint.get("i", {1}); }),
              AllOf(StartsWith("malformed"), HasSubstr("'i' is I64")));
  EXPECT_THAT(error_of([&] { checkpoint.get("q", {3}); }),
              AllOf(StartsWith("unsupported"), HasSubstr("F8_E4M3")));
  EXPECT_THAT(error_of([&] { checkpoint.find("q"); }), StartsWith("unsupported"));
  EXPECT_THAT(error_of([&] { checkpoint.get("none", {4}); }),
              AllOf(StartsWith("not found"), HasSubstr("'none'"), HasSubstr("[4]")));
  EXPECT_EQ(checkpoint.find("none"), nullptr);
}

TEST_F(Safetensors, Shards) {
  const auto one = [](const char* name) {
    return file_of(std::string("{\"") + name +
                       R"(":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)" +
                       R"("unlisted":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                   2);
  };
  write("m-1.safetensors", one("a"));
  write("m-2.safetensors", one("b"));
  const auto index = [&](const std::string& weight_map) {
    write("model.safetensors.index.json", "{\"weight_map\":" + weight_map + "}");
    return checkpoint_error();
  };
  EXPECT_EQ(index(R"({"a":"m-1.safetensors","b":"m-2.safetensors"})"), "");
  const Checkpoint checkpoint = Checkpoint::open(dir_);
  EXPECT_EQ(checkpoint.files().size(), 2u);
  EXPECT_THAT(checkpoint.names(), ElementsAre("a", "b"));
  EXPECT_THAT(checkpoint.file_of("b"), HasSubstr("m-2.safetensors"));
  EXPECT_EQ(checkpoint.total_bytes(), 2);

  EXPECT_THAT(index(R"({"a":"m-2.safetensors"})"),
              AllOf(StartsWith("malformed"), HasSubstr("'a'"), HasSubstr("m-2.safetensors")));
  EXPECT_THAT(index(R"({"a":"m-3.safetensors"})"),
              AllOf(StartsWith("not found"), HasSubstr("m-3.safetensors")));
  EXPECT_THAT(index(R"({"a":"m-1.safetensors","a":"m-2.safetensors"})"), StartsWith("malformed"));
  for (const char* shard :
       {R"("../m-1.safetensors")", R"("/etc/m-1.safetensors")", R"("sub/m-1.safetensors")",
        R"("..\\m-1.safetensors")", R"("..")", R"("")", R"("m-1.bin")", "5", "null",
        R"("m-1.safetensors\u0000.safetensors")"}) {
    EXPECT_THAT(index(std::string("{\"a\":") + shard + "}"),
                AllOf(StartsWith("malformed"), HasSubstr("'a'")))
        << shard;
  }
  for (const char* map : {"{}", "[]", "null", "\"x\""}) {
    EXPECT_THAT(index(map), AllOf(StartsWith("malformed"), HasSubstr("weight_map"))) << map;
  }
  write("model.safetensors.index.json", "[]");
  EXPECT_THAT(checkpoint_error(), StartsWith("malformed"));
}

TEST_F(Safetensors, OtherKindsOfWeights) {
  EXPECT_THAT(checkpoint_error(), AllOf(StartsWith("not found"), HasSubstr("model.safetensors")));
  write("pytorch_model.bin", "x");
  EXPECT_THAT(checkpoint_error(), AllOf(StartsWith("unsupported"), HasSubstr("pytorch_model.bin"),
                                        HasSubstr("pickle"), HasSubstr("save_pretrained")));
  std::filesystem::remove(dir_ / "pytorch_model.bin");
  write("model-q4.gguf", "x");
  EXPECT_THAT(checkpoint_error(), AllOf(StartsWith("unsupported"), HasSubstr("model-q4.gguf")));
  EXPECT_THAT(error_of([&] { Checkpoint::open(dir_ / "nowhere"); }), StartsWith("not found"));
  std::filesystem::create_directory(dir_ / "model.safetensors");
  EXPECT_NE(checkpoint_error(), "");
}

TEST_F(Safetensors, CheckpointOfTensorsInMemory) {
  const auto owner = std::make_shared<std::vector<std::byte>>(16, std::byte{1});
  const std::span<const std::byte> bytes(*owner);
  const std::weak_ptr<const void> alive = owner;
  const auto make = [&](std::vector<StoredTensor> tensors) {
    return Checkpoint::from_tensors(std::move(tensors), owner, "memory:x");
  };
  Checkpoint checkpoint = make({{"b", DType::kBF16, {2, 4}, bytes},
                                {"a", DType::kF32, {}, bytes.first(4)},
                                {"none", DType::kF32, {3, 0}, {}}});
  EXPECT_THAT(checkpoint.names(), ElementsAre("a", "b", "none"));
  EXPECT_EQ(checkpoint.tensors()[0].name, "a");
  EXPECT_EQ(checkpoint.get("b", {2, 4}).bytes.data(), bytes.data());
  EXPECT_EQ(checkpoint.total_bytes(), 20);
  EXPECT_EQ(checkpoint.file_of("b"), "memory:x");
  EXPECT_TRUE(checkpoint.files().empty());
  EXPECT_EQ(checkpoint.find("c"), nullptr);
  EXPECT_THAT(error_of([&] { checkpoint.get("b", {8}); }),
              AllOf(HasSubstr("memory:x"), HasSubstr("[2, 4]")));
  const Checkpoint moved = std::move(checkpoint);
  EXPECT_EQ(moved.get("a", {}).bytes.size(), 4u);
  EXPECT_GE(alive.use_count(), 2);

  EXPECT_THAT(error_of([&] {
                make({{"a", DType::kF32, {3}, bytes}});
              }),
              AllOf(StartsWith("invalid argument"), HasSubstr("'a'"), HasSubstr("16 bytes")));
  EXPECT_THAT(error_of([&] {
                make({{"a", DType::kF32, {-4}, bytes}});
              }),
              StartsWith("invalid argument"));
  EXPECT_THAT(error_of([&] {
                make({{"a", DType::kF32, {std::int64_t{1} << 62, 1 << 4}, {}}});
              }),
              StartsWith("invalid argument"));
  EXPECT_THAT(error_of([&] { make({{"", DType::kF32, {4}, bytes}}); }), HasSubstr("empty"));
  EXPECT_THAT(error_of([&] {
                make({{"a", DType::kF32, {4}, bytes}, {"a", DType::kF32, {4}, bytes}});
              }),
              HasSubstr("twice"));
}

TEST_F(Safetensors, WriterRoundTrip) {
  std::vector<std::byte> bytes(64);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i);
  const std::span<const std::byte> all(bytes);
  const std::vector<StoredTensor> tensors = {{"u", DType::kU8, {3}, all.first(3)},
                                             {"h \"\u00e9", DType::kF16, {2, 2}, all.first(8)},
                                             {"z", DType::kF32, {0}, {}},
                                             {"b", DType::kF32, {}, all.subspan(1, 4)},
                                             {"a", DType::kF32, {2}, all.subspan(3, 8)},
                                             {"i", DType::kI64, {1}, all.first(8)}};
  const auto path = dir_ / "out.safetensors";
  write_safetensors(path, tensors, {{"format", "pt"}});
  const auto file = SafetensorsFile::open(path);
  EXPECT_EQ(file.metadata().at("format"), "pt");
  for (const StoredTensor& tensor : tensors) {
    const StoredTensor* read = file.find(tensor.name);
    ASSERT_NE(read, nullptr) << tensor.name;
    EXPECT_EQ(read->dtype, tensor.dtype);
    EXPECT_EQ(read->shape, tensor.shape);
    EXPECT_TRUE(std::equal(read->bytes.begin(), read->bytes.end(), tensor.bytes.begin(),
                           tensor.bytes.end()));
  }
  // Wide dtypes first, and the data at a multiple of 8.
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(file.find("i")->bytes.data()) % 8, 0u);
  EXPECT_LT(file.find("a")->bytes.data(), file.find("b")->bytes.data());
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir_), {}), 1);
  write_safetensors(path, {});  // over the old one
  EXPECT_TRUE(SafetensorsFile::open(path).tensors().empty());
}

TEST_F(Safetensors, WriterRefuses) {
  const std::byte bytes[8] = {};
  const std::span<const std::byte> eight(bytes);
  const auto write_error = [&](std::vector<StoredTensor> tensors) {
    const std::string error =
        error_of([&] { write_safetensors(dir_ / "out.safetensors", tensors); });
    EXPECT_TRUE(std::filesystem::is_empty(dir_));
    return error;
  };
  EXPECT_THAT(write_error({{"a", DType::kF32, {3}, eight}}), StartsWith("invalid argument"));
  EXPECT_THAT(write_error({{"a", DType::kF32, {-2}, eight}}), StartsWith("invalid argument"));
  EXPECT_THAT(write_error({{"", DType::kF32, {2}, eight}}), StartsWith("invalid argument"));
  EXPECT_THAT(write_error({{"\xff", DType::kF32, {2}, eight}}), StartsWith("invalid argument"));
  EXPECT_THAT(write_error({{"__metadata__", DType::kF32, {2}, eight}}),
              StartsWith("invalid argument"));
  EXPECT_THAT(write_error({{"a", DType::kF32, {2}, eight}, {"a", DType::kU8, {8}, eight}}),
              StartsWith("invalid argument"));
  EXPECT_THAT(error_of([&] { write_safetensors(dir_ / "none" / "out.safetensors", {}); }),
              StartsWith("input/output"));
}

// No header may crash the reader, whatever a byte of it becomes.
TEST_F(Safetensors, EveryByteOfTheHeaderChanged) {
  const std::string good = file_of(kTwo, 9);
  for (std::size_t i = 0; i < 8 + kTwo.size(); ++i) {
    for (const char c : {'\0', '\xff', '9', '"', '}', '-'}) {
      std::string bytes = good;
      bytes[i] = c;
      open_error(bytes);
    }
  }
}

}  // namespace
}  // namespace reelm
