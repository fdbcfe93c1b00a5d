// What reelm must know about a SentencePiece file before libsentencepiece sees it. Not installed.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace reelm::llm {

/// One entry of the vocabulary (ModelProto.SentencePiece in sentencepiece_model.proto).
struct SentencePieceEntry {
  enum class Type : std::uint8_t {
    kNormal = 1,
    kUnknown = 2,
    kControl = 3,
    kUserDefined = 4,
    kUnused = 5,
    kByte = 6,
  };
  std::string piece;
  Type type = Type::kNormal;
};

/// The parts of a model that decide ids and text.
struct SentencePieceModel {
  std::vector<SentencePieceEntry> pieces;  ///< by id
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
};

/// Parses the protocol buffer and checks what libsentencepiece 0.1.97 takes on trust and crashes
/// on: the compiled normalisation tables (a double array whose offsets it follows unchecked),
/// scores that are not numbers, pieces with NULs. `source` is named in errors. Throws
/// Error{kFormat} or Error{kUnsupported} (white space as a suffix).
SentencePieceModel parse_sentencepiece_model(std::span<const std::byte> bytes,
                                             const std::string& source);

/// Checks one `precompiled_charsmap`: a Darts double array and the strings its leaves point into.
/// Every step that a look-up can take must stay inside, at most 32 leaves on one path (the room
/// libsentencepiece has for results), and no string over 1,024 bytes. Throws Error{kFormat}.
void check_precompiled_charsmap(std::string_view blob, const std::string& source);

}  // namespace reelm::llm
