#include "core/json.h"

#include <cmath>
#include <unordered_set>
#include <vector>

#include "core/mapped_file.h"
#include "core/throw.h"

namespace reelm {

namespace {

/// One pass over the text before the parser, which recurses: the nesting must be known first.
void check_depth(std::string_view text, const std::string& source, const Limits& limits) {
  std::int64_t depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > limits.json_depth) {
        throw_error(ErrorCode::kLimit, "{}: JSON nested deeper than the limit json-depth ({})",
                    source, limits.json_depth);
      }
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
}

const Json& member(const Json& object, std::string_view key, const std::string& where) {
  if (!object.is_object()) {
    throw_error(ErrorCode::kFormat, "{}: expected an object, found {}", where, object.type_name());
  }
  const auto it = object.find(key);
  if (it == object.end()) {
    throw_error(ErrorCode::kFormat, "{}: '{}' is missing", where, key);
  }
  return *it;
}

/// Whether the key is there with a value other than null.
bool present(const Json& object, std::string_view key) {
  if (!object.is_object()) return false;
  const auto it = object.find(key);
  return it != object.end() && !it->is_null();
}

std::string excerpt(const Json& value) {
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

Json parse(std::string_view text, const std::string& source, const Limits& limits,
           const Json::parser_callback_t& callback) {
  if (static_cast<std::int64_t>(text.size()) > limits.json_bytes) {
    throw_error(ErrorCode::kLimit, "{}: {} bytes of JSON, over the limit json-bytes ({})", source,
                text.size(), limits.json_bytes);
  }
  // To the parser a NUL ends the text, and anything could follow; no JSON has one.
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos) {
    throw_error(ErrorCode::kFormat, "{}: not valid JSON: a NUL at byte {}", source, nul);
  }
  check_depth(text, source, limits);
  try {
    return Json::parse(text.begin(), text.end(), callback);
  } catch (const Json::exception& e) {
    std::string reason = e.what();
    if (reason.size() > 200) reason = reason.substr(0, 197) + "...";
    throw_error(ErrorCode::kFormat, "{}: not valid JSON: {}", source, reason);
  }
}

/// Of valid JSON that has one.
std::string first_repeated_key(std::string_view text) {
  std::string found;
  std::vector<std::unordered_set<std::string>> keys;  // of each open object
  [[maybe_unused]] const Json parsed =
      Json::parse(text.begin(), text.end(), [&](int, Json::parse_event_t event, Json& value) {
        if (event == Json::parse_event_t::object_start) keys.emplace_back();
        if (event == Json::parse_event_t::object_end) keys.pop_back();
        if (event == Json::parse_event_t::key && found.empty() &&
            !keys.back().insert(value.get<std::string>()).second) {
          found = value.get<std::string>();
        }
        return true;
      });
  return found;
}

/// The text lives as long as the file.
std::string_view text_of(const MappedFile& file) {
  const auto bytes = file.bytes();
  if (bytes.empty()) {
    throw_error(ErrorCode::kFormat, "{}: is empty, expected a JSON document", file.path().string());
  }
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

Json parse_json(std::string_view text, const std::string& source, const Limits& limits) {
  return parse(text, source, limits, nullptr);
}

Json parse_json_unique(std::string_view text, const std::string& source, const Limits& limits) {
  // Counting keys costs next to nothing; only a file that fails the count is read for their names.
  bool repeated = false;
  std::vector<std::size_t> keys;  // of each open object
  const Json json = parse(text, source, limits, [&](int, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::object_start) keys.push_back(0);
    if (event == Json::parse_event_t::key) ++keys.back();
    if (event == Json::parse_event_t::object_end) {
      repeated = repeated || value.size() != keys.back();
      keys.pop_back();
    }
    return true;
  });
  if (repeated) {
    throw_error(ErrorCode::kFormat, "{}: the key {} is there twice", source,
                excerpt(Json(first_repeated_key(text))));
  }
  return json;
}

Json read_json_file(const std::filesystem::path& path, const Limits& limits) {
  return parse_json(text_of(MappedFile(path)), path.string(), limits);
}

Json read_json_file_unique(const std::filesystem::path& path, const Limits& limits) {
  return parse_json_unique(text_of(MappedFile(path)), path.string(), limits);
}

Json read_json_file(const ModelFiles& files, std::string_view name, const Limits& limits) {
  if (!files.made()) return read_json_file(files.path() / name, limits);
  return parse_json(files.read(name, limits), files.where(name), limits);
}

Json read_json_file_unique(const ModelFiles& files, std::string_view name, const Limits& limits) {
  if (!files.made()) return read_json_file_unique(files.path() / name, limits);
  return parse_json_unique(files.read(name, limits), files.where(name), limits);
}

std::int64_t json_int(const Json& object, std::string_view key, const std::string& where,
                      std::int64_t min, std::int64_t max) {
  const Json& value = member(object, key, where);
  // Whole numbers written as 2.0 are common in generated configs.
  const bool whole =
      value.is_number_integer() || (value.is_number_float() && std::isfinite(value.get<double>()) &&
                                    std::trunc(value.get<double>()) == value.get<double>() &&
                                    std::abs(value.get<double>()) < 9.0e15);
  if (!whole || (value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX)) {
    throw_error(ErrorCode::kFormat, "{}: '{}' is {}, expected an integer", where, key,
                excerpt(value));
  }
  const std::int64_t n = value.get<std::int64_t>();
  if (n < min || n > max) {
    throw_error(ErrorCode::kFormat, "{}: '{}' is {}, expected {} to {}", where, key, n, min, max);
  }
  return n;
}

std::int64_t json_int_or(const Json& object, std::string_view key, const std::string& where,
                         std::int64_t min, std::int64_t max, std::int64_t otherwise) {
  return present(object, key) ? json_int(object, key, where, min, max) : otherwise;
}

double json_number(const Json& object, std::string_view key, const std::string& where) {
  const Json& value = member(object, key, where);
  if (!value.is_number() || !std::isfinite(value.get<double>())) {
    throw_error(ErrorCode::kFormat, "{}: '{}' is {}, expected a number", where, key,
                excerpt(value));
  }
  return value.get<double>();
}

double json_number_or(const Json& object, std::string_view key, const std::string& where,
                      double otherwise) {
  return present(object, key) ? json_number(object, key, where) : otherwise;
}

bool json_bool_or(const Json& object, std::string_view key, const std::string& where,
                  bool otherwise) {
  if (!present(object, key)) return otherwise;
  const Json& value = member(object, key, where);
  if (!value.is_boolean()) {
    throw_error(ErrorCode::kFormat, "{}: '{}' is {}, expected true or false", where, key,
                excerpt(value));
  }
  return value.get<bool>();
}

std::string json_string(const Json& object, std::string_view key, const std::string& where) {
  const Json& value = member(object, key, where);
  if (!value.is_string()) {
    throw_error(ErrorCode::kFormat, "{}: '{}' is {}, expected a string", where, key,
                excerpt(value));
  }
  return value.get<std::string>();
}

std::string json_string_or(const Json& object, std::string_view key, const std::string& where,
                           const std::string& otherwise) {
  return present(object, key) ? json_string(object, key, where) : otherwise;
}

}  // namespace reelm
