#!/usr/bin/env python3
"""GGUF files of Qwen2-VL's sizes with seeded random weights, for run_llama_cpp.py and end_to_end.py.

llama.cpp (ggml 0.25.3) has read bf16, q8_0, q4_0 and mmproj; q4_k_m was not made.

Run by hand, never by the tests. SOURCE is a directory of Qwen2-VL without its weights (config.json, vocab.json,
merges.txt, tokenizer_config.json, preprocessor_config.json, chat_template.json); OUT takes text-TYPE.gguf and
mmproj-f16.gguf, 11 GB for all types of 2B. Needs gguf (PyPI) and numpy.

  python make_gguf.py QWEN2-VL-2B SCRATCH --llama-quantize llama-build/bin/llama-quantize

With llama-quantize the quantised files are what users have: the embeddings, which are the head too, are kept in
Q6_K. Without it they are made here, for q8_0 and q4_0 only, with embeddings in Q8_0.
"""

from __future__ import annotations

import argparse
import json
import pathlib

import common

numpy = common.package("numpy")
gguf = common.package("gguf")

TEXT_TYPES = ("bf16", "q8_0", "q4_0", "q4_k_m")
Kind = gguf.GGMLQuantizationType
Shapes = dict[str, tuple[int, ...]]


def text_shapes(c: dict) -> Shapes:
    """Names as in llama.cpp's gguf-py/gguf/constants.py, MODEL_ARCH.QWEN2VL."""
    hidden, wide = c["hidden_size"], c["intermediate_size"]
    kv = hidden // c["num_attention_heads"] * c["num_key_value_heads"]
    shapes: Shapes = {"token_embd.weight": (c["vocab_size"], hidden), "output_norm.weight": (hidden,)}
    for i in range(c["num_hidden_layers"]):
        layer = {"attn_norm.weight": (hidden,), "attn_q.weight": (hidden, hidden), "attn_q.bias": (hidden,),
                 "attn_k.weight": (kv, hidden), "attn_k.bias": (kv,), "attn_v.weight": (kv, hidden),
                 "attn_v.bias": (kv,), "attn_output.weight": (hidden, hidden), "ffn_norm.weight": (hidden,),
                 "ffn_gate.weight": (wide, hidden), "ffn_up.weight": (wide, hidden), "ffn_down.weight": (hidden, wide)}
        shapes |= {f"blk.{i}.{name}": shape for name, shape in layer.items()}
    return shapes


def vision_shapes(c: dict) -> Shapes:
    """Names as in llama.cpp's tools/mtmd/clip-impl.h and conversion/qwenvl.py: Conv3d is two Conv2d, qkv is three."""
    v = c["vision_config"]
    embed, patch, merged = v["embed_dim"], v["patch_size"], v["embed_dim"] * v["spatial_merge_size"] ** 2
    wide = embed * v["mlp_ratio"]
    shapes: Shapes = {"v.patch_embd.weight": (embed, 3, patch, patch), "v.patch_embd.weight.1": (embed, 3, patch, patch)}

    def linear(name: str, rows: int, columns: int) -> None:
        shapes[name + ".weight"], shapes[name + ".bias"] = (rows, columns), (rows,)

    def norm(name: str) -> None:
        shapes[name + ".weight"], shapes[name + ".bias"] = (embed,), (embed,)

    for i in range(v["depth"]):
        at = f"v.blk.{i}."
        norm(at + "ln1")
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            linear(at + name, embed, embed)
        norm(at + "ln2")
        linear(at + "ffn_up", wide, embed)
        linear(at + "ffn_down", embed, wide)
    norm("v.post_ln")
    linear("mm.0", merged, merged)
    linear("mm.2", c["hidden_size"], merged)
    return shapes


def weights(name: str, shape: tuple[int, ...], seed: int):
    """Norms around 1, small biases, matrices that keep the size of what goes through them; the same every time."""
    rng = numpy.random.default_rng([seed, *name.encode()])
    x = rng.standard_normal(shape, dtype=numpy.float32)
    if len(shape) == 1:
        norm = name.endswith("weight")
        return x * numpy.float32(0.1) + numpy.float32(1.0 if norm else 0.0)
    return x / numpy.float32(numpy.prod(shape[1:])) ** numpy.float32(0.5)


def kind_of(name: str, shape: tuple[int, ...], kind: Kind) -> Kind:
    if len(shape) == 1:
        return Kind.F32
    # llama-quantize keeps embeddings that are the head too in Q6_K, which gguf cannot write.
    return Kind.Q8_0 if name == "token_embd.weight" and kind == Kind.Q4_0 else kind


def write_tensors(writer, shapes: Shapes, kind: Kind, seed: int) -> None:
    """One tensor in memory at a time."""
    for name, shape in shapes.items():
        of = kind_of(name, shape, kind)
        bytes_shape = gguf.quant_shape_to_byte_shape(shape, of)
        writer.add_tensor_info(name, bytes_shape, numpy.dtype(numpy.uint8), int(numpy.prod(bytes_shape)), raw_dtype=of)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, shape in shapes.items():
        writer.write_tensor_data(gguf.quants.quantize(weights(name, shape, seed), kind_of(name, shape, kind)))
    writer.close()


def add_tokenizer(writer, source: pathlib.Path, vocab_size: int) -> None:
    tokens = {i: (t, gguf.TokenType.NORMAL) for t, i in json.loads((source / "vocab.json").read_text("utf-8")).items()}
    added = json.loads((source / "tokenizer_config.json").read_text("utf-8"))["added_tokens_decoder"]
    for i, token in added.items():
        kind = gguf.TokenType.CONTROL if token["special"] else gguf.TokenType.USER_DEFINED
        tokens[int(i)] = (token["content"], kind)
    every = [tokens.get(i, (f"[PAD{i}]", gguf.TokenType.UNUSED)) for i in range(vocab_size)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([text for text, _ in every])
    writer.add_token_types([kind for _, kind in every])
    gguf.SpecialVocab(source, load_merges=True, n_vocab=vocab_size).add_to_gguf(writer)


def write_text(path: pathlib.Path, source: pathlib.Path, c: dict, type_name: str, seed: int) -> None:
    writer = gguf.GGUFWriter(str(path), "qwen2vl")
    writer.add_name("random weights")
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{type_name.upper()}"])
    writer.add_block_count(c["num_hidden_layers"])
    writer.add_context_length(c["max_position_embeddings"])
    writer.add_embedding_length(c["hidden_size"])
    writer.add_feed_forward_length(c["intermediate_size"])
    writer.add_head_count(c["num_attention_heads"])
    writer.add_head_count_kv(c["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(c["rms_norm_eps"])
    writer.add_rope_freq_base(c["rope_theta"])
    writer.add_rope_dimension_sections([*c["rope_scaling"]["mrope_section"], 0])
    writer.add_vocab_size(c["vocab_size"])
    add_tokenizer(writer, source, c["vocab_size"])
    write_tensors(writer, text_shapes(c), Kind[type_name.upper()], seed)


def write_mmproj(path: pathlib.Path, source: pathlib.Path, c: dict, seed: int) -> None:
    v = c["vision_config"]
    processor = json.loads((source / "preprocessor_config.json").read_text("utf-8"))
    writer = gguf.GGUFWriter(str(path), "clip")
    writer.add_type(gguf.GGUFType.MMPROJ)
    writer.add_name("random weights")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_clip_projector_type("qwen2vl_merger")
    writer.add_clip_has_vision_encoder(True)
    writer.add_vision_projection_dim(c["hidden_size"])
    writer.add_vision_image_size(560)  # as llama.cpp's own conversion
    writer.add_vision_patch_size(v["patch_size"])
    writer.add_vision_embedding_length(v["embed_dim"])
    writer.add_vision_feed_forward_length(v["embed_dim"] * v["mlp_ratio"])
    writer.add_vision_block_count(v["depth"])
    writer.add_vision_head_count(v["num_heads"])
    writer.add_vision_spatial_merge_size(v["spatial_merge_size"])
    writer.add_vision_attention_layernorm_eps(1e-6)
    writer.add_vision_image_mean(processor["image_mean"])
    writer.add_vision_image_std(processor["image_std"])
    write_tensors(writer, vision_shapes(c), Kind.F16, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=pathlib.Path, metavar="SOURCE")
    parser.add_argument("out", type=pathlib.Path, metavar="OUT")
    parser.add_argument("--types", nargs="+", choices=(*TEXT_TYPES, "mmproj"), metavar="TYPE",
                        help="of bf16 q8_0 q4_0 q4_k_m mmproj (all that can be made)")
    parser.add_argument("--llama-quantize", metavar="PATH", help="llama.cpp's program, for the quantised types")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    types = args.types or [t for t in (*TEXT_TYPES, "mmproj") if t != "q4_k_m" or args.llama_quantize]
    if "q4_k_m" in types and not args.llama_quantize:
        common.fail("q4_k_m needs --llama-quantize")
    if args.llama_quantize:
        args.llama_quantize = common.program(args.llama_quantize, "a target of llama.cpp's build")
    if not (args.source / "config.json").is_file():
        common.fail(f"{args.source}: no config.json there")
    config = json.loads((args.source / "config.json").read_text("utf-8"))
    config |= config.get("text_config", {})
    args.out.mkdir(parents=True, exist_ok=True)
    text = {t: args.out / f"text-{t}.gguf" for t in TEXT_TYPES}
    for t in types:
        path = text.get(t, args.out / "mmproj-f16.gguf")
        if t == "mmproj":
            write_mmproj(path, args.source, config, args.seed)
        elif t == "bf16" or not args.llama_quantize:
            write_text(path, args.source, config, t, args.seed)
        else:
            if not text["bf16"].is_file():
                write_text(text["bf16"], args.source, config, "bf16", args.seed)
            common.run([args.llama_quantize, text["bf16"], path, t.upper()])
        print(f"{path}: {path.stat().st_size / 1e9:.2f} GB", flush=True)


if __name__ == "__main__":
    main()
