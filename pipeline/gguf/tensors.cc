#include "pipeline/gguf/tensors.h"

#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string_view>

#include "core/throw.h"

namespace reelm::pipeline::gguf {

namespace {

/// Bytes of tensors that had to be copied.
using Copies = std::vector<std::vector<std::byte>>;

/// "blk.7.attn_q.weight" taken apart: "blk.{}.attn_q", "7", ".weight".
struct Spelling {
  std::string module;
  std::string number;
  std::string suffix;
};

Spelling spelling_of(std::string name) {
  Spelling out;
  for (const char* suffix : {".weight", ".bias"}) {
    if (!name.ends_with(suffix)) continue;
    out.suffix = suffix;
    name.resize(name.size() - out.suffix.size());
    break;
  }
  constexpr std::string_view kBlock = "blk.";
  const std::size_t block = name.find(kBlock);
  if (block != std::string::npos) {
    const std::size_t begin = block + kBlock.size();
    const std::size_t end = std::min(name.find_first_not_of("0123456789", begin), name.size());
    out.number = name.substr(begin, end - begin);
    if (!out.number.empty()) name.replace(begin, end - begin, "{}");
  }
  out.module = std::move(name);
  return out;
}

std::string filled(std::string pattern, const Spelling& spelling) {
  const std::size_t at = pattern.find("{}");
  if (at != std::string::npos) pattern.replace(at, 2, spelling.number);
  return pattern + spelling.suffix;
}

/// The parts that were found of a tensor to be joined.
struct Parts {
  const JoinedName* name = nullptr;
  Spelling spelling;
  std::vector<const StoredTensor*> tensors;  // of name->gguf, null: not found yet
};

/// Two tensors lie behind one another.
bool adjacent(const StoredTensor& a, const StoredTensor& b) {
  return a.bytes.data() + a.bytes.size() == b.bytes.data();
}

/// The parts below one another.
StoredTensor join_rows(const std::vector<const StoredTensor*>& parts, Copies& copies) {
  StoredTensor out = *parts[0];
  bool by_view = true;
  std::size_t n_bytes = out.bytes.size();
  for (std::size_t i = 1; i < parts.size(); ++i) {
    by_view = by_view && adjacent(*parts[i - 1], *parts[i]);
    out.shape[0] += parts[i]->shape[0];
    n_bytes += parts[i]->bytes.size();
  }
  if (by_view) {
    out.bytes = {out.bytes.data(), n_bytes};
    return out;
  }
  std::vector<std::byte>& copy = copies.emplace_back();
  copy.reserve(n_bytes);
  for (const StoredTensor* part : parts) {
    copy.insert(copy.end(), part->bytes.begin(), part->bytes.end());
  }
  out.bytes = copy;
  return out;
}

/// Parts [out, in, h, w] as [out, in, frames, h, w].
StoredTensor join_frames(const std::vector<const StoredTensor*>& parts, Copies& copies) {
  StoredTensor out = *parts[0];
  out.shape.insert(out.shape.begin() + 2, std::ssize(parts));
  const std::size_t image =
      dtype_size(out.dtype) * static_cast<std::size_t>(out.shape[3] * out.shape[4]);
  std::vector<std::byte>& copy = copies.emplace_back();
  copy.reserve(out.bytes.size() * parts.size());
  for (std::size_t at = 0; at < out.bytes.size(); at += image) {
    for (const StoredTensor* part : parts) {
      const auto bytes = part->bytes.subspan(at, image);
      copy.insert(copy.end(), bytes.begin(), bytes.end());
    }
  }
  out.bytes = copy;
  return out;
}

/// Throws unless the parts are all there and of one type and shape, as `how` joins them.
void check_parts(const Parts& parts, const GgufFile& file) {
  const bool frames = parts.name->how == JoinedName::How::kFrames;
  const StoredTensor* first = nullptr;
  for (std::size_t i = 0; i < parts.tensors.size(); ++i) {
    const StoredTensor* part = parts.tensors[i];
    if (part == nullptr) {
      throw_error(ErrorCode::kFormat, "{}: no tensor '{}', though there are others of its kind",
                  file.path().string(), filled(parts.name->gguf[i], parts.spelling));
    }
    if (first == nullptr) first = part;
    const bool right =
        frames ? part->shape.size() == 4 && dtype_size(part->dtype) != 0 : !part->shape.empty();
    if (right && part->dtype == first->dtype && part->shape == first->shape) continue;
    throw_error(ErrorCode::kFormat, "{}: tensor '{}' is {} {}, which does not go with '{}', {} {}",
                file.path().string(), part->name, dtype_name(part->dtype),
                shape_string(part->shape), first->name, dtype_name(first->dtype),
                shape_string(first->shape));
  }
}

/// What a tensor, or several, are called elsewhere.
class Renamer {
 public:
  Renamer(const GgufFile& file, std::span<const ModuleName> names,
          std::span<const JoinedName> joined, bool swapped_mlp)
      : file_(file), names_(names), joined_(joined), swapped_mlp_(swapped_mlp) {}

  std::vector<StoredTensor> run(Copies& copies) {
    for (const OtherTensor& other : file_.other_tensors()) (void)file_.find(other.name);  // throws
    std::vector<StoredTensor> out;
    for (const StoredTensor& tensor : file_.tensors()) {
      if (auto name = simple_name(tensor)) {
        out.push_back(tensor);
        out.back().name = std::move(*name);
      } else if (!add_part(tensor)) {
        throw_error(ErrorCode::kUnsupported, "{}: tensor '{}' is none that the family has",
                    file_.path().string(), tensor.name.substr(0, 100));
      }
    }
    for (const auto& [name, parts] : parts_) {
      check_parts(parts, file_);
      out.push_back(parts.name->how == JoinedName::How::kRows ? join_rows(parts.tensors, copies)
                                                              : join_frames(parts.tensors, copies));
      out.back().name = name;
    }
    return out;
  }

 private:
  std::optional<std::string> simple_name(const StoredTensor& tensor) const {
    Spelling spelling = spelling_of(tensor.name);
    constexpr const char* kUp = "v.blk.{}.ffn_up";
    constexpr const char* kDown = "v.blk.{}.ffn_down";
    if (swapped_mlp_ && spelling.module == kUp) {
      spelling.module = kDown;
    } else if (swapped_mlp_ && spelling.module == kDown) {
      spelling.module = kUp;
    }
    for (const ModuleName& name : names_) {
      if (spelling.module == name.gguf) return filled(name.hugging_face, spelling);
    }
    return std::nullopt;
  }

  bool add_part(const StoredTensor& tensor) {
    const Spelling taken_apart = spelling_of(tensor.name);
    for (const JoinedName& joined : joined_) {
      // Frames are told apart by what stands behind ".weight".
      const bool frames = joined.how == JoinedName::How::kFrames;
      const Spelling spelling = frames ? Spelling{tensor.name, "", ""} : taken_apart;
      for (std::size_t i = 0; i < joined.gguf.size(); ++i) {
        if (spelling.module != joined.gguf[i]) continue;
        Parts& parts = parts_[filled(joined.hugging_face, spelling)];
        parts.name = &joined;
        parts.spelling = spelling;
        parts.tensors.resize(joined.gguf.size());
        parts.tensors[i] = &tensor;
        return true;
      }
    }
    return false;
  }

  const GgufFile& file_;
  std::span<const ModuleName> names_;
  std::span<const JoinedName> joined_;
  bool swapped_mlp_;
  std::map<std::string, Parts> parts_;  // by the name for Hugging Face
};

}  // namespace

Checkpoint open_tensors(std::vector<GgufFile> files, const Family& family) {
  const auto copies = std::make_shared<Copies>();
  std::vector<Checkpoint::Renamed> tensors;
  for (std::size_t i = 0; i < files.size(); ++i) {
    const Projector* tower = i == 0 ? nullptr : family.projector;
    Renamer renamer = tower == nullptr ? Renamer(files[i], family.names, {}, false)
                                       : Renamer(files[i], tower->names, tower->joined,
                                                 tower->swapped_mlp(files[i]));
    for (StoredTensor& tensor : renamer.run(*copies)) tensors.push_back({std::move(tensor), i});
  }
  return Checkpoint::from_gguf(std::move(files), std::move(tensors), copies);
}

}  // namespace reelm::pipeline::gguf
