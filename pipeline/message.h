// What is said to a model: messages of text and media.
#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "../preprocess/media.h"

namespace reelm::pipeline {

/// A piece of a message: text, or a video or image where it stands.
using Content = std::variant<std::string, preprocess::MediaSource>;

/// One message, as transformers' chat templates take them.
struct Message {
  std::string role;  ///< "system", "user" or "assistant"
  std::vector<Content> content;

  static Message text(std::string role, std::string text) {
    return {std::move(role), {Content(std::move(text))}};
  }
};

}  // namespace reelm::pipeline
