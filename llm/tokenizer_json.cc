#include "llm/tokenizer_json.h"

namespace reelm::llm {

namespace {

/// Takes the parser's events (nlohmann::json_sax). An event that returns false ends the parsing.
class Taker {
 public:
  Taker(TokenizerJsonPlaces places, const Limits& limits, TokenizerJson& out)
      : places_(places), limits_(limits), out_(out) {}

  // NOLINTBEGIN(readability-identifier-naming): json_sax names them
  bool null() { return value(nullptr); }
  bool boolean(bool x) { return value(x); }
  bool number_integer(Json::number_integer_t x) { return value(x); }
  bool number_unsigned(Json::number_unsigned_t x) {
    if (state_ != State::kVocab) return value(x);
    if (x > static_cast<std::uint64_t>(kMaxTokenId)) return false;
    out_.vocab.back().second = static_cast<TokenId>(x);
    return true;
  }
  bool number_float(Json::number_float_t x, const std::string&) { return value(x); }
  bool string(std::string& x) {
    if (state_ == State::kMerges) {
      auto merge = split_merge(x);
      if (merge) out_.merges.push_back(std::move(*merge));
      return merge.has_value();
    }
    if (state_ == State::kPair) {
      if (sides_ == 2) return false;
      (sides_++ == 0 ? out_.merges.back().first : out_.merges.back().second) = std::move(x);
      return true;
    }
    return value(std::move(x));
  }
  bool binary(Json::binary_t&) { return false; }

  bool start_object(std::size_t) {
    if (state_ != State::kRest) return false;
    if (!in_array() && path_ == places_.vocab) state_ = State::kVocab;
    return enter(Json::value_t::object);
  }
  bool key(std::string& name) {
    if (state_ == State::kVocab) {
      out_.vocab.emplace_back(std::move(name), -1);
      return true;
    }
    const auto [it, fresh] = open_.back().value->get_ref<Json::object_t&>().emplace(name, nullptr);
    member_ = &it->second;
    path_.resize(open_.back().path);
    if (!path_.empty()) path_ += '/';
    // Other names could spell a place that they are not at; nothing is asked for there.
    const bool plain = !name.empty() && name.find('/') == std::string::npos;
    path_ += plain ? name : "/";
    return fresh;  // a key that is there twice ends it
  }
  bool end_object() { return leave(); }
  bool start_array(std::size_t) {
    if (state_ == State::kMerges) {
      out_.merges.emplace_back();
      sides_ = 0;
      state_ = State::kPair;
      return true;
    }
    if (state_ != State::kRest) return false;
    if (!in_array() && places_.merges == path_) {
      state_ = State::kMerges;
      has_merges_ = true;
    }
    return enter(Json::value_t::array);
  }
  bool end_array() {
    if (state_ == State::kPair) {
      state_ = State::kMerges;
      return sides_ == 2;
    }
    return leave();
  }
  bool parse_error(std::size_t, const std::string&, const Json::exception&) { return false; }
  // NOLINTEND(readability-identifier-naming)

  bool has_merges() const { return has_merges_; }

 private:
  enum class State { kRest, kVocab, kMerges, kPair };
  struct Open {
    Json* value;
    std::size_t path;  // the length of its own; elements of an array have the array's
  };

  bool in_array() const { return !open_.empty() && open_.back().value->is_array(); }

  /// Puts a value where it belongs; what it is there.
  Json* place(Json value) {
    Json* to = &out_.rest;
    if (in_array()) {
      to = &open_.back().value->emplace_back(nullptr);
    } else if (!open_.empty()) {
      to = member_;
    }
    *to = std::move(value);
    return to;
  }
  bool value(Json x) {
    if (state_ != State::kRest) return false;
    place(std::move(x));
    return true;
  }
  bool enter(Json::value_t kind) {
    if (static_cast<std::int64_t>(open_.size()) >= limits_.json_depth) return false;
    open_.push_back({place(Json(kind)), path_.size()});
    return true;
  }
  bool leave() {
    state_ = State::kRest;
    path_.resize(open_.back().path);
    open_.pop_back();
    return true;
  }

  TokenizerJsonPlaces places_;
  const Limits& limits_;
  TokenizerJson& out_;
  std::vector<Open> open_;
  Json* member_ = nullptr;  // of the object that is open: the value of its last key
  std::string path_;
  State state_ = State::kRest;
  int sides_ = 0;  // of the pair that is open
  bool has_merges_ = false;
};

}  // namespace

std::optional<TokenizerJson> take_tokenizer_json(std::string_view text, TokenizerJsonPlaces places,
                                                 const Limits& limits) {
  if (static_cast<std::int64_t>(text.size()) > limits.json_bytes) return std::nullopt;
  const bool ends_early = text.find('\0') != std::string_view::npos;  // for the parser
  if (ends_early) return std::nullopt;
  TokenizerJson out;
  Taker taker(places, limits, out);
  if (!Json::sax_parse(text.begin(), text.end(), &taker)) return std::nullopt;
  if (out.vocab.empty() || taker.has_merges() != places.merges.has_value()) return std::nullopt;
  if (!SpellingTable(out.vocab).unique()) return std::nullopt;
  return out;
}

std::optional<std::pair<std::string, std::string>> split_merge(std::string_view line) {
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos || space == 0 || space + 1 == line.size() ||
      line.find(' ', space + 1) != std::string_view::npos) {
    return std::nullopt;
  }
  return std::pair(std::string(line.substr(0, space)), std::string(line.substr(space + 1)));
}

}  // namespace reelm::llm
