#!/usr/bin/env python3
"""PyAV + torchvision against reelm's decode, convert, resize and patchify: the same frames of the same clip.

Run by hand, never by the tests. Needs av, torch and torchvision (tools/requirements-golden.txt):

  ffmpeg -f lavfi -i mandelbrot=size=2048x1024:rate=24 -t 5 -c:v libx264 -pix_fmt yuv420p clip.mp4
  python pyav_torchvision.py clip.mp4 --reelm-bench build/release/bench/reelm-bench

The frames are those of fps 2, spread over their numbers as qwen-vl-utils does; sizes come from reelm's grid.
"""

from __future__ import annotations

import statistics
import time

import common

av = common.package("av")
torch = common.package("torch")
common.package("torchvision")
from torchvision.transforms import InterpolationMode  # noqa: E402 (after the checks above)
from torchvision.transforms.v2 import functional  # noqa: E402

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)
REELM_STAGES = {"decode + convert": ("open", "scan", "seek", "decode", "convert"), "resize": ("resize",),
                "normalise + patchify": ("patchify",)}


def count_frames(path: str) -> int:
    try:
        with av.open(path) as container:
            return sum(1 for packet in container.demux(video=0) if packet.size)
    except (av.error.FFmpegError, IndexError) as error:
        common.fail(f"{path}: {error}")


def fps_2_frames(total: int, slices: int) -> list[int]:
    """The numbers of the frames of this many slices, as qwen-vl-utils spreads them."""
    return torch.linspace(0, total - 1, 2 * slices).round().long().tolist()


def read_frames(path: str, wanted: list[int], threads: int) -> torch.Tensor:
    """[frames, 3, height, width] bytes."""
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
    return torch.stack([pictures[number] for number in wanted])


def resize(frames: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return functional.resize(frames, [height, width], InterpolationMode.BICUBIC, antialias=True)


def patchify(frames: torch.Tensor) -> torch.Tensor:
    """Qwen2VLVideoProcessor: [T, 3, h, w] bytes to [patches, 1176], normalised, in merged order."""
    frames = (frames.float() / 255.0 - MEAN) / STD
    t, c, h, w = frames.shape
    x = frames.view(t // 2, 2, c, h // 28, 2, 14, w // 28, 2, 14)
    return x.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(t // 2 * (h // 14) * (w // 14), 1176).contiguous()


def one_run(path: str, wanted: list[int], height: int, width: int, threads: int) -> common.Times:
    begin = time.perf_counter()
    frames = read_frames(path, wanted, threads)
    decoded = time.perf_counter()
    frames = resize(frames, height, width)
    resized = time.perf_counter()
    patchify(frames)
    end = time.perf_counter()
    return {"decode + convert": (decoded - begin) * 1e3, "resize": (resized - decoded) * 1e3,
            "normalise + patchify": (end - resized) * 1e3, "all of it": (end - begin) * 1e3}


def main() -> None:
    parser = common.arguments(__doc__, runs=5, model=False)
    parser.add_argument("clip", type=common.existing, metavar="CLIP")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    def report() -> dict:
        # The real limits of pixels come with a model's size, not with its weights: tiny does.
        return common.reelm_bench(args, "--model", "synthetic:tiny", "--media", args.clip, "--new-tokens", 1)

    def reelm() -> common.Times:
        found = report()
        out = {what: common.stage_ms(found, *stages) for what, stages in REELM_STAGES.items()}
        return out | {"all of it": sum(out.values())}

    slices, h, w = report()["work"]["grid_thw"]
    total = count_frames(args.clip)
    wanted = fps_2_frames(total, slices)
    work = (args.clip, wanted, h * 14, w * 14, args.threads)
    one_run(*work)  # the warm-up

    def peer() -> common.Times:
        runs = [one_run(*work) for _ in range(args.runs)]
        return {what: statistics.median(run[what] for run in runs) for what in runs[0]}

    rows = common.in_turn(args, peer, reelm)
    common.finish(args, f"PyAV {av.__version__}, torch {torch.__version__}",
                  {"clip": args.clip, "frames": len(wanted), "of": total, "height": h * 14, "width": w * 14}, rows,
                  [f"{len(wanted)} of {total} frames to {w * 14}x{h * 14}"])


if __name__ == "__main__":
    main()
