#!/usr/bin/env python3
"""A random model (make_random_model.py) as GGUF files, written by llama.cpp's package gguf.

    make_random_gguf.py NAME DIR [--type f32|f16|bf16|q8_0|q4_0|q4_1|q5_0|q5_1]

writes DIR/NAME (the Hugging Face layout), DIR/NAME-TYPE.gguf and, of a family with a tower,
DIR/NAME-mmproj.gguf, for llama.cpp and reelm to be held against each other by hand
(docs/gguf.md). The tests make theirs without Python (tests/support/gguf_model.cc).

needs: numpy, gguf 0.19
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re

import gguf
import make_random_model
import numpy
import random_model_files
import random_models
import random_weights

Kind = gguf.GGMLQuantizationType
DTYPES = {"F32": Kind.F32, "F16": Kind.F16, "BF16": Kind.BF16}


def read_tensors(folder: pathlib.Path) -> dict[str, numpy.ndarray]:
    """All tensors of a directory's safetensors files, as f32."""
    out = {}
    for path in sorted(folder.glob("*.safetensors")):
        raw = path.read_bytes()
        size = int.from_bytes(raw[:8], "little")
        for name, entry in json.loads(raw[8 : 8 + size]).items():
            if name == "__metadata__":
                continue
            begin, end = (8 + size + at for at in entry["data_offsets"])
            values = numpy.frombuffer(raw[begin:end], numpy.uint8)
            found = gguf.quants.dequantize(values, DTYPES[entry["dtype"]])
            out[name] = found.reshape(entry["shape"])
    return out


def write(writer: gguf.GGUFWriter, tensors: dict[str, numpy.ndarray], kind: Kind) -> None:
    for name, values in tensors.items():
        of = Kind.F32 if values.ndim == 1 else kind
        if values.shape[-1] % gguf.GGML_QUANT_SIZES[of][0]:  # rows are whole blocks
            of = Kind.F16
        writer.add_tensor(name, gguf.quants.quantize(values, of), raw_dtype=of)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_tokenizer(writer: gguf.GGUFWriter, config: dict) -> None:
    document = json.loads((random_model_files.DEMO / "tokenizer.json").read_text("utf-8"))
    tokens = {i: (t, gguf.TokenType.NORMAL) for t, i in document["model"]["vocab"].items()}
    for token in document["added_tokens"]:
        kind = gguf.TokenType.CONTROL if token["special"] else gguf.TokenType.USER_DEFINED
        tokens[token["id"]] = (token["content"], kind)
    unused = gguf.TokenType.UNUSED
    every = [tokens.get(i, (f"[PAD{i}]", unused)) for i in range(config["vocab_size"])]
    merges = [m if isinstance(m, str) else " ".join(m) for m in document["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([text for text, _ in every])
    writer.add_token_types([kind for _, kind in every])
    writer.add_token_merges(merges)
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(False)


def write_decoder(path: pathlib.Path, model, config: dict, tensors: dict, kind: Kind) -> None:
    arch = {"qwen2": "qwen2", "qwen2_vl": "qwen2vl"}[model.family]
    writer = gguf.GGUFWriter(str(path), arch)
    writer.add_block_count(model.layers)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(model.hidden)
    writer.add_feed_forward_length(model.intermediate)
    writer.add_head_count(model.heads)
    writer.add_head_count_kv(model.kv_heads)
    writer.add_layer_norm_rms_eps(model.eps)
    writer.add_rope_freq_base(model.rope_theta)
    if model.mrope_section:
        writer.add_rope_dimension_sections([*model.mrope_section, 0])
    writer.add_vocab_size(model.vocab)
    add_tokenizer(writer, config)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[arch.upper()], model.layers)
    renamed = {}
    for name, values in tensors.items():
        name = re.sub(r"^model\.language_model\.", "model.", name)
        renamed[names.get_name(name, try_suffixes=(".weight", ".bias"))] = values
    write(writer, renamed, kind)


def tower_tensors(tensors: dict, depth: int) -> dict[str, numpy.ndarray]:
    """Conv3d is two Conv2d and qkv is three, as llama.cpp's conversion/qwenvl.py has it."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, max(depth, 3))  # mm.2
    out = {}

    def add(name: str, values: numpy.ndarray) -> None:
        out[names.get_name(name, try_suffixes=(".weight", ".bias"))] = values

    for name, values in tensors.items():
        name = name.removeprefix("model.")
        if ".qkv." in name:
            for letter, part in zip("qkv", numpy.split(values, 3)):
                add(name.replace("qkv", letter), part)
        elif "patch_embed.proj.weight" in name:
            for i, suffix in enumerate(("", ".1")):
                out["v.patch_embd.weight" + suffix] = numpy.ascontiguousarray(values[:, :, i])
        else:
            add(name, values)
    return out


def write_tower(path: pathlib.Path, model, tensors: dict, processor: dict) -> None:
    writer = gguf.GGUFWriter(str(path), "clip")
    writer.add_type(gguf.GGUFType.MMPROJ)
    writer.add_clip_projector_type("qwen2vl_merger")
    writer.add_clip_has_vision_encoder(True)
    writer.add_vision_projection_dim(model.hidden)
    writer.add_vision_image_size(560)
    writer.add_vision_patch_size(14)
    writer.add_vision_embedding_length(model.embed)
    writer.add_vision_feed_forward_length(model.hidden)  # as its converter: not the MLP's size
    writer.add_vision_block_count(model.depth)
    writer.add_vision_head_count(model.vision_heads)
    writer.add_vision_attention_layernorm_eps(1e-6)
    writer.add_vision_image_mean(processor["image_mean"])
    writer.add_vision_image_std(processor["image_std"])
    write(writer, tower_tensors(tensors, model.depth), DTYPES[model.dtype])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=random_models.MODELS, metavar="NAME")
    parser.add_argument("dir", type=pathlib.Path, metavar="DIR")
    kinds = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1")
    parser.add_argument("--type", choices=kinds, default="f16")
    args = parser.parse_args()
    model, source = random_models.MODELS[args.name], args.dir / args.name
    random_weights.write_model(make_random_model.load_spec(args.name), source)
    config = json.loads((source / "config.json").read_text("utf-8"))
    config |= config.get("text_config", {})
    tensors = read_tensors(source)
    tower = {n: v for n, v in tensors.items() if "visual." in n}
    decoder = {n: v for n, v in tensors.items() if n not in tower}
    path = args.dir / f"{args.name}-{args.type}.gguf"
    write_decoder(path, model, config, decoder, Kind[args.type.upper()])
    if tower:
        processor = json.loads((source / "preprocessor_config.json").read_text("utf-8"))
        write_tower(args.dir / f"{args.name}-mmproj.gguf", model, tower, processor)


if __name__ == "__main__":
    main()
