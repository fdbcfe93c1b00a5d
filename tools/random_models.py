"""The random models of tests/goldens/models: what each is, and why it is there."""

from __future__ import annotations

import dataclasses

import random_chatglm
import random_chatglm2

VOCABULARY = 1024  # of the demo tokenizer
# Families with a tower: what transformers calls their classes.
VISION = {"qwen2_vl": "Qwen2VL", "qwen2_5_vl": "Qwen2_5_VL", "qwen3_vl": "Qwen3VL"}
NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclasses.dataclass
class Model:
    """One random model: sizes, and how it is written down."""

    about: str
    seed: int
    dtype: str
    # decoder
    hidden: int
    heads: int
    kv_heads: int
    layers: int
    intermediate: int
    mrope_section: list[int]  # of qwen2: none
    rope_theta: float = 1000000.0
    eps: float = 1e-6
    vocab: int = VOCABULARY
    tied: bool = True
    # or "qwen2_5_vl", "qwen3_vl"; or "qwen2": no tower, no processors, flat config, old names; or "qwen",
    # "chatglm2" or "chatglm": the same, other names
    family: str = "qwen2_vl"
    # tower
    embed: int = 32
    vision_heads: int = 2
    depth: int = 2
    mlp_ratio: int = 4  # of qwen2_vl
    mlp_width: int = 0  # of qwen2_5_vl, as what follows
    window: int = 112
    full_blocks: tuple[int, ...] = ()
    tokens_per_second: int = 2
    # of qwen3_vl, with mlp_width; config is nested
    head_dim: int = 0
    positions: int = 0
    deepstack: tuple[int, ...] = ()
    # layout
    config: str = "nested"  # "flat", "nested", or "between" (nested, but rope_scaling of old)
    names: str = "new"  # "old": model.layers.N, visual; "new": model.language_model, model.visual
    shards: int = 1
    # or "vocab.json", or of qwen "qwen.tiktoken", of chatglm2 "tokenizer.model",
    # of chatglm "ice_text.model"
    tokenizer: str = "tokenizer.json"
    template: str = "tokenizer_config"  # or "chat_template.json", "chat_template.jinja"
    system: str = ""  # qwen2: the default system message in the template
    seq_length: int = 0  # qwen: of training; longer prompts are stretched; chatglm, chatglm2: the longest
    version: int = 0  # chatglm2: 2 or 3
    rope_ratio: int = 0  # chatglm2: 0 when config.json does not say
    image_tokens: int = 0  # chatglm: ids before those of text
    processors: str = "demo"  # or "size", "pixels", "reference", "windows": see processor_files


MODELS = {
    "flat_bf16": Model(
        "written like Qwen2-VL-2B: flat config, old names, vocab.json; no limits for videos",
        seed=26, dtype="BF16", hidden=64, heads=4, kv_heads=4, layers=2, intermediate=96,
        mrope_section=[2, 3, 3], embed=32, vision_heads=2, depth=2,
        config="flat", names="old", tokenizer="vocab.json", template="chat_template.json",
        processors="reference",
    ),
    "groups3_f32": Model(
        "6 heads of 8 on 2 key/value heads, own head, f32 in two files, new names",
        seed=44, dtype="F32", hidden=48, heads=6, kv_heads=2, layers=3, intermediate=64,
        mrope_section=[2, 1, 1], rope_theta=10000.0, tied=False, embed=32, vision_heads=2, depth=1,
        shards=2, processors="size",
    ),
    "groups6_f16": Model(
        "6 heads of 24 on 1 key/value head, f16; the tower has one head of 80",
        seed=92, dtype="F16", hidden=144, heads=6, kv_heads=1, layers=2, intermediate=78,
        mrope_section=[4, 4, 4], eps=1e-5, embed=80, vision_heads=1, depth=1, mlp_ratio=1,
        config="between", names="old", template="chat_template.jinja",
    ),
    "head128_bf16": Model(
        "one head of 128, padded vocabulary; flat config, new names; 2 heads of 24 in the tower",
        seed=68, dtype="BF16", hidden=128, heads=1, kv_heads=1, layers=2, intermediate=144,
        mrope_section=[16, 24, 24], vocab=1088, embed=48, vision_heads=2, depth=3,
        config="flat", names="new", processors="pixels",
    ),
    "odd_f32": Model(
        "sizes that are multiples of nothing: hidden 40, 5 heads on 1, 51 wide, 5 layers, depth 5",
        seed=6, dtype="F32", hidden=40, heads=5, kv_heads=1, layers=5, intermediate=51,
        mrope_section=[2, 1, 1], vocab=1031, embed=20, vision_heads=1, depth=5, mlp_ratio=3,
        tokenizer="vocab.json", processors="pixels",
    ),
    "sharded_bf16": Model(
        "bf16 in three files, old names, nested config, own head, 4 heads of 32 on 2",
        seed=55, dtype="BF16", hidden=128, heads=4, kv_heads=2, layers=2, intermediate=72,
        mrope_section=[4, 6, 6], tied=False, embed=48, vision_heads=3, depth=2,
        names="old", shards=3, processors="size",
    ),
    "head64_f16": Model(
        "2 heads of 64 on 1, f16 in two files, flat config, old names; the tower has heads of 40",
        seed=57, dtype="F16", hidden=128, heads=2, kv_heads=1, layers=3, intermediate=144,
        mrope_section=[8, 12, 12], rope_theta=500000.0, embed=40, vision_heads=1, depth=2,
        config="flat", names="old", shards=2, tokenizer="vocab.json", template="chat_template.json",
    ),
    "heads12_f32": Model(
        "12 heads of 8 on 4 key/value heads, one layer, one head of 16 in the tower, mlp_ratio 1",
        seed=72, dtype="F32", hidden=96, heads=12, kv_heads=4, layers=1, intermediate=48,
        mrope_section=[1, 1, 2], rope_theta=10000.0, tied=False, embed=16, vision_heads=1, depth=1,
        mlp_ratio=1, processors="pixels",
    ),
    "qwen2_5_vl_flat_bf16": Model(
        "written like Qwen2.5-VL-3B: flat config, old names, vocab.json; windows of 4 x 4 tokens",
        seed=36, dtype="BF16", hidden=64, heads=4, kv_heads=2, layers=2, intermediate=96,
        mrope_section=[2, 3, 3], family="qwen2_5_vl", embed=32, vision_heads=2, depth=3,
        mlp_width=44, full_blocks=(1,), config="flat", names="old", tokenizer="vocab.json",
        template="chat_template.json", processors="windows",
    ),
    "qwen2_5_vl_odd_f32": Model(
        "Qwen2.5-VL with windows of 2 x 2 tokens, sizes that are multiples of nothing, f32, 5 a second",
        seed=27, dtype="F32", hidden=40, heads=5, kv_heads=1, layers=3, intermediate=51,
        mrope_section=[2, 1, 1], vocab=1031, tied=False, family="qwen2_5_vl", embed=20,
        vision_heads=1, depth=4, mlp_width=35, window=60, full_blocks=(0, 3), tokens_per_second=5,
        shards=2, processors="windows",
    ),
    "qwen3_vl_tied_bf16": Model(
        "written like Qwen3-VL-2B: tied, new names; heads of 32 that hidden_size does not hold",
        seed=1, dtype="BF16", hidden=64, heads=4, kv_heads=2, head_dim=32, layers=4, intermediate=96,
        mrope_section=[8, 4, 4], rope_theta=5000000.0, family="qwen3_vl", embed=32, vision_heads=2,
        depth=4, mlp_width=44, positions=36, deepstack=(0, 2), processors="clips",
    ),
    "qwen3_vl_odd_f32": Model(
        "Qwen3-VL of sizes that are multiples of nothing, features for all 3 layers, own head, f32",
        seed=1, dtype="F32", hidden=40, heads=5, kv_heads=1, head_dim=16, layers=3, intermediate=51,
        mrope_section=[4, 2, 2], vocab=1031, tied=False, family="qwen3_vl", embed=20,
        vision_heads=1, depth=4, mlp_width=35, positions=50, deepstack=(1, 2, 3), shards=2,
        processors="clips", template="chat_template.json",
    ),
    "qwen2_head64_bf16": Model(
        "text only, as Qwen2: 3 heads of 64 on 1 key/value head, tied",
        seed=35, dtype="BF16", hidden=192, heads=3, kv_heads=1, layers=2, intermediate=128,
        mrope_section=[], family="qwen2", config="flat", names="old",
        system="You are a helpful assistant.",
    ),
    "qwen2_head128_f16": Model(
        "text only, as Qwen2.5: 2 heads of 128 on 1 key/value head, own head, vocab.json",
        seed=2, dtype="F16", hidden=256, heads=2, kv_heads=1, layers=2, intermediate=80,
        mrope_section=[], rope_theta=10000.0, eps=1e-5, tied=False, family="qwen2", names="old",
        shards=2, tokenizer="vocab.json", template="chat_template.jinja",
        system="You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
    ),
    "qwen_heads2_bf16": Model(
        "the first Qwen: 2 heads of 32, bf16 in two files, padded vocabulary, 24 positions in training",
        seed=483, dtype="BF16", hidden=64, heads=2, kv_heads=2, layers=3, intermediate=88, vocab=1280,
        mrope_section=[], rope_theta=10000.0, tied=False, family="qwen", shards=2,
        tokenizer="qwen.tiktoken", seq_length=24,
    ),
    "qwen_head128_f16": Model(
        "the first Qwen: 1 head of 128, f16, every id a token, 20 positions in training",
        seed=17, dtype="F16", hidden=128, heads=1, kv_heads=1, layers=2, intermediate=72, vocab=1218,
        mrope_section=[], rope_theta=10000.0, eps=1e-5, tied=False, family="qwen",
        tokenizer="qwen.tiktoken", seq_length=20,
    ),
} | random_chatglm.models(Model) | random_chatglm2.models(Model)  # fmt: skip
