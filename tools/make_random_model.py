"""Seeded random models that vary every size, name and layout: specs, and directories.

    make_random_model.py NAME DIR            write the model of tests/goldens/models/NAME.json
    make_random_model.py --list              what there is
    make_random_model.py --specs             write tests/goldens/models/*.json from MODELS below
    make_random_model.py NAME --search N     try N seeds, print those whose greedy answers have
                                             the largest margins (to put into MODELS)

The weights are those of tools/random_weights.py, which tests/support/random_model.cc makes in C++
too. Their scales are chosen so that attention, the tower and the media all matter, and the seeds so
that greedy decoding gives varied tokens with clear margins.

needs: numpy; --search also tools/requirements-golden.txt
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import pathlib
import sys
import tempfile

import random_chatglm
import random_chatglm2
import random_weights

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
SPECS = REPOSITORY / "tests" / "goldens" / "models"
DEMO = REPOSITORY / "models" / "demo"
MAX_BYTES = 2_200_000
VOCABULARY = 1024  # of the demo tokenizer
# Families with a tower: what transformers calls their classes.
VISION = {"qwen2_vl": "Qwen2VL", "qwen2_5_vl": "Qwen2_5_VL", "qwen3_vl": "Qwen3VL"}
NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
# Ids of the demo tokenizer's special tokens.
ENDOFTEXT, IM_END, VISION_START, VISION_END, IMAGE_PAD, VIDEO_PAD = (
    1010,
    1012,
    1019,
    1020,
    1022,
    1023,
)
# ChatML as text models have it: in string literals, escaped once more than JSON does.
TEXT_TEMPLATE = (
    "{%- if messages[0]['role'] == 'system' %}"
    "{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}"
    "{%- else %}{{- '<|im_start|>system\\nSYSTEM<|im_end|>\\n' }}{%- endif %}"
    "{%- for message in messages %}{%- if message.role == 'user' or not loop.first %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


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


# ---------------------------------------------------------------------------------------------
# Files


def qwen_config(m: Model) -> dict:
    """config.json of the first Qwen."""
    return dict(
        architectures=["QWenLMHeadModel"],
        model_type="qwen",
        hidden_size=m.hidden,
        intermediate_size=2 * m.intermediate,
        num_hidden_layers=m.layers,
        num_attention_heads=m.heads,
        kv_channels=m.hidden // m.heads,
        vocab_size=m.vocab,
        seq_length=m.seq_length,
        max_position_embeddings=512,
        layer_norm_epsilon=m.eps,
        no_bias=True,
        rotary_emb_base=int(m.rope_theta),
        rotary_pct=1.0,
        scale_attn_weights=True,
        use_dynamic_ntk=True,
        use_logn_attn=True,
        tie_word_embeddings=False,
    )


def config(m: Model) -> dict:
    """config.json in one of three layouts."""
    if m.family == "qwen":
        return qwen_config(m)
    if m.family == "chatglm":
        return random_chatglm.config(m, NAMES[m.dtype])
    if m.family == "chatglm2":
        return random_chatglm2.config(m, NAMES[m.dtype])
    text = dict(
        hidden_size=m.hidden,
        num_hidden_layers=m.layers,
        num_attention_heads=m.heads,
        num_key_value_heads=m.kv_heads,
        intermediate_size=m.intermediate,
        vocab_size=m.vocab,
        max_position_embeddings=4096,
        rms_norm_eps=m.eps,
        hidden_act="silu",
        attention_dropout=0.0,
        bos_token_id=ENDOFTEXT,
        eos_token_id=IM_END,
        use_sliding_window=False,
        sliding_window=4096,
        max_window_layers=m.layers,
        tie_word_embeddings=m.tied,
        use_cache=True,
    )
    if m.family == "qwen2":
        return text_config(m, text)
    vision = dict(
        depth=m.depth,
        embed_dim=m.embed,
        mlp_ratio=m.mlp_ratio,
        num_heads=m.vision_heads,
        hidden_size=m.hidden,
        patch_size=14,
        spatial_merge_size=2,
        temporal_patch_size=2,
    )
    if m.family == "qwen2_5_vl":
        vision |= dict(
            hidden_size=m.embed,
            out_hidden_size=m.hidden,
            intermediate_size=m.mlp_width,
            window_size=m.window,
            fullatt_block_indexes=list(m.full_blocks),
            tokens_per_second=m.tokens_per_second,
            hidden_act="silu",
        )
        del vision["embed_dim"], vision["mlp_ratio"]
    if m.family == "qwen3_vl":
        add_qwen3_vl(m, text, vision)
    ids = dict(
        architectures=[f"{VISION[m.family]}ForConditionalGeneration"],
        model_type=m.family,
        vision_start_token_id=VISION_START,
        vision_end_token_id=VISION_END,
        image_token_id=IMAGE_PAD,
        video_token_id=VIDEO_PAD,
    )
    old_rope = dict(
        rope_theta=m.rope_theta,
        rope_scaling=dict(type="mrope", mrope_section=m.mrope_section),
    )
    if m.config == "flat":
        vision |= dict(in_chans=3, spatial_patch_size=14)
        return ids | text | old_rope | dict(torch_dtype=NAMES[m.dtype], vision_config=vision)
    act = {"qwen2_vl": "quick_gelu", "qwen2_5_vl": "silu", "qwen3_vl": "gelu_pytorch_tanh"}
    vision |= dict(in_channels=3, hidden_act=act[m.family], model_type=m.family + "_vision")
    text |= dict(model_type=m.family + "_text", dtype=NAMES[m.dtype])
    if m.config == "between":
        text |= old_rope
    else:
        text["rope_parameters"] = dict(
            rope_type="default", rope_theta=m.rope_theta, mrope_section=m.mrope_section
        )
        if m.family == "qwen3_vl":
            text["rope_parameters"]["mrope_interleaved"] = True
    ids |= dict(dtype=NAMES[m.dtype], tie_word_embeddings=m.tied)
    return ids | dict(text_config=text, vision_config=vision)


def add_qwen3_vl(m: Model, text: dict, vision: dict) -> None:
    """What Qwen3-VL's config.json says in another way than Qwen2-VL's."""
    text |= dict(head_dim=m.head_dim, attention_bias=False)
    for key in ("use_sliding_window", "sliding_window", "max_window_layers"):
        del text[key]
    vision |= dict(
        hidden_size=m.embed,
        out_hidden_size=m.hidden,
        intermediate_size=m.mlp_width,
        num_position_embeddings=m.positions,
        deepstack_visual_indexes=list(m.deepstack),
        patch_size=16,
    )
    del vision["embed_dim"], vision["mlp_ratio"]


def text_config(m: Model, text: dict) -> dict:
    """config.json of a text model, with the rotary embedding as older or newer files have it."""
    ids = dict(architectures=["Qwen2ForCausalLM"], model_type="qwen2")
    if m.config == "flat":
        return ids | text | dict(rope_theta=m.rope_theta, torch_dtype=NAMES[m.dtype])
    rope = dict(rope_type="default", rope_theta=m.rope_theta)
    return ids | text | dict(rope_parameters=rope, dtype=NAMES[m.dtype])


def processor_files(m: Model) -> dict:
    """Preprocessor configs: where the limits stand differs from model to model."""
    if m.family not in VISION:
        return {}
    common = dict(
        patch_size=14,
        temporal_patch_size=2,
        merge_size=2,
        image_mean=[0.48145466, 0.4578275, 0.40821073],
        image_std=[0.26862954, 0.26130258, 0.27577711],
        processor_class=f"{VISION[m.family]}Processor",
    )
    image = common | dict(image_processor_type="Qwen2VLImageProcessor")
    video = common | dict(video_processor_type="Qwen2VLVideoProcessor")
    if m.processors == "reference":  # as Qwen2-VL-2B: nothing about videos
        return {"preprocessor_config.json": image | dict(min_pixels=3136, max_pixels=12845056)}
    if m.processors == "windows":  # enough for several windows
        image |= dict(min_pixels=3136, max_pixels=39200)
        video |= dict(min_pixels=3136, max_pixels=39200, min_frames=2, max_frames=8, fps=2)
    elif m.processors == "clips":  # as Qwen3-VL: the limits for videos are of all frames together
        own = dict(patch_size=16, image_mean=[0.5] * 3, image_std=[0.5] * 3)
        image |= own | dict(size=dict(shortest_edge=12288, longest_edge=36864))
        video |= own | dict(size=dict(shortest_edge=32768, longest_edge=163840))
        video |= dict(video_processor_type="Qwen3VLVideoProcessor", min_frames=2, max_frames=8, fps=2)
    elif m.processors == "pixels":
        image |= dict(min_pixels=4704, max_pixels=7840)
        video |= dict(min_pixels=3136, max_pixels=6272, min_frames=2, max_frames=8, fps=3)
    elif m.processors == "size":
        image |= dict(size=dict(shortest_edge=3136, longest_edge=6272))
        video |= dict(size=dict(shortest_edge=3136, longest_edge=4704), max_frames=4)
    else:
        for name, target in (("preprocessor", image), ("video_preprocessor", video)):
            target |= json.loads((DEMO / f"{name}_config.json").read_text())
    return {"preprocessor_config.json": image, "video_preprocessor_config.json": video}


def tokenizer_files(m: Model) -> dict:
    """tokenizer_config.json and the chat template, in one of its three places."""
    if m.family == "qwen":
        return {"tokenizer_config.json": dict(tokenizer_class="QWenTokenizer")}
    if m.family == "chatglm":
        return {"tokenizer_config.json": random_chatglm.tokenizer_config(m)}
    if m.family == "chatglm2":
        return {"tokenizer_config.json": random_chatglm2.tokenizer_config(m)}
    document = json.loads((DEMO / "tokenizer_config.json").read_text())
    files, template = {}, document["chat_template"]
    if m.family == "qwen2":
        template = document["chat_template"] = TEXT_TEMPLATE.replace("SYSTEM", m.system)
    if m.family == "qwen3_vl":  # no system message of its own
        begin, end = template.index("{% if loop.first"), template.index("{% endif %}")
        template = document["chat_template"] = template[:begin] + template[end + len("{% endif %}") :]
    if m.template != "tokenizer_config":
        del document["chat_template"]
    if m.template == "chat_template.json":
        files["chat_template.json"] = dict(chat_template=template)
    elif m.template == "chat_template.jinja":
        files["chat_template.jinja"] = template
    if m.tokenizer == "vocab.json":  # the special tokens stand in tokenizer_config.json alone
        added = json.loads((DEMO / "tokenizer.json").read_text())["added_tokens"]
        document["added_tokens_decoder"] = {str(t.pop("id")): t for t in added}
        document["add_prefix_space"] = False
    return files | {"tokenizer_config.json": document}


def generation_config(m: Model) -> dict:
    """Sampling settings that a golden, being greedy, must ignore."""
    if m.family == "qwen":
        ids = dict(chat_format="chatml", eos_token_id=ENDOFTEXT, pad_token_id=ENDOFTEXT)
    elif m.family == "chatglm2":
        ids = dict(eos_token_id=2, pad_token_id=0)
    else:
        ids = dict(
            bos_token_id=ENDOFTEXT, pad_token_id=ENDOFTEXT, eos_token_id=[IM_END, ENDOFTEXT]
        )
    return ids | dict(
        do_sample=True,
        temperature=0.7,
        top_p=0.8,
        top_k=20,
        repetition_penalty=1.1,
    )


# ---------------------------------------------------------------------------------------------
# Tensors


def gain(std: float) -> int:
    """The gain of random_weights that comes closest to this standard deviation."""
    found = round(std * math.sqrt(3) * 128)
    assert 1 <= found <= 127, std
    return found


def tensors(m: Model) -> list[dict]:
    """Every tensor: name, shape, gain, bias."""
    text = "model." if m.names == "old" else "model.language_model."
    tower = "visual." if m.names == "old" else "model.visual."
    head_dim, found = m.head_dim or m.hidden // m.heads, []
    biased = m.family != "qwen3_vl"

    def add(name: str, shape: list[int], std: float, bias: int = 0):
        found.append(dict(name=name, shape=shape, gain=gain(std), bias=bias))

    def linear(name: str, rows: int, columns: int, strength: float = 1.0, biased: bool = True):
        """Outputs have about `strength` times the inputs' standard deviation."""
        add(name + ".weight", [rows, columns], strength / math.sqrt(columns))
        if biased:
            add(name + ".bias", [rows], 0.2)

    other = {"qwen": add_qwen, "chatglm2": random_chatglm2.add_tensors}
    other["chatglm"] = random_chatglm.add_tensors
    if m.family in other:
        other[m.family](m, add, linear)
        return found
    # With a tied head a token's own embedding speaks for saying it again: louder layers.
    loud = 1.0
    if m.tied:
        loud = 1.7 if m.family in VISION else 2.6  # there are no media to speak of
    add(text + "embed_tokens.weight", [m.vocab, m.hidden], 0.4 if m.tied else 0.5)
    for i in range(m.layers):
        at = f"{text}layers.{i}."
        add(at + "input_layernorm.weight", [m.hidden], 0.15, bias=1)
        linear(at + "self_attn.q_proj", m.heads * head_dim, m.hidden, 1.3, biased)
        linear(at + "self_attn.k_proj", m.kv_heads * head_dim, m.hidden, 1.3, biased)
        linear(at + "self_attn.v_proj", m.kv_heads * head_dim, m.hidden, 1.2, biased)
        if m.family == "qwen3_vl":
            add(at + "self_attn.q_norm.weight", [head_dim], 0.3, bias=1)
            add(at + "self_attn.k_norm.weight", [head_dim], 0.3, bias=1)
        linear(at + "self_attn.o_proj", m.hidden, m.heads * head_dim, 1.6 * loud, biased=False)
        add(at + "post_attention_layernorm.weight", [m.hidden], 0.15, bias=1)
        linear(at + "mlp.gate_proj", m.intermediate, m.hidden, 1.2, biased=False)
        linear(at + "mlp.up_proj", m.intermediate, m.hidden, 1.2, biased=False)
        linear(at + "mlp.down_proj", m.hidden, m.intermediate, 1.3 * loud, biased=False)
    add(text + "norm.weight", [m.hidden], 0.15, bias=1)
    if m.family == "qwen3_vl":
        add_qwen3_tower(m, tower, add, linear)
    elif m.family in VISION:
        add_tower(m, tower, add, linear)
    if not m.tied:
        add("lm_head.weight", [m.vocab, m.hidden], 0.5)
    return found


def add_qwen(m: Model, add, linear) -> None:
    """The tensors of the first Qwen, by the functions of tensors()."""
    add("transformer.wte.weight", [m.vocab, m.hidden], 0.5)
    for i in range(m.layers):
        at = f"transformer.h.{i}."
        add(at + "ln_1.weight", [m.hidden], 0.15, bias=1)
        linear(at + "attn.c_attn", 3 * m.hidden, m.hidden, 1.3)
        linear(at + "attn.c_proj", m.hidden, m.hidden, 1.6, biased=False)
        add(at + "ln_2.weight", [m.hidden], 0.15, bias=1)
        linear(at + "mlp.w1", m.intermediate, m.hidden, 1.2, biased=False)
        linear(at + "mlp.w2", m.intermediate, m.hidden, 1.2, biased=False)
        linear(at + "mlp.c_proj", m.hidden, m.intermediate, 1.3, biased=False)
    add("transformer.ln_f.weight", [m.hidden], 0.15, bias=1)
    add("lm_head.weight", [m.vocab, m.hidden], 0.5)


def add_tower(m: Model, tower: str, add, linear) -> None:
    """The tensors of the vision tower, by the functions of tensors()."""

    later = m.family == "qwen2_5_vl"  # RMSNorm, SwiGLU

    def norm(name: str, width: int):
        add(name + ".weight", [width], 0.15, bias=1)
        if not later:
            add(name + ".bias", [width], 0.15)

    width, wide = m.embed, m.mlp_width if later else m.embed * m.mlp_ratio
    add(tower + "patch_embed.proj.weight", [width, 3, 2, 14, 14], 1 / math.sqrt(1176))
    for i in range(m.depth):
        at = f"{tower}blocks.{i}."
        norm(at + "norm1", width)
        linear(at + "attn.qkv", 3 * width, width, 1.2)
        linear(at + "attn.proj", width, width, 1.2)
        norm(at + "norm2", width)
        if later:
            linear(at + "mlp.gate_proj", wide, width, 1.2)
            linear(at + "mlp.up_proj", wide, width, 1.2)
            linear(at + "mlp.down_proj", width, wide, 1.4)
        else:
            linear(at + "mlp.fc1", wide, width)
            linear(at + "mlp.fc2", width, wide, 1.4)
    norm(tower + "merger.ln_q", width)
    linear(tower + "merger.mlp.0", 4 * width, 4 * width)
    linear(tower + "merger.mlp.2", m.hidden, 4 * width, 1.3)


def add_qwen3_tower(m: Model, tower: str, add, linear) -> None:
    """The tensors of Qwen3-VL's vision tower, by the functions of tensors()."""

    def norm(name: str, width: int):
        add(name + ".weight", [width], 0.15, bias=1)
        add(name + ".bias", [width], 0.15)

    def merger(at: str, normed: int):
        norm(at + "norm", normed)
        linear(at + "linear_fc1", 4 * width, 4 * width)
        linear(at + "linear_fc2", m.hidden, 4 * width, 1.3)

    width = m.embed
    add(tower + "patch_embed.proj.weight", [width, 3, 2, 16, 16], 1 / math.sqrt(1536))
    add(tower + "patch_embed.proj.bias", [width], 0.2)
    add(tower + "pos_embed.weight", [m.positions, width], 0.4)
    for i in range(m.depth):
        at = f"{tower}blocks.{i}."
        norm(at + "norm1", width)
        linear(at + "attn.qkv", 3 * width, width, 1.2)
        linear(at + "attn.proj", width, width, 1.2)
        norm(at + "norm2", width)
        linear(at + "mlp.linear_fc1", m.mlp_width, width)
        linear(at + "mlp.linear_fc2", width, m.mlp_width, 1.4)
    merger(tower + "merger.", width)
    for i in range(len(m.deepstack)):
        merger(f"{tower}deepstack_merger_list.{i}.", 4 * width)


def spec(name: str, m: Model) -> dict:
    """The document that goes to tests/goldens/models/NAME.json."""
    all_tensors = tensors(m)
    if m.shards == 1:
        parts = [("model.safetensors", all_tensors)]
    else:  # cut so that a layer's tensors fall into different files
        size, parts = -(-len(all_tensors) // m.shards), []
        for i in range(m.shards):
            file = f"model-{i + 1:05d}-of-{m.shards:05d}.safetensors"
            parts.append((file, all_tensors[i * size : (i + 1) * size]))
    files = {"config.json": config(m)}
    if m.family != "chatglm":  # which has none
        files["generation_config.json"] = generation_config(m)
    files |= processor_files(m) | tokenizer_files(m)
    document = dict(name=name, about=m.about, seed=m.seed, dtype=m.dtype, tokenizer=m.tokenizer)
    document |= dict(files=files, weights=[])
    for file, part in parts:
        data = random_weights.weight_file(document, part)
        digest = f"{random_weights.fnv1a64(data):016x}"
        document["weights"].append(dict(file=file, bytes=len(data), fnv1a64=digest, tensors=part))
    return document


def save_spec(path: pathlib.Path, document: dict) -> None:
    """JSON with one tensor a line, so that a change reads well."""
    weights = document["weights"]
    head = json.dumps({k: v for k, v in document.items() if k != "weights"}, indent=1)
    lines = []
    for w in weights:
        rows = ",\n   ".join(json.dumps(t) for t in w["tensors"])
        facts = json.dumps({k: v for k, v in w.items() if k != "tensors"})
        lines.append(f'  {facts[:-1]}, "tensors": [\n   {rows}]}}')
    joined = ",\n".join(lines)
    path.write_text(f'{head[:-2]},\n "weights": [\n{joined}]\n}}\n', encoding="utf-8")
    assert json.loads(path.read_text(encoding="utf-8")) == document


def load_spec(name: str) -> dict:
    path = SPECS / f"{name}.json"
    if not path.is_file():
        known = " ".join(sorted(p.stem for p in SPECS.glob("*.json")))
        sys.exit(f"make_random_model.py: {name}: no such spec; there are {known}")
    return json.loads(path.read_text(encoding="utf-8"))


# ---------------------------------------------------------------------------------------------
# Seeds


def search(name: str, m: Model, tries: int) -> None:
    """Print the seeds whose golden prompts have the most varied tokens and largest margins."""
    import make_goldens
    import reference
    import torch

    prompts = [p for p in make_goldens.RANDOM.values() if p[0] == name]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder)
        random_weights.write_model(spec(name, m), out)
        model = reference.load(out)
        parameters, prepared = dict(model.model.named_parameters()), []
        for _, media, question, options in prompts:
            chosen = make_goldens.parsed(options)
            opened = [reference.open_media(str(REPOSITORY / p)) for p in media]
            text = model.prompt(opened, question, chosen.system)
            prepared.append((opened, text, *model.inputs(opened, text, chosen), chosen))
        for seed in range(1, tries + 1):
            for t in tensors(m):
                x = random_weights.values(seed, t["name"], t["shape"], t["gain"], t["bias"])
                x = torch.from_numpy(x).to(getattr(torch, NAMES[m.dtype])).float()
                target = t["name"]
                if m.names == "old" and m.family in VISION:
                    target = target.replace("model.", "model.language_model.", 1)
                    target = target.replace("visual.", "model.visual.", 1)
                parameters[target].data.copy_(x)
            margins, varied = [], []
            for prompt in prepared:
                with torch.no_grad():
                    result = model.decode(*prompt)
                logits, ids = result.step_logits, result.generated_ids.tolist()
                best = logits.topk(2).values
                margins.append(((best[:, 0] - best[:, 1]) / logits.abs().amax(1)).min().item())
                text = all(i < ENDOFTEXT for i in ids)
                varied.append(len(set(ids)) / len(ids) if text else 0)
            found.append((min(margins) if min(varied) >= 0.6 else -1, min(varied), seed))
    for margin, share, seed in sorted(found, reverse=True)[:3]:
        print(f"{name}: seed {seed}: smallest relative margin {margin:.4f}, varied {share:.2f}")


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("name", nargs="?", metavar="NAME")
    p.add_argument("out", nargs="?", type=pathlib.Path, metavar="DIR")
    p.add_argument("--list", action="store_true")
    p.add_argument("--specs", action="store_true")
    p.add_argument("--search", type=int, metavar="N")
    a = p.parse_args()
    if a.search:
        for name in [a.name] if a.name else MODELS:
            search(name, MODELS[name], a.search)
    elif a.specs:
        SPECS.mkdir(parents=True, exist_ok=True)
        for name, m in MODELS.items():
            document = spec(name, m)
            save_spec(SPECS / f"{name}.json", document)
            size = sum(w["bytes"] for w in document["weights"])
            print(f"{name:14s} {size:8d} bytes  {m.about}")
            if size > MAX_BYTES:
                sys.exit(f"make_random_model.py: {name}: over {MAX_BYTES} bytes")
    elif a.list:
        for path in sorted(SPECS.glob("*.json")):
            print(f"{path.stem:14s} {load_spec(path.stem)['about']}")
    elif a.name and a.out:
        random_weights.write_model(load_spec(a.name), a.out)
    else:
        p.error("NAME and DIR, or one of --list, --specs, --search")


if __name__ == "__main__":
    main()
