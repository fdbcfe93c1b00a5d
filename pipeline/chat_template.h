// What is read out of a model's chat template. Not installed.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/limits.h"
#include "core/model_files.h"

namespace reelm::pipeline {

/// The system message that a ChatML template (Jinja source) writes by itself: the first literal
/// between `<|im_start|>system\n` and `<|im_end|>`, as template text or in a quoted string. None
/// where each is put together from the messages.
std::optional<std::string> default_system_of(std::string_view chat_template);

/// The same of a model: of chat_template.jinja, else of the key `chat_template` in
/// chat_template.json or tokenizer_config.json (of several named ones, "default"). None without a
/// template. Throws Error{kFormat}, {kLimit} naming a file that cannot be read as such.
std::optional<std::string> load_default_system(const ModelFiles& files, const Limits& limits = {});

}  // namespace reelm::pipeline
