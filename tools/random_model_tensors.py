"""The tensors of a random model: name, shape, gain, bias."""

from __future__ import annotations

import math

import random_chatglm
import random_chatglm2
from random_models import VISION, Model


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
