"""A reference for the first Qwen (model_type "qwen"), which transformers does not have.

Written from the model's published code, modeling_qwen.py of Qwen-7B-Chat (line numbers are of its
revision 04df5dd of 2023-08) and tokenization_qwen.py, in plain torch and tiktoken. It is slow and has no
options: what it is for is to be read beside that file.
"""

from __future__ import annotations

import base64
import json
import math
import pathlib
import unicodedata

import tiktoken
import torch
from reference_media import InputError
from reference_text import TextReference
from reference_vl import DTYPES, Result
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

# PAT_STR and the special tokens of tokenization_qwen.py.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{i}|>" for i in range(205))]
SYSTEM = "You are a helpful assistant."  # of QWenLMHeadModel.chat, line 959


class Tokenizer:
    """QWenTokenizer over a file of ranks; the special tokens follow the last rank."""

    def __init__(self, path: pathlib.Path):
        lines = [line.split() for line in path.read_bytes().splitlines() if line]
        ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
        self.special_ids = {s: len(ranks) + i for i, s in enumerate(SPECIALS)}
        self.encoding = tiktoken.Encoding(
            "Qwen", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=self.special_ids
        )

    def encode(self, text: str, specials: bool = False) -> list[int]:
        text = unicodedata.normalize("NFC", text)
        if specials:
            return self.encoding.encode(text, allowed_special="all", disallowed_special=())
        return self.encoding.encode_ordinary(text)

    def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        special = set(self.special_ids.values()) if skip_special_tokens else set()
        known = [i for i in ids if i < self.encoding.n_vocab and i not in special]
        return self.encoding.decode(known, errors="replace")


def rms_norm(x, weight, eps):
    """RMSNorm, lines 1128-1136: the mean in f32, the product with the weight in the model's type."""
    wide = x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)).type_as(x) * weight


def rotate(x, angles):
    """apply_rotary_pos_emb, lines 1105-1119: x [heads, n, dim], angles [n, dim / 2]."""
    angles = torch.cat((angles, angles), dim=-1)
    x1, x2 = x.float().chunk(2, dim=-1)
    return (x.float() * angles.cos() + torch.cat((-x2, x1), dim=-1) * angles.sin()).type_as(x)


class Qwen(nn.Module):
    """QWenLMHeadModel: parameters under the checkpoint's names, a forward pass over one sequence."""

    def __init__(self, config: dict, dtype: torch.dtype):
        super().__init__()
        self.config, self.past, self.ntk_alpha = config, None, 1.0
        hidden, wide = config["hidden_size"], config["intermediate_size"] // 2  # lines 416-423
        self.dim = config["kv_channels"]
        inner = self.dim * config["num_attention_heads"]

        def linear(rows, columns, bias=False):
            return nn.Linear(columns, rows, bias=bias)

        def norm():
            module = nn.Module()
            module.weight = nn.Parameter(torch.ones(hidden))
            return module

        def block():
            layer = nn.Module()
            layer.ln_1, layer.ln_2 = norm(), norm()
            layer.attn, layer.mlp = nn.Module(), nn.Module()
            layer.attn.c_attn = linear(3 * inner, hidden, bias=True)  # line 158
            layer.attn.c_proj = linear(hidden, inner)
            layer.mlp.w1, layer.mlp.w2 = linear(wide, hidden), linear(wide, hidden)
            layer.mlp.c_proj = linear(hidden, wide)
            return layer

        self.transformer = nn.Module()
        self.transformer.wte = nn.Embedding(config["vocab_size"], hidden)
        self.transformer.h = nn.ModuleList(block() for _ in range(config["num_hidden_layers"]))
        self.transformer.ln_f = norm()
        self.lm_head = linear(config["vocab_size"], hidden)
        self.to(dtype).eval()

    def angles(self, first: int, end: int) -> torch.Tensor:
        """Of positions first .. end - 1. The base grows with the prompt (lines 327-337, 1072-1090),
        and stays while it is answered."""
        c = self.config
        if c["use_dynamic_ntk"] and first == 0:
            context_value = math.log(end / c["seq_length"], 2) + 1
            self.ntk_alpha = max(2 ** math.ceil(context_value) - 1, 1)
        base = c["rotary_emb_base"] * self.ntk_alpha ** (self.dim / (self.dim - 2))
        inv_freq = 1.0 / (base ** (torch.arange(0, self.dim, 2).float() / self.dim))
        return torch.outer(torch.arange(end).float(), inv_freq)[first:]

    def attention(self, layer, x, index: int, angles):
        """QWenAttention.forward, lines 304-410: x [n, hidden]."""
        n, heads = len(x), self.config["num_attention_heads"]
        mixed = layer.attn.c_attn(x).view(n, 3, heads, self.dim).permute(1, 2, 0, 3)
        query, key, value = rotate(mixed[0], angles), rotate(mixed[1], angles), mixed[2]
        if self.past[index] is not None:
            key = torch.cat((self.past[index][0], key), dim=1)
            value = torch.cat((self.past[index][1], value), dim=1)
        self.past[index] = key, value
        length, trained = key.shape[1], self.config["seq_length"]
        if self.config["use_logn_attn"]:  # lines 193-197 and 367-373
            logn = [
                math.log(i, trained) if i > trained else 1 for i in range(length - n + 1, length + 1)
            ]
            query = query * torch.tensor(logn).type_as(query)[None, :, None]
        scores = query @ key.transpose(-1, -2) / self.dim**0.5  # _attn, lines 202-236
        causal = torch.ones(length, length, dtype=torch.bool).tril()[length - n :]
        scores = torch.where(causal, scores, torch.finfo(scores.dtype).min)
        return layer.attn.c_proj((scores.softmax(-1) @ value).permute(1, 0, 2).reshape(n, -1))

    @torch.no_grad()
    def forward(self, ids: torch.Tensor, fresh: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Logits f32 [vocab_size] behind ids [n], and what is behind each layer. fresh: they begin a
        sequence; else they go on with the last."""
        if fresh:
            self.past = [None] * len(self.transformer.h)
        eps, layers = self.config["layer_norm_epsilon"], []
        first = 0 if fresh else self.past[0][0].shape[1]
        angles = self.angles(first, first + len(ids))
        x = self.transformer.wte(ids)
        for i, layer in enumerate(self.transformer.h):  # QWenBlock.forward, lines 459-505
            x = self.attention(layer, rms_norm(x, layer.ln_1.weight, eps), i, angles) + x
            normed = rms_norm(x, layer.ln_2.weight, eps)
            # QWenMLP.forward, lines 425-430
            x = x + layer.mlp.c_proj(layer.mlp.w1(normed) * F.silu(layer.mlp.w2(normed)))
            layers.append(x.float())
        return self.lm_head(rms_norm(x[-1], self.transformer.ln_f.weight, eps)).float(), layers


class QwenReference(TextReference):
    """A model directory of the first Qwen."""

    def __init__(self, model_dir: pathlib.Path, dtype: str = "f32"):
        self.dir = model_dir
        self.tokenizer = Tokenizer(model_dir / "qwen.tiktoken")
        config = json.loads((model_dir / "config.json").read_text())
        self.model = Qwen(config, DTYPES[dtype])
        weights = {}
        for path in sorted(model_dir.glob("*.safetensors")):
            weights |= load_file(path)
        self.model.load_state_dict(weights)

    def prompt(self, media, question: str, system: str | None) -> str:
        """make_context of qwen_generation_utils.py, chat_format "chatml"."""
        if media:
            raise InputError(f"{media[0].path}: {self.dir} is a model of text only")
        return "\n".join(
            f"<|im_start|>{role}\n{text}"
            for role, text in (
                ("system", f"{SYSTEM if system is None else system}<|im_end|>"),
                ("user", f"{question}<|im_end|>"),
                ("assistant", ""),
            )
        )

    def inputs(self, media, prompt: str, options) -> tuple[dict, dict]:
        """The prompt's ids. Roles, newlines and texts are encoded one by one in make_context."""
        ids, tokens = [], self.tokenizer
        start, end = (tokens.special_ids[s] for s in ("<|im_start|>", "<|im_end|>"))
        for message in prompt.split("<|im_start|>")[1:]:
            role, text = message.split("\n", 1)
            ids += [start, *tokens.encode(role), *tokens.encode("\n")]
            if "<|im_end|>" in text:
                ids += [*tokens.encode(text[: text.rindex("<|im_end|>")]), end, *tokens.encode("\n")]
        return dict(input_ids=torch.tensor([ids])), {}

    def eos_token_ids(self) -> list[int]:
        """Of generation_config.json, and get_stop_words_ids of qwen_generation_utils.py."""
        settings = json.loads((self.dir / "generation_config.json").read_text())
        ids = [settings["eos_token_id"]]
        if settings["chat_format"] == "chatml":
            ids += [self.tokenizer.special_ids[s] for s in ("<|im_end|>", "<|im_start|>")]
        return ids

    def decode(self, media, prompt, inputs, limits, options) -> Result:
        """What the model makes of these ids, greedily."""
        network, ids, eos = self.model, inputs["input_ids"][0], self.eos_token_ids()
        logits, layers = network(ids, fresh=True)
        steps, generated = [logits], [int(logits.argmax())]
        while len(generated) < options.max_new_tokens and generated[-1] not in eos:
            steps.append(network(torch.tensor(generated[-1:]), fresh=False)[0])
            generated.append(int(steps[-1].argmax()))
        return Result(
            pixel_values=None,
            grids=[],
            input_ids=ids,
            position_ids=torch.arange(len(ids)).expand(3, -1),
            vision_embeds=None,
            vision_layers=None,
            decoder_layers=torch.stack(layers),
            logits=logits,
            generated_ids=torch.tensor(generated),
            step_logits=torch.stack(steps),
            rope_delta=0,
            positions_differ=False,
            prompt=prompt,
            answer=self.tokenizer.decode(generated, skip_special_tokens=True),
            eos_token_ids=eos,
            limits={},
        )
