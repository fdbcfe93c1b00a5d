"""Train the demo's 1,024-token byte-level BPE in the Qwen2 tokenizer's own form.

usage: make_tokenizer.py OUT.json
"""

import sys

import numpy as np
from scenes import sample
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Some general English beside the clips' own sentences: a text that every Debian has.
ENGLISH = "/usr/share/common-licenses/GPL-3"


def build(vocab_size=1024):
    rng, lines = np.random.default_rng(7), []
    for _ in range(4000):
        _, question, answer, _ = sample(rng, 2, 56, 56)
        lines += [question, answer]
    lines += ["system\nYou are a helpful assistant.", "user\n", "assistant\n"] * 500
    lines += [line for line in open(ENGLISH).read().split("\n") if line]
    tok = Tokenizer(models.BPE())
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(
        lines,
        trainers.BpeTrainer(
            vocab_size=vocab_size - len(SPECIAL),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            special_tokens=[],
            show_progress=False,
        ),
    )
    tok.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIAL])
    return tok


if __name__ == "__main__":
    build().save(sys.argv[1])
