// The tensors of GGUF files as a checkpoint of the Hugging Face layout. Not installed.
#pragma once

#include <vector>

#include "core/checkpoint.h"
#include "pipeline/gguf/family.h"

namespace reelm::pipeline::gguf {

/// `files` are the decoder's and, of a family with a projector, the tower's. Tensors that are one
/// for Hugging Face are joined: by view where they lie side by side in the file, as llama.cpp's
/// converter writes them, else by a copy that the checkpoint owns. Throws Error naming file and
/// tensor: kUnsupported (a type reelm does not read; a name the family does not have), kFormat
/// (parts that are missing or do not fit one another).
Checkpoint open_tensors(std::vector<GgufFile> files, const Family& family);

}  // namespace reelm::pipeline::gguf
