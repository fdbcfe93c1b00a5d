"""Write moving-shape clips as video files with their questions and answers.

usage: make_clips.py OUT_DIR COUNT SEED [--codecs h264,vp9,...]   (needs the ffmpeg program)
"""

import argparse
import json
import pathlib
import subprocess

import numpy as np
from scenes import SIZES, ask, describe, render, sample_scene

CODECS = {
    "h264": ("mp4", ["-c:v", "libx264", "-crf", "20", "-pix_fmt", "yuv420p"]),
    "hevc": (
        "mp4",
        [
            "-c:v",
            "libx265",
            "-crf",
            "22",
            "-pix_fmt",
            "yuv420p",
            "-x265-params",
            "log-level=error",
            "-tag:v",
            "hvc1",
        ],
    ),
    "vp9": ("webm", ["-c:v", "libvpx-vp9", "-crf", "30", "-b:v", "0", "-pix_fmt", "yuv420p"]),
    "mpeg4": ("avi", ["-c:v", "mpeg4", "-q:v", "3"]),
    "mjpeg": ("mov", ["-c:v", "mjpeg", "-q:v", "3"]),
    "h264-444": ("mkv", ["-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv444p"]),
}
FPS, SCALE = 24, 4


def write_clip(path, frames, codec):
    t, h, w, _ = frames.shape
    cmd = [
        "ffmpeg",
        "-v",
        "error",
        "-y",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-s",
        f"{w}x{h}",
        "-r",
        str(FPS),
        "-i",
        "-",
    ]
    subprocess.run(cmd + CODECS[codec][1] + [str(path)], input=frames.tobytes(), check=True)


def make(rng, seconds, max_objects):
    """One clip: frames [T, H, W, 3] uint8, its scene."""
    w, h = SIZES[rng.integers(len(SIZES))]
    while True:
        scene = sample_scene(rng, max_objects)
        frames = render(rng, scene, int(seconds * FPS), w * SCALE, h * SCALE)
        if frames is not None:
            return frames, scene


def main():
    p = argparse.ArgumentParser()
    p.add_argument("out", type=pathlib.Path)
    p.add_argument("count", type=int)
    p.add_argument("seed", type=int)
    p.add_argument("--codecs", default="h264")
    p.add_argument("--questions", type=int, default=3)
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    rng, codecs, rows = np.random.default_rng(a.seed), a.codecs.split(","), []
    for i in range(a.count):
        codec = codecs[i % len(codecs)]
        seconds = [2, 3, 4][i % 3]
        frames, scene = make(rng, seconds, 3)
        name = f"clip{i:03d}.{CODECS[codec][0]}"
        write_clip(a.out / name, frames, codec)
        for _ in range(a.questions):
            question, answer = ask(rng, list(scene))
            rows.append(
                dict(
                    clip=name,
                    codec=codec,
                    seconds=seconds,
                    scene=describe(scene),
                    question=question,
                    answer=answer,
                )
            )
    (a.out / "questions.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
