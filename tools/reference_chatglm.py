"""A reference for the first ChatGLM (model_type "chatglm" without multi_query_group_num), which
transformers does not have.

Written from the model's published code in plain torch and sentencepiece: modeling_chatglm.py (line
numbers are of its revision 8b7d335 of 2023) and tokenization_chatglm.py of THUDM/chatglm-6b. It is
slow and has no options: what it is for is to be read beside those files.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib

import sentencepiece
import torch
from reference_media import InputError
from reference_qwen import QwenReference
from reference_vl import DTYPES, Result
from safetensors.torch import load_file
from torch import nn

BLANKS = 80  # max_blank_length of SPTokenizer


class Tokenizer:
    """SPTokenizer over ice_text.model; num_image_tokens ids come before the first piece."""

    def __init__(self, path: pathlib.Path, num_image_tokens: int):
        self.pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
        self.first = num_image_tokens

    def id(self, piece: str) -> int:
        """__getitem__."""
        return self.pieces.piece_to_id(piece) + self.first

    def encode(self, text: str) -> list[int]:
        """encode with its defaults, which are those of _tokenize."""
        text = text.replace("\n", "<n>").replace("\t", "<|tab|>")  # _preprocess
        for i in range(BLANKS, 1, -1):  # _encode_whitespaces
            text = text.replace(" " * i, f"<|blank_{i}|>")
        return [i + self.first for i in self.pieces.encode(text)]

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        """decode; control pieces say nothing in sentencepiece."""
        assert skip_special_tokens
        text = self.pieces.decode([i - self.first for i in ids if i >= self.first])
        text = text.replace("<n>", "\n").replace("<|tab|>", "\t")
        for i in range(2, BLANKS + 1):
            text = text.replace(f"<|blank_{i}|>", " " * i)
        return text

    def prompt(self, text: str) -> list[int]:
        """build_inputs_with_special_tokens."""
        return [*self.encode(text), self.id("[gMASK]"), self.id("<sop>")]


def rounds(question: str, history: list[tuple[str, str]]) -> str:
    """The prompt of ChatGLMForConditionalGeneration.chat, lines 1276-1282."""
    if not history:
        return question
    text = "".join(f"[Round {i}]\n问：{q}\n答：{a}\n" for i, (q, a) in enumerate(history))
    return text + f"[Round {len(history)}]\n问：{question}\n答："


def gelu(x):
    """gelu_impl, lines 167-170."""
    return 0.5 * x * (1.0 + torch.tanh(0.7978845608028654 * x * (1.0 + 0.044715 * x * x)))


def rotate(x, angles):
    """rotate_half and apply_rotary_pos_emb_index, lines 228-239: x [n, heads, dim], angles [n, dim / 2]."""
    emb = torch.cat((angles, angles), dim=-1)[:, None]
    x1, x2 = x.chunk(2, dim=-1)
    return x * emb.cos().type_as(x) + torch.cat((-x2, x1), dim=-1) * emb.sin().type_as(x)


class ChatGlm(nn.Module):
    """ChatGLMForConditionalGeneration: parameters under the checkpoint's names, a forward pass over
    one sequence."""

    def __init__(self, config: dict, dtype: torch.dtype):
        super().__init__()
        self.config, self.past = config, None
        hidden, wide = config["hidden_size"], config["inner_hidden_size"]
        self.heads, self.eps = config["num_attention_heads"], config["layernorm_epsilon"]
        self.dim = hidden // self.heads

        def norm():
            return nn.LayerNorm(hidden, eps=self.eps)

        def block():
            layer = nn.Module()
            layer.input_layernorm, layer.post_attention_layernorm = norm(), norm()
            layer.attention, layer.mlp = nn.Module(), nn.Module()
            layer.attention.query_key_value = nn.Linear(hidden, 3 * hidden)  # lines 385-392
            layer.attention.dense = nn.Linear(hidden, hidden)
            layer.mlp.dense_h_to_4h = nn.Linear(hidden, wide)  # lines 522-537
            layer.mlp.dense_4h_to_h = nn.Linear(wide, hidden)
            return layer

        self.transformer = nn.Module()
        self.transformer.word_embeddings = nn.Embedding(config["vocab_size"], hidden)
        self.transformer.layers = nn.ModuleList(block() for _ in range(config["num_layers"]))
        self.transformer.final_layernorm = norm()
        self.lm_head = nn.Linear(hidden, config["vocab_size"], bias=False)
        self.to(dtype).eval()
        # GLMBlock's num_layers, line 566, which ChatGLMModel never sets (lines 824-836); line 642.
        self.alpha = (2 * 28) ** 0.5

    def start(self, ids: list[int]) -> None:
        """A sequence that begins with these ids: get_masks and get_position_ids, lines 680-702, and
        the place of the mask, lines 943-951."""
        c = self.config
        self.past = [None] * len(self.transformer.layers)
        self.context = ids.index(c["bos_token_id"])
        mask = "gmask_token_id" if c["gmask_token_id"] in ids else "mask_token_id"
        self.mask_position = ids.index(c[mask])

    def places(self, first: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        """position_ids and block_position_ids of tokens first .. end - 1; a step's are those of
        _update_model_kwargs_for_generation, lines 1093-1100."""
        i = torch.arange(first, end)
        position = torch.where(i < self.context, i, self.mask_position)
        return position, (i - self.context + 1).clamp(min=0)

    def angles(self, positions: torch.Tensor) -> torch.Tensor:
        """RotaryEmbedding of half a head, lines 177-219 and 365-372: the frequencies are rounded to
        f16 (line 181) and never loaded (line 193)."""
        n = self.dim // 2
        inv_freq = 1.0 / (10000 ** (torch.arange(0, n, 2).float() / n))
        return torch.outer(positions.float(), inv_freq.half().float())

    def attention(self, layer, x, index: int, angles, allowed):
        """SelfAttention.forward, lines 429-493, and attention_fn, lines 242-350: x [n, hidden]."""
        n = len(x)
        mixed = layer.query_key_value(x).view(n, self.heads, 3 * self.dim)
        query, key, value = mixed.split(self.dim, dim=-1)
        query, key = (
            torch.cat([rotate(half, a) for half, a in zip(t.chunk(2, dim=-1), angles)], dim=-1)
            for t in (query, key)
        )
        if self.past[index] is not None:
            key = torch.cat((self.past[index][0], key))
            value = torch.cat((self.past[index][1], value))
        self.past[index] = key, value
        coeff = float(index + 1)
        query = query / (self.dim**0.5 * coeff)
        scores = query.transpose(0, 1) @ key.permute(1, 2, 0)
        scores = scores.masked_fill(~allowed, -10000.0)
        weights = (scores.float() * coeff).softmax(-1).type_as(x)
        return layer.dense((weights @ value.transpose(0, 1)).transpose(0, 1).reshape(n, -1))

    @torch.no_grad()
    def forward(self, ids: torch.Tensor, fresh: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Logits f32 [vocab_size] behind ids [n], and what is behind each layer. fresh: they begin a
        sequence; else they go on with the last."""
        if fresh:
            self.start(ids.tolist())
        first = 0 if fresh else len(self.past[0][0])
        end, seen = first + len(ids), []
        angles = [self.angles(p) for p in self.places(first, end)]
        allowed = torch.ones(end, end).tril()
        allowed[:, : self.context] = 1
        allowed = allowed[first:].bool()
        x = self.transformer.word_embeddings(ids)
        for i, layer in enumerate(self.transformer.layers):  # GLMBlock.forward, lines 607-658
            x = layer.input_layernorm(x)
            x = x * self.alpha + self.attention(layer.attention, x, i, angles, allowed)
            x = layer.post_attention_layernorm(x)
            x = x * self.alpha + layer.mlp.dense_4h_to_h(gelu(layer.mlp.dense_h_to_4h(x)))
            seen.append(x.float())
        return self.lm_head(self.transformer.final_layernorm(x[-1])).float(), seen


class ChatGlmReference(QwenReference):
    """A model directory of the first ChatGLM; greedy decoding is QwenReference's."""

    def __init__(self, model_dir: pathlib.Path, dtype: str = "f32"):
        self.dir = model_dir
        self.config = json.loads((model_dir / "config.json").read_text())
        settings = json.loads((model_dir / "tokenizer_config.json").read_text())
        self.tokenizer = Tokenizer(
            model_dir / "ice_text.model", settings.get("num_image_tokens", 20000)
        )
        self.model = ChatGlm(self.config, DTYPES[dtype])
        weights = {}
        for path in sorted(model_dir.glob("*.safetensors")):
            weights |= load_file(path)
        self.model.load_state_dict(weights)

    def prompt(self, media, question: str, system: str | None) -> str:
        """A question without history."""
        if media:
            raise InputError(f"{media[0].path}: {self.dir} is a model of text only")
        if system is not None:
            raise InputError(f"{self.dir}: ChatGLM has no system message")
        return rounds(question, [])

    def inputs(self, media, prompt: str, options) -> tuple[dict, dict]:
        """The prompt's ids."""
        return dict(input_ids=torch.tensor([self.tokenizer.prompt(prompt)])), {}

    def eos_token_ids(self) -> list[int]:
        """Of config.json: there is no generation_config.json."""
        return [self.config["eos_token_id"]]

    def decode(self, media, prompt, inputs, limits, options) -> Result:
        """What the model makes of these ids, greedily; process_response, line 1251, strips it. (It
        also turns punctuation between Chinese characters into Chinese punctuation, which reelm does
        not.)"""
        result = super().decode(media, prompt, inputs, limits, options)
        return dataclasses.replace(result, answer=result.answer.strip())
