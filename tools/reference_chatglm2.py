"""A reference for ChatGLM2 and ChatGLM3 (model_type "chatglm" with multi_query_group_num), which
transformers does not have.

Written from the models' published code in plain torch and sentencepiece: modeling_chatglm.py and
tokenization_chatglm.py of THUDM/chatglm3-6b (line numbers are of its revision 456aa87), and where
ChatGLM2 differs those of THUDM/chatglm2-6b, named by function. It is slow and has no options: what it
is for is to be read beside those files. transformers' GlmForCausalLM has the same layers under other
names: with the weights moved there it gives the same logits (5.23, checked once, to 7e-6 of 18).
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re

import sentencepiece
import torch
from reference_media import InputError
from reference_qwen import QwenReference
from reference_vl import DTYPES, Result
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

MASKS = ["[MASK]", "[gMASK]", "[sMASK]", "sop", "eop"]
ROLES = ["<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"]
ROLE = re.compile("|".join(map(re.escape, ROLES)))


class Tokenizer:
    """SPTokenizer, tokenization_chatglm.py lines 11-88: the special tokens follow the last piece; those of
    the roles are ChatGLM3's."""

    def __init__(self, path: pathlib.Path, roles: bool):
        self.pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
        names = MASKS + ROLES if roles else MASKS
        self.special_ids = {s: self.pieces.vocab_size() + i for i, s in enumerate(names)}
        self.eos_id = self.pieces.eos_id()

    def encode(self, text: str) -> list[int]:
        return self.pieces.encode(text)

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        assert skip_special_tokens
        return self.pieces.decode([i for i in ids if i < self.pieces.vocab_size()])

    def prefix(self) -> list[int]:
        """get_prefix_tokens, lines 190-192."""
        return [self.special_ids["[gMASK]"], self.special_ids["sop"]]

    def round(self, n: int, question: str) -> str:
        """A round of build_prompt of THUDM/chatglm2-6b, up to the answer."""
        return f"[Round {n}]\n\n问：{question}\n\n答："

    def rounds(self, question: str, history: list[tuple[str, str]]) -> list[int]:
        """build_prompt and build_inputs of THUDM/chatglm2-6b."""
        text = "".join(f"{self.round(i + 1, q)}{a}\n\n" for i, (q, a) in enumerate(history))
        return self.prefix() + self.encode(text + self.round(len(history) + 1, question))

    def next_round(self, n: int, question: str) -> list[int]:
        """build_stream_inputs of THUDM/chatglm2-6b behind the answers of n - 1 rounds."""
        return self.encode("\n\n" + self.round(n, question))[1:]

    def messages(self, messages: list[tuple[str, str]]) -> list[int]:
        """build_single_message and build_chat_input, lines 194-212, without the prefix."""
        ids = []
        for role, text in messages:
            ids += [self.special_ids[f"<|{role}|>"], *self.encode("\n"), *self.encode(text)]
        return ids + [self.special_ids["<|assistant|>"]]


class RMSNorm(nn.Module):
    """Lines 181-192: all in f32, then the model's type."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        variance = x.to(torch.float32).pow(2).mean(-1, keepdim=True)
        return (self.weight * (x * torch.rsqrt(variance + self.eps))).to(x.dtype)


def rotate(x, table):
    """apply_rotary_pos_emb, lines 161-178: x [n, heads, dim], table [n, dim / 4, 2] of cosines and sines.
    Channels 2j and 2j + 1 turn together, in the first half of a head."""
    pairs = table.shape[1]
    turned, rest = x[..., : 2 * pairs].unflatten(-1, (pairs, 2)), x[..., 2 * pairs :]
    cos, sin = table[:, None, :, 0], table[:, None, :, 1]
    a, b = turned[..., 0], turned[..., 1]
    return torch.cat((torch.stack((a * cos - b * sin, b * cos + a * sin), -1).flatten(-2), rest), -1)


class ChatGlm(nn.Module):
    """ChatGLMForConditionalGeneration: parameters under the checkpoint's names, a forward pass over one
    sequence."""

    def __init__(self, config: dict, third: bool, dtype: torch.dtype):
        super().__init__()
        self.config, self.third, self.dtype, self.past = config, third, dtype, None
        hidden, wide, vocab = (config[k] for k in ("hidden_size", "ffn_hidden_size", "padded_vocab_size"))
        self.heads, self.groups = config["num_attention_heads"], config["multi_query_group_num"]
        self.dim, eps = config["kv_channels"], config["layernorm_epsilon"]
        inner = self.heads * self.dim

        def block():
            layer = nn.Module()
            layer.input_layernorm, layer.post_attention_layernorm = RMSNorm(hidden, eps), RMSNorm(hidden, eps)
            layer.self_attention, layer.mlp = nn.Module(), nn.Module()
            layer.self_attention.query_key_value = nn.Linear(  # lines 329-341
                hidden, inner + 2 * self.groups * self.dim, bias=config["add_qkv_bias"]
            )
            layer.self_attention.dense = nn.Linear(inner, hidden, bias=False)
            layer.mlp.dense_h_to_4h = nn.Linear(hidden, 2 * wide, bias=False)  # line 473
            layer.mlp.dense_4h_to_h = nn.Linear(wide, hidden, bias=False)
            return layer

        self.transformer = nn.Module()
        self.transformer.embedding, self.transformer.encoder = nn.Module(), nn.Module()
        self.transformer.embedding.word_embeddings = nn.Embedding(vocab, hidden)
        self.transformer.encoder.layers = nn.ModuleList(block() for _ in range(config["num_layers"]))
        self.transformer.encoder.final_layernorm = RMSNorm(hidden, eps)
        self.transformer.output_layer = nn.Linear(hidden, vocab, bias=False)
        self.to(dtype).eval()

    def table(self, first: int, end: int) -> torch.Tensor:
        """RotaryEmbedding.forward_impl, lines 129-152, of dimension kv_channels / 2 (lines 750-755). rope_ratio
        divides positions in THUDM/chatglm2-6b-32k and multiplies the base in THUDM/chatglm3-6b-32k."""
        ratio, n = self.config.get("rope_ratio", 1), self.dim // 2
        base = 10000 * ratio if self.third else 10000
        theta = 1.0 / (base ** (torch.arange(0, n, 2, dtype=torch.float) / n))
        positions = torch.arange(end, dtype=torch.float) / (1 if self.third else ratio)
        angles = torch.outer(positions, theta)
        return torch.stack((angles.cos(), angles.sin()), -1)[first:].to(self.dtype)

    def attention(self, layer, x, index: int, table):
        """SelfAttention.forward, lines 363-449, and CoreAttention.forward, lines 221-235: x [n, hidden]."""
        n, dim = len(x), self.dim
        widths = [self.heads * dim, self.groups * dim, self.groups * dim]
        query, key, value = (
            part.view(n, -1, dim) for part in layer.query_key_value(x).split(widths, -1)
        )
        query, key = rotate(query, table), rotate(key, table)
        if self.past[index] is not None:
            key = torch.cat((self.past[index][0], key))
            value = torch.cat((self.past[index][1], value))
        self.past[index] = key, value
        shared = self.heads // self.groups
        key, value = (t.repeat_interleave(shared, dim=1) for t in (key, value))
        query, key, value = (t.transpose(0, 1) for t in (query, key, value))
        causal = torch.ones(key.shape[1], key.shape[1], dtype=torch.bool).tril()[-n:]
        out = F.scaled_dot_product_attention(query, key, value, causal)
        return layer.dense(out.transpose(0, 1).reshape(n, -1))

    def mlp(self, layer, x):
        """MLP.forward, lines 481-502."""
        gate, up = layer.dense_h_to_4h(x).chunk(2, dim=-1)
        return layer.dense_4h_to_h(F.silu(gate) * up)

    @torch.no_grad()
    def forward(self, ids: torch.Tensor, fresh: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Logits f32 [padded_vocab_size] behind ids [n], and what is behind each layer. fresh: they begin a
        sequence; else they go on with the last."""
        layers = self.transformer.encoder.layers
        if fresh:
            self.past = [None] * len(layers)
        first = 0 if fresh else self.past[0][0].shape[0]
        table, seen = self.table(first, first + len(ids)), []
        x = self.transformer.embedding.word_embeddings(ids)
        for i, layer in enumerate(layers):  # GLMBlock.forward, lines 536-576
            x = x + self.attention(layer.self_attention, layer.input_layernorm(x), i, table)
            x = x + self.mlp(layer.mlp, layer.post_attention_layernorm(x))
            seen.append(x.float())
        return self.transformer.output_layer(self.transformer.encoder.final_layernorm(x[-1])).float(), seen


class ChatGlm2Reference(QwenReference):
    """A model directory of ChatGLM2 or ChatGLM3; greedy decoding is QwenReference's."""

    def __init__(self, model_dir: pathlib.Path, dtype: str = "f32"):
        self.dir = model_dir
        config = json.loads((model_dir / "config.json").read_text())
        settings = json.loads((model_dir / "tokenizer_config.json").read_text())
        self.third = "chatglm3" in config["_name_or_path"] or "<|user|>" in json.dumps(settings)
        self.tokenizer = Tokenizer(model_dir / "tokenizer.model", self.third)
        self.model = ChatGlm(config, self.third, DTYPES[dtype])
        weights = {}
        for path in sorted(model_dir.glob("*.safetensors")):
            weights |= load_file(path)
        self.model.load_state_dict(weights)

    def prompt(self, media, question: str, system: str | None) -> str:
        """A question without history."""
        if media:
            raise InputError(f"{media[0].path}: {self.dir} is a model of text only")
        if not self.third:
            if system is not None:
                raise InputError(f"{self.dir}: ChatGLM2 has no system message")
            return self.tokenizer.round(1, question)
        messages = [("system", system)] if system is not None else []
        messages.append(("user", question))
        return "".join(f"<|{role}|>\n{text}" for role, text in messages) + "<|assistant|>"

    def inputs(self, media, prompt: str, options) -> tuple[dict, dict]:
        """The prompt's ids. ChatGLM3's texts are encoded one by one."""
        tokens = self.tokenizer
        if self.third:
            roles, texts = ROLE.findall(prompt), ROLE.split(prompt)[1:-1]
            pairs = [(role[2:-2], text[1:]) for role, text in zip(roles, texts)]
            ids = tokens.prefix() + tokens.messages(pairs)
        else:
            ids = tokens.prefix() + tokens.encode(prompt)
        return dict(input_ids=torch.tensor([ids])), {}

    def eos_token_ids(self) -> list[int]:
        """ChatGLMForConditionalGeneration.chat, lines 1036-1037; ChatGLM2 has the tokenizer's only."""
        more = [self.tokenizer.special_ids[s] for s in ("<|user|>", "<|observation|>")] if self.third else []
        return [self.tokenizer.eos_id, *more]

    def decode(self, media, prompt, inputs, limits, options) -> Result:
        """What the model makes of these ids, greedily; process_response, lines 999-1005, strips it."""
        result = super().decode(media, prompt, inputs, limits, options)
        return dataclasses.replace(result, answer=result.answer.strip())
