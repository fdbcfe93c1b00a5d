// The files of a byte-level BPE tokenizer. Without a NUL the input is tokenizer.json, and
// qwen.tiktoken; with one,
// vocab.json NUL merges.txt NUL added_tokens.json NUL tokenizer_config.json (the last two perhaps
// missing).
#include "core/json.h"
#include "llm/tokenizer_json.h"
#include "tests/fuzz/tokenizer_checks.h"

namespace reelm::fuzz {
namespace {

Limits small_limits() {
  Limits limits;
  limits.json_bytes = 1 << 17;
  limits.json_depth = 16;
  return limits;
}

/// What was taken of a document while it was parsed is what the whole document says.
void check_taken(Bytes input, llm::TokenizerJsonPlaces places) {
  const std::string_view text(reinterpret_cast<const char*>(input.data()), input.size());
  auto taken = llm::take_tokenizer_json(text, places, small_limits());
  if (!taken) return;
  Json whole = parse_json_unique(text, "input", small_limits());
  Json& vocab = places.merges ? whole.at("model").at("vocab") : whole;
  REELM_CHECK(vocab.size() == taken->vocab.size());
  for (const auto& [spelling, id] : taken->vocab) REELM_CHECK(vocab.at(spelling) == id);
  vocab = Json::object();
  if (places.merges) {
    Json& merges = whole.at("model").at("merges");
    REELM_CHECK(merges.size() == taken->merges.size());
    for (std::size_t i = 0; i < merges.size(); ++i) {
      const auto& [left, right] = taken->merges[i];
      REELM_CHECK(merges[i].is_string() ? merges[i] == left + ' ' + right
                                        : merges[i] == Json({left, right}));
    }
    merges = Json::array();
  }
  REELM_CHECK(whole == taken->rest);
}

void load(const std::filesystem::path& directory) {
  const Limits limits = small_limits();
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
    check_taken(input, llm::kTokenizerJsonPlaces);
    check_taken(input, llm::kVocabJsonPlaces);
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
