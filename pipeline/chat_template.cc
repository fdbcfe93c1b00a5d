#include "pipeline/chat_template.h"

#include "core/json.h"
#include "core/throw.h"

namespace reelm::pipeline {

namespace {

constexpr std::string_view kStart = "<|im_start|>";
constexpr std::string_view kOpen = "<|im_start|>system";
constexpr std::string_view kClose = "<|im_end|>";

/// The text of a Jinja string literal up to kClose; none where it ends before. `rest` begins behind
/// kOpen.
std::optional<std::string> quoted(std::string_view rest, char quote) {
  std::string out;
  for (std::size_t i = 0; i < rest.size(); ++i) {
    if (rest[i] == quote) return std::nullopt;
    if (rest.substr(i).starts_with(kClose)) return out;
    if (rest[i] != '\\' || i + 1 == rest.size()) {
      out += rest[i];
      continue;
    }
    switch (const char escaped = rest[++i]) {
      case 'n':
        out += '\n';
        break;
      case 't':
        out += '\t';
        break;
      default:
        out += escaped;
    }
  }
  return std::nullopt;
}

/// The same of text outside of Jinja's braces.
std::optional<std::string> plain(std::string_view rest) {
  const std::string_view text = rest.substr(0, rest.find(kClose));
  const bool braces = text.find("{{") != text.npos || text.find("{%") != text.npos;
  if (text.size() == rest.size() || braces) return std::nullopt;
  return std::string(text);
}

/// `chat_template` of a JSON file: a string, or a list of named ones.
std::optional<std::string> template_in(const ModelFiles& files, const char* name,
                                       const Limits& limits) {
  if (!files.has(name)) return std::nullopt;
  const Json root = read_json_file(files, name, limits);
  if (!root.is_object() || !root.contains("chat_template")) return std::nullopt;
  const Json& found = root["chat_template"];
  if (found.is_null()) return std::nullopt;
  if (!found.is_array()) return json_string(root, "chat_template", files.where(name));
  const std::string where = files.where(name) + ": chat_template";
  for (const Json& named : found) {
    if (json_string(named, "name", where) == "default") {
      return json_string(named, "template", where);
    }
  }
  return std::nullopt;
}

std::optional<std::string> load_template(const ModelFiles& files, const Limits& limits) {
  constexpr const char* kOwn = "chat_template.jinja";
  if (files.has(kOwn)) return files.read(kOwn, limits);
  auto found = template_in(files, "chat_template.json", limits);
  return found ? found : template_in(files, "tokenizer_config.json", limits);
}

}  // namespace

std::optional<std::string> default_system_of(std::string_view chat_template) {
  for (std::size_t at = 0; (at = chat_template.find(kOpen, at)) != chat_template.npos;) {
    const char before = at == 0 ? '\0' : chat_template[at - 1];
    at += kOpen.size();
    // No literal goes on behind the next message's start: each byte is looked at once.
    const std::string_view rest = chat_template.substr(at, chat_template.find(kStart, at) - at);
    std::optional<std::string> found;
    if (before == '\'' || before == '"') {
      found = quoted(rest, before);
    } else {
      found = plain(rest);
    }
    if (found && found->starts_with('\n')) return found->substr(1);
  }
  return std::nullopt;
}

std::optional<std::string> load_default_system(const ModelFiles& files, const Limits& limits) {
  const std::optional<std::string> found = load_template(files, limits);
  return found ? default_system_of(*found) : std::nullopt;
}

}  // namespace reelm::pipeline
