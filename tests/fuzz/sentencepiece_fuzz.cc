// A SentencePiece model (a protocol buffer): what libsentencepiece takes on trust must have been
// refused before it sees the file.
#include "tests/fuzz/tokenizer_checks.h"

namespace reelm::fuzz {

void fuzz_one(Bytes input) {
  static const Directory directory;
  write_file(directory.path() / "tokenizer.model", input);
  succeeds([] {
    const auto tokenizer = llm::load_tokenizer(directory.path());
    for (const std::string_view text : kTexts) check_encoding(*tokenizer, text);
    const auto last = static_cast<llm::TokenId>(tokenizer->vocab_size() - 1);
    check_decoding(*tokenizer, {0, 1, 2, last, last + 1, -1});
  });
}

}  // namespace reelm::fuzz
