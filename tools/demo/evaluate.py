"""Answer the questions of make_clips.py with the reference implementation; print the accuracy.

The frames are chosen and resized as qwen-vl-utils does, the model runs in float32 with greedy
decoding. An answer counts when it equals the expected sentence exactly.

needs: torch, torchvision, transformers, qwen-vl-utils, av
"""

import argparse
import collections
import json
import pathlib
import sys

import av
import numpy as np
import torch
from qwen_vl_utils.vision_process import smart_nframes, smart_resize
from torchvision.transforms import InterpolationMode, functional
from transformers import AutoTokenizer, Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"


def load_frames(path: pathlib.Path, cfg: dict) -> torch.Tensor:
    """The frames qwen-vl-utils would choose, resized as it resizes them: uint8 [T, 3, h, w]."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(stream)]
        fps = float(stream.average_rate)
    limits = dict(
        fps=cfg["fps"],
        min_frames=cfg["min_frames"],
        max_frames=min(cfg["max_frames"], len(frames)),
    )
    n = smart_nframes(limits, len(frames), fps)
    idx = torch.linspace(0, len(frames) - 1, n).round().long().tolist()
    video = torch.from_numpy(np.stack([frames[i] for i in idx])).permute(0, 3, 1, 2)
    lo, hi = cfg["size"]["shortest_edge"], cfg["size"]["longest_edge"]
    h, w = smart_resize(video.shape[2], video.shape[3], 28, lo, hi)
    return functional.resize(video, [h, w], interpolation=InterpolationMode.BICUBIC, antialias=True)


class Reference:
    """The model directory, run by transformers."""

    def __init__(self, model_dir: pathlib.Path):
        config = model_dir / "video_preprocessor_config.json"
        self.limits = json.loads(config.read_text())
        self.tokenizer = AutoTokenizer.from_pretrained(model_dir)
        self.model = Qwen2VLForConditionalGeneration.from_pretrained(
            model_dir, dtype=torch.float32
        ).eval()
        self.processor = Qwen2VLVideoProcessor(do_resize=False, do_sample_frames=False)

    def patches(self, clip: pathlib.Path) -> dict:
        """pixel_values_videos [n, 1176] and video_grid_thw [1, 3] of one clip."""
        return dict(self.processor(videos=[load_frames(clip, self.limits)], return_tensors="pt"))

    def answer(self, patches: dict, question: str, max_new_tokens: int = 48) -> tuple[str, list]:
        """The greedy answer to one question about one clip: its text and its token ids."""
        n = int(patches["video_grid_thw"].prod()) // 4
        text = (
            f"{SYSTEM}<|im_start|>user\n<|vision_start|>{'<|video_pad|>' * n}<|vision_end|>"
            f"{question}<|im_end|>\n<|im_start|>assistant\n"
        )
        ids = torch.tensor([self.tokenizer.encode(text)])
        kinds = (ids == self.model.config.video_token_id).int() * 2
        with torch.no_grad():
            out = self.model.generate(
                input_ids=ids,
                mm_token_type_ids=kinds,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                **patches,
            )
        answer = out[0, ids.shape[1] :]
        return self.tokenizer.decode(answer, skip_special_tokens=True), answer.tolist()


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("model", type=pathlib.Path, help="model directory, e.g. models/demo")
    p.add_argument("clips", type=pathlib.Path, help="directory that make_clips.py wrote")
    p.add_argument("out", type=pathlib.Path, nargs="?", help="write questions and answers (JSON)")
    a = p.parse_args()
    if not (a.clips / "questions.json").is_file():
        sys.exit(f"evaluate.py: {a.clips}/questions.json: no such file; run make_clips.py first")
    if not (a.model / "video_preprocessor_config.json").is_file():
        sys.exit(f"evaluate.py: {a.model}: no video_preprocessor_config.json; not the demo model?")

    reference = Reference(a.model)
    rows = json.loads((a.clips / "questions.json").read_text())
    right, seen, cache = collections.Counter(), collections.Counter(), {}
    for r in rows:
        if r["clip"] not in cache:
            cache = {r["clip"]: reference.patches(a.clips / r["clip"])}
        r["reference"], r["reference_ids"] = reference.answer(cache[r["clip"]], r["question"])
        objects = r["scene"].count(".")
        for kind in (r["question"].split()[0], f"{objects} object{'s' * (objects > 1)}"):
            seen[kind] += 1
            right[kind] += r["reference"] == r["answer"]
        right["all"] += r["reference"] == r["answer"]
    for kind in seen:
        print(f"{kind:10s} {right[kind]:4d} / {seen[kind]:4d}")
    share = 100 * right["all"] / max(len(rows), 1)
    print(f"exact answers: {right['all']} of {len(rows)} = {share:.1f} %")
    if a.out:
        a.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
