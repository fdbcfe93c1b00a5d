// JSON files with limits and errors that name the file and the key. Not installed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "limits.h"
#include "model_files.h"

namespace reelm {

using Json = nlohmann::json;

/// Parses a whole file. Throws Error: kNotFound/kIo from reading, kLimit (size, depth), kFormat
/// with the byte position.
Json read_json_file(const std::filesystem::path& path, const Limits& limits = {});

/// The same of a file of a model.
Json read_json_file(const ModelFiles& files, std::string_view name, const Limits& limits = {});

/// Parses text that came from `source` (named in errors); same checks.
Json parse_json(std::string_view text, const std::string& source, const Limits& limits = {});

/// The same, and a key that an object holds twice is Error{kFormat} naming it: for files where the
/// names are the data (tensors, vocabularies) and the last one silently winning would hide damage.
Json read_json_file_unique(const std::filesystem::path& path, const Limits& limits = {});
Json read_json_file_unique(const ModelFiles& files, std::string_view name,
                           const Limits& limits = {});
Json parse_json_unique(std::string_view text, const std::string& source, const Limits& limits = {});

/// Typed access. `where` ("config.json: vision_config") is named in errors, with what was found.
/// Integers must fit [min, max]; numbers must be finite.
std::int64_t json_int(const Json& object, std::string_view key, const std::string& where,
                      std::int64_t min, std::int64_t max);
std::int64_t json_int_or(const Json& object, std::string_view key, const std::string& where,
                         std::int64_t min, std::int64_t max, std::int64_t otherwise);
double json_number(const Json& object, std::string_view key, const std::string& where);
double json_number_or(const Json& object, std::string_view key, const std::string& where,
                      double otherwise);
bool json_bool_or(const Json& object, std::string_view key, const std::string& where,
                  bool otherwise);
std::string json_string(const Json& object, std::string_view key, const std::string& where);
std::string json_string_or(const Json& object, std::string_view key, const std::string& where,
                           const std::string& otherwise);

}  // namespace reelm
