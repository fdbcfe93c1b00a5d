#!/usr/bin/env python3
"""PyAV + torchvision against reelm's decode, convert, resize and patchify: the same frames of the same clip.

UNTESTED: nobody has run this script to its end yet.

Run by hand, never by the tests:  REELM_BENCH=build/release/bench/reelm-bench python pyav_torchvision.py CLIP
Needs av, torch and torchvision. The clip of docs/performance.md:
  ffmpeg -f lavfi -i mandelbrot=size=2048x1024:rate=24 -t 5 -c:v libx264 -pix_fmt yuv420p clip.mp4
The frames are those of fps 2, spread over their numbers as qwen-vl-utils does; sizes come from reelm's grid.
"""

from __future__ import annotations

import argparse
import statistics
import time

import av
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

import common

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)


def patchify(frames: torch.Tensor) -> torch.Tensor:
    """Qwen2VLVideoProcessor: [T, 3, h, w] floats to rows of patches, in merged order."""
    t, c, h, w = frames.shape
    x = frames.view(t // 2, 2, c, h // 28, 2, 14, w // 28, 2, 14)
    return x.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(t // 2 * (h // 14) * (w // 14), -1).contiguous()


def one_run(path: str, wanted: list[int], height: int, width: int, threads: int) -> dict[str, float]:
    begin = time.perf_counter()
    chosen, pictures = set(wanted), {}
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads
        for number, frame in enumerate(container.decode(stream)):
            if number in chosen:
                pictures[number] = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)
            if number >= wanted[-1]:
                break
    frames = torch.stack([pictures[number] for number in wanted])
    decoded = time.perf_counter()
    frames = functional.resize(frames, [height, width], InterpolationMode.BICUBIC, antialias=True)
    resized = time.perf_counter()
    rows = patchify((frames.float() / 255.0 - MEAN) / STD)
    assert rows.shape[1] == 1176
    end = time.perf_counter()
    return {"decode": (decoded - begin) * 1e3, "resize": (resized - decoded) * 1e3,
            "patchify": (end - resized) * 1e3, "all": (end - begin) * 1e3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=common.existing)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    # The real limits of pixels come with a model's size, not with its weights: tiny does.
    report = common.reelm_bench("--model", "synthetic:tiny", "--media", args.clip, "--new-tokens", 1, "--repeat",
                                args.repeat, "--threads", args.threads)
    t, h, w = report["work"]["grid_thw"]
    with av.open(args.clip) as container:
        total = sum(1 for packet in container.demux(video=0) if packet.size)
    wanted = torch.linspace(0, total - 1, 2 * t).round().long().tolist()
    runs = [one_run(args.clip, wanted, h * 14, w * 14, args.threads) for _ in range(args.repeat + 1)][1:]
    theirs = {stage: statistics.median(run[stage] for run in runs) for stage in runs[0]}
    print(f"av {av.__version__}, torch {torch.__version__}; {len(wanted)} of {total} frames to {w * 14}x{h * 14}")
    whole = ("open", "scan", "seek", "decode", "convert", "resize", "patchify")
    common.print_ratios("PyAV", [
        ("decode + convert", theirs["decode"], common.stage_ms(report, *whole[:5])),
        ("resize", theirs["resize"], common.stage_ms(report, "resize")),
        ("normalise + patchify", theirs["patchify"], common.stage_ms(report, "patchify")),
        ("all of it", theirs["all"], common.stage_ms(report, *whole)),
    ])


if __name__ == "__main__":
    main()
