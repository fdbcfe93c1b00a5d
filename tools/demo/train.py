"""Train the demo model: a small Qwen2-VL on synthetic clips of moving shapes, on a CPU.

usage: train.py TOKENIZER.json OUT_DIR MINUTES [--resume CHECKPOINT]
needs: torch, transformers, tokenizers, numpy

Curriculum: one object, then up to two, then up to three; frame counts and shapes vary from the
second stage on. Besides the answer tokens, a linear head that is thrown away afterwards names
colour, shape and motion at each object's patch: without it the tower takes several times longer
to tell two objects apart. head_dim is 80 in the tower and 128 in the decoder, as in the real model.
"""

import argparse
import math
import multiprocessing
import time

import numpy as np
import torch
import torch.nn.functional as F
from scenes import COLORS, MOTIONS, SHAPES, SIZES, sample
from tokenizers import Tokenizer
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

BATCH, VOCAB, HIDDEN, TOWER, TOWER_HEADS = 64, 1024, 256, 160, 2
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
LABELS = [{name: i for i, name in enumerate(names)} for names in (COLORS, SHAPES, MOTIONS)]


class Vocabulary:
    """Token ids of the fixed parts of a prompt."""

    def __init__(self, path):
        self.tok = Tokenizer.from_file(path)
        ids, sp = (lambda s: self.tok.encode(s).ids), self.tok.token_to_id
        self.video, self.pad, self.end, self.image = (
            sp("<|video_pad|>"),
            sp("<|endoftext|>"),
            sp("<|im_end|>"),
            sp("<|image_pad|>"),
        )
        self.vision_start, self.vision_end = sp("<|vision_start|>"), sp("<|vision_end|>")
        start, newline = sp("<|im_start|>"), ids("\n")
        self.before = (
            [start]
            + ids("system\nYou are a helpful assistant.")
            + [self.end]
            + newline
            + [start]
            + ids("user\n")
            + [self.vision_start]
        )
        self.after = [self.end] + newline + [start] + ids("assistant\n")

    def ids(self, text):
        return self.tok.encode(text).ids


def patchify(frames):
    """uint8 [T, H, W, 3] -> float32 [T/2 * H/14 * W/14, 1176] in Qwen2-VL's patch order."""
    x = (frames.astype(np.float32) / 255 - MEAN) / STD
    t, h, w, _ = x.shape
    x = x.transpose(0, 3, 1, 2).reshape(t // 2, 2, 3, h // 28, 2, 14, w // 28, 2, 14)
    return x.transpose(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(t // 2 * (h // 14) * (w // 14), -1)


def mrope_positions(before, grid, after):
    """M-RoPE position ids [3, before + vision + after] of text, one video, text."""
    t, h, w = grid[0], grid[1] // 2, grid[2] // 2
    vision = (
        np.stack(
            [
                a.ravel()
                for a in np.meshgrid(np.arange(t), np.arange(h), np.arange(w), indexing="ij")
            ]
        )
        + before
    )
    text = lambda n, start: np.arange(start, start + n)[None].repeat(3, 0)
    return np.concatenate([text(before, 0), vision, text(after, vision.max() + 1)], 1)


def make_batch(rng, voc, stage):
    """One training batch of BATCH clips with one question each.

    Returns patches, token ids [B, S], shifted labels [B, S] (-100: none), positions [3, S], grid,
    and patch targets [n, 4] (row, colour, shape, motion).
    """
    frames = int(rng.choice([4, 4, 6])) if stage else 4
    width, height = SIZES[rng.integers(len(SIZES))] if stage else SIZES[0]
    grid = frames // 2, height // 14, width // 14
    cells = (width // 28) * (height // 28)
    patches, rows, targets = [], [], []
    for b in range(BATCH):
        clip, question, answer, scene = sample(rng, frames, width, height, stage + 1)
        chance = rng.random()
        question = (
            question.lower()
            if chance < 0.12
            else question.rstrip("?.")
            if chance > 0.9
            else question
        )
        patches.append(patchify(clip))
        rows.append(([voc.vision_end] + voc.ids(question) + voc.after, voc.ids(answer) + [voc.end]))
        for o in scene:
            x, y = (np.asarray(v).reshape(-1, 2).mean(1) // 28 for v in o["track"])
            for t in range(grid[0]):
                cell = int(np.clip(y[t], 0, height // 28 - 1)) * (width // 28) + int(
                    np.clip(x[t], 0, width // 28 - 1)
                )
                targets.append(
                    (
                        (b * grid[0] + t) * cells + cell,
                        *(labels[o[k]] for labels, k in zip(LABELS, ("color", "shape", "motion"))),
                    )
                )
    longest = max(len(p) + len(a) for p, a in rows)
    start = len(voc.before) + grid[0] * cells
    ids = np.full((BATCH, start + longest), voc.pad, np.int64)
    labels = np.full_like(ids, -100)
    ids[:, : len(voc.before)], ids[:, len(voc.before) : start] = voc.before, voc.video
    for i, (prompt, answer) in enumerate(rows):
        end = start + len(prompt) + len(answer)
        ids[i, start:end] = prompt + answer
        labels[i, end - len(answer) - 1 : end - 1] = answer
    return (
        np.concatenate(patches),
        ids,
        labels,
        mrope_positions(len(voc.before), grid, longest),
        grid,
        np.array(targets),
    )


def produce(queue, tokenizer, stage, seed):
    rng, voc = np.random.default_rng(seed), Vocabulary(tokenizer)
    while True:
        queue.put(make_batch(rng, voc, stage.value))


def make_config(voc):
    text = dict(
        hidden_size=HIDDEN,
        num_hidden_layers=4,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=640,
        vocab_size=VOCAB,
        max_position_embeddings=4096,
        rms_norm_eps=1e-6,
        initializer_range=0.05,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0, mrope_section=[16, 24, 24]),
        bos_token_id=voc.pad,
        eos_token_id=voc.end,
        tie_word_embeddings=True,
    )
    tower = dict(
        depth=4,
        embed_dim=TOWER,
        num_heads=TOWER_HEADS,
        mlp_ratio=4,
        patch_size=14,
        spatial_merge_size=2,
        temporal_patch_size=2,
        hidden_size=HIDDEN,
        initializer_range=0.05,
    )
    config = Qwen2VLConfig(
        text_config=text,
        vision_config=tower,
        tie_word_embeddings=True,
        image_token_id=voc.image,
        video_token_id=voc.video,
        vision_start_token_id=voc.vision_start,
        vision_end_token_id=voc.vision_end,
    )
    # The stock 0.02 is too small at these widths: motion is not learnt.
    config.initializer_range = 0.05
    return config


def encode_video(tower, patches, slices, grid):
    """The stock tower's modules with one batched attention: every slice has the same grid."""
    _, h, w = grid
    rows, cols = np.meshgrid(np.arange(h), np.arange(w), indexing="ij")
    order = lambda a: a.reshape(h // 2, 2, w // 2, 2).transpose(0, 2, 1, 3).ravel()[:, None]
    dim = TOWER // TOWER_HEADS
    inv = 1.0 / 10000 ** (np.arange(0, dim // 2, 2) / (dim // 2))
    angle = np.concatenate([order(rows) * inv, order(cols) * inv] * 2, 1)
    cos, sin = (
        torch.tensor(np.cos(angle), dtype=torch.float32),
        torch.tensor(np.sin(angle), dtype=torch.float32),
    )
    rotate = lambda t: (
        t.float() * cos + torch.cat([-t[..., dim // 2 :], t[..., : dim // 2]], -1).float() * sin
    ).to(t.dtype)
    x = tower.patch_embed(patches)
    for block in tower.blocks:
        q, k, v = (
            block.attn.qkv(block.norm1(x))
            .view(slices, h * w, 3, TOWER_HEADS, dim)
            .permute(2, 0, 3, 1, 4)
        )
        mixed = (
            F.scaled_dot_product_attention(rotate(q), rotate(k), v)
            .transpose(1, 2)
            .reshape(slices * h * w, TOWER)
        )
        x = x + block.attn.proj(mixed)
        x = x + block.mlp(block.norm2(x))
    return tower.merger(x)


def forward(model, voc, patches, ids, labels, positions, grid):
    """Logits and labels at the answer's tokens, and the video's embeddings [n, HIDDEN]."""
    video = encode_video(model.model.visual, patches, len(ids) * grid[0], grid)
    embeds = model.model.language_model.embed_tokens(ids)
    embeds = embeds.masked_scatter((ids == voc.video)[..., None], video.to(embeds.dtype))
    hidden = model.model.language_model(
        inputs_embeds=embeds,
        position_ids=positions[:, None].expand(3, len(ids), -1),
        use_cache=False,
    ).last_hidden_state
    asked = labels >= 0
    return model.lm_head(hidden[asked]).float(), labels[asked], video


def train(a):
    torch.manual_seed(0)
    voc = Vocabulary(a.tokenizer)
    model = (
        (
            Qwen2VLForConditionalGeneration.from_pretrained(a.resume)
            if a.resume
            else Qwen2VLForConditionalGeneration(make_config(voc))
        )
        .float()
        .train()
    )
    head = torch.nn.Linear(HIDDEN, sum(map(len, LABELS)))
    optimizer = torch.optim.AdamW(
        [*model.parameters(), *head.parameters()], lr=a.lr, betas=(0.9, 0.98), weight_decay=0.05
    )
    queue, stage = multiprocessing.Queue(6), multiprocessing.Value("i", 1 if a.resume else 0)
    multiprocessing.Process(
        target=produce, args=(queue, a.tokenizer, stage, a.seed), daemon=True
    ).start()
    begin, step, mean = (
        time.time(),
        0,
        np.array([7.0, 0.0, 5.5]),
    )  # answer loss, token accuracy, patch loss
    while (done := (time.time() - begin) / 60 / a.minutes) < 1:
        lr = (
            a.lr
            * min(1, (step + 1) / 200)
            * (1 if done < 0.3 else max(0.01, 0.5 + 0.5 * math.cos(math.pi * (done - 0.3) / 0.7)))
        )
        for group in optimizer.param_groups:
            group["lr"] = lr
        *arrays, grid, targets = queue.get()
        patches, ids, labels, positions, targets = map(torch.from_numpy, (*arrays, targets))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits, wanted, video = forward(model, voc, patches, ids, labels, positions, grid)
            named = head(video[targets[:, 0]]).float().split([len(x) for x in LABELS], 1)
        loss = F.cross_entropy(logits, wanted)
        patch_loss = sum(F.cross_entropy(n, targets[:, i + 1]) for i, n in enumerate(named))
        optimizer.zero_grad(set_to_none=True)
        (loss + 0.15 * patch_loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        mean += 0.03 * (
            np.array(
                [
                    loss.item(),
                    (logits.argmax(-1) == wanted).float().mean().item(),
                    patch_loss.item(),
                ]
            )
            - mean
        )
        step += 1
        if stage.value == 0 and (mean[0] < 0.10 or done > 0.25):
            stage.value, mean[0] = 1, mean[0] + 0.3
        elif stage.value == 1 and (mean[0] < 0.10 or done > 0.55):
            stage.value = 2
        if step % 50 == 0:
            print(
                f"{step} {done * a.minutes:.1f} min, up to {stage.value + 1} objects, "
                f"loss {mean[0]:.4f} accuracy {mean[1]:.4f} patches {mean[2]:.3f} lr {lr:.1e}",
                flush=True,
            )
        if step % 1000 == 0:
            model.save_pretrained(a.out)
    model.save_pretrained(a.out)


if __name__ == "__main__":
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("tokenizer")
    p.add_argument("out")
    p.add_argument("minutes", type=float)
    p.add_argument("--resume")
    p.add_argument("--lr", type=float, default=1e-3)
    p.add_argument("--seed", type=int, default=123)
    train(p.parse_args())
