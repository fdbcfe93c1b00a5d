// The files of a byte-level BPE tokenizer. Without a NUL the input is tokenizer.json, and
// qwen.tiktoken; with one,
// vocab.json NUL merges.txt NUL added_tokens.json NUL tokenizer_config.json (the last two perhaps
// missing).
#include "tests/fuzz/tokenizer_checks.h"

namespace reelm::fuzz {
namespace {

void load(const std::filesystem::path& directory) {
  Limits limits;
  limits.json_bytes = 1 << 17;
  limits.json_depth = 16;
  const auto tokenizer = llm::load_tokenizer(directory, limits);
  for (const std::string_view text : kTexts) check_encoding(*tokenizer, text);
  const auto last = static_cast<llm::TokenId>(tokenizer->vocab_size() - 1);
  check_decoding(*tokenizer, {0, 1, 255, 256, last, last + 1, -1});
}

}  // namespace

void fuzz_one(Bytes input) {
  static const Directory one, several, ranks;
  if (std::find(input.begin(), input.end(), 0) == input.end()) {
    write_file(ranks.path() / "qwen.tiktoken", input);
    succeeds([&] { load(ranks.path()); });
    write_file(one.path() / "tokenizer.json", input);
    succeeds([&] { load(one.path()); });
    return;
  }
  Input in(input);
  for (const char* name :
       {"vocab.json", "merges.txt", "added_tokens.json", "tokenizer_config.json"}) {
    const bool there = !in.empty();
    const Bytes content = in.until(0);
    there ? write_file(several.path() / name, content)
          : static_cast<void>(std::filesystem::remove(several.path() / name));
  }
  succeeds([&] { load(several.path()); });
}

}  // namespace reelm::fuzz
