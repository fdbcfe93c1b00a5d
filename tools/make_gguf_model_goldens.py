#!/usr/bin/env python3
"""tests/goldens/gguf/NAME-TYPE.safetensors: logits of quantised GGUF files, by transformers.

    make_gguf_model_goldens.py       all of them again

Each model is made of its spec in tests/goldens/models, written as GGUF with its matrices quantised by the package
gguf (those whose rows are no whole blocks stay as they are stored), and read by transformers, which dequantises it
(from_pretrained(gguf_file=...)) and computes in f32. The test makes the same file without Python
(tests/support/gguf_model.cc).

needs: tools/requirements-golden.txt, gguf 0.19
"""

from __future__ import annotations

import json
import pathlib
import tempfile

import gguf
import make_golden
import make_random_gguf
import make_random_model
import random_models
import random_weights
import torch
import transformers

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "goldens" / "gguf"
MODELS = ("qwen2_head64_bf16", "qwen2_head128_f16")
TYPES = ("Q8_0", "Q4_0")
LENGTH = 40


def golden(name: str, kind: str, folder: pathlib.Path) -> dict:
    source = folder / name
    random_weights.write_model(make_random_model.load_spec(name), source)
    config = json.loads((source / "config.json").read_text("utf-8"))
    path = folder / f"{name}-{kind}.gguf"
    make_random_gguf.write_decoder(
        path,
        random_models.MODELS[name],
        config,
        make_random_gguf.read_tensors(source),
        gguf.GGMLQuantizationType[kind],
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=path.name, dtype=torch.float32
    ).eval()
    ids = torch.tensor([(i * 37 + 11) % 1000 for i in range(LENGTH)])
    with torch.no_grad():
        logits = model(ids[None], use_cache=False).logits[0, -1]
    return {"input_ids": ids, "logits": logits.float()}


def main() -> None:
    metadata = {
        "reference": f"transformers {transformers.__version__}, gguf_file, f32",
        "torch": torch.__version__,
    }
    for name in MODELS:
        for kind in TYPES:
            with tempfile.TemporaryDirectory() as folder:
                tensors = golden(name, kind, pathlib.Path(folder))
            path = FOLDER / f"{name}-{kind}.safetensors"
            make_golden.write_safetensors(path, tensors, metadata | {"model": name, "type": kind})
            print(path.name)


if __name__ == "__main__":
    main()
