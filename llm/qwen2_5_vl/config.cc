#include "llm/qwen2_5_vl/config.h"

#include "core/json.h"
#include "core/throw.h"
#include "llm/qwen2_vl/config.h"

namespace reelm::llm::qwen2_5_vl {

Config load_config(const std::filesystem::path& model_dir, const Limits& limits) {
  Config c;
  c.decoder = qwen2_vl::load_decoder_config(model_dir, limits);
  const std::filesystem::path path = model_dir / "config.json";
  const Json root = read_json_file(path, limits);
  if (!root.contains("vision_config")) return c;
  constexpr double kMost = 1e6;
  c.tokens_per_second = json_number_or(root["vision_config"], "tokens_per_second",
                                       path.string() + ": vision_config", c.tokens_per_second);
  if (!(c.tokens_per_second > 0.0 && c.tokens_per_second <= kMost)) {
    throw_error(ErrorCode::kFormat,
                "{}: vision_config: 'tokens_per_second' is {}, expected above 0 and up to {}",
                path.string(), c.tokens_per_second, kMost);
  }
  return c;
}

}  // namespace reelm::llm::qwen2_5_vl
