// Small tokenizer files for tests.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/error.h"
#include "llm/tokenizer.h"
#include "llm/tokenizer_split.h"
#include "llm/tokenizer_unicode.h"

namespace reelm::llm::testing {

/// A directory that goes away with the object.
class TempDir {
 public:
  TempDir() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "reelm_tokenizer_XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = pattern;
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() { std::filesystem::remove_all(path_); }

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path write(const std::string& name, std::string_view text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

/// The 256 byte tokens with their bytes as ids: {"Ā": 0, ..., "!": 33, ...}.
inline nlohmann::json byte_vocab() {
  nlohmann::json vocab = nlohmann::json::object();
  char32_t next = 256;
  for (int b = 0; b < 256; ++b) {
    const bool itself = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    std::string spelling;
    utf8_append(spelling, itself ? static_cast<char32_t>(b) : next++);
    vocab[spelling] = b;
  }
  return vocab;
}

/// A tokenizer.json of the Qwen2 form: bytes, "he" 256, "ll" 257, "hell" 258, "Ġhe" 259, the
/// special
/// <|end|> 300 and the ordinary added token <call> 301.
inline nlohmann::json small_tokenizer() {
  nlohmann::json vocab = byte_vocab();
  vocab["he"] = 256;
  vocab["ll"] = 257;
  vocab["hell"] = 258;
  vocab["\xc4\xa0he"] = 259;
  return {
      {"version", "1.0"},
      {"added_tokens",
       {{{"id", 300}, {"content", "<|end|>"}, {"special", true}, {"normalized", false}},
        {{"id", 301}, {"content", "<call>"}, {"special", false}, {"normalized", false}}}},
      {"normalizer", {{"type", "NFC"}}},
      {"pre_tokenizer",
       {{"type", "Sequence"},
        {"pretokenizers",
         {{{"type", "Split"},
           {"pattern", {{"Regex", std::string(kQwen2Pattern)}}},
           {"behavior", "Isolated"},
           {"invert", false}},
          {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}}},
      {"post_processor", nullptr},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model",
       {{"type", "BPE"}, {"vocab", vocab}, {"merges", {"h e", "l l", "he ll", "\xc4\xa0 he"}}}},
  };
}

/// The error of loading a directory: its code's name and message, or "" when it loads.
inline std::string load_error(const std::filesystem::path& dir, const Limits& limits = {}) {
  try {
    load_tokenizer(dir, limits);
  } catch (const Error& e) {
    return std::string(error_code_name(e.code())) + ": " + e.what();
  }
  return "";
}

}  // namespace reelm::llm::testing
