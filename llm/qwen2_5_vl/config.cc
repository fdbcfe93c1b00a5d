#include "llm/qwen2_5_vl/config.h"

#include "core/json.h"
#include "core/throw.h"
#include "llm/qwen2_vl/config.h"

namespace reelm::llm::qwen2_5_vl {

Config load_config(const ModelFiles& files, const Limits& limits) {
  Config c;
  c.decoder = qwen2_vl::load_decoder_config(files, limits);
  const std::string where = files.where("config.json");
  const Json root = read_json_file(files, "config.json", limits);
  if (!root.contains("vision_config")) return c;
  constexpr double kMost = 1e6;
  c.tokens_per_second = json_number_or(root["vision_config"], "tokens_per_second",
                                       where + ": vision_config", c.tokens_per_second);
  if (!(c.tokens_per_second > 0.0 && c.tokens_per_second <= kMost)) {
    throw_error(ErrorCode::kFormat,
                "{}: vision_config: 'tokens_per_second' is {}, expected above 0 and up to {}",
                where, c.tokens_per_second, kMost);
  }
  return c;
}

}  // namespace reelm::llm::qwen2_5_vl
