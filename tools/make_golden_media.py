"""Make the small clips and pictures that the committed goldens run on: tests/goldens/media/.

They are committed, and a golden names the checksum of their decoded frames. Encoders change: after
running this, run tools/make_goldens.py too.

needs: the ffmpeg program (libx264, libvpx-vp9, libx265), numpy, pillow
"""

import argparse
import pathlib
import subprocess
import sys

import numpy as np
from PIL import Image

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tools" / "demo"))
from scenes import render  # noqa: E402

LIMIT = 20_000  # bytes a file
H264 = ["-c:v", "libx264", "-crf", "24", "-preset", "veryslow", "-pix_fmt", "yuv420p"]
VP9 = ["-c:v", "libvpx-vp9", "-crf", "36", "-b:v", "0", "-pix_fmt", "yuv420p"]
HEVC = ["-c:v", "libx265", "-crf", "26", "-tag:v", "hvc1", "-x265-params", "log-level=error"]

# name: (color, shape, motion, seconds, frames a second, width, height, encoder)
CLIPS = {
    "square.mp4": ("red", "circle", "right", 2, 12, 168, 140, H264),
    "wide.mp4": ("blue", "square", "left", 2, 10, 280, 112, H264),
    "tall.mp4": ("green", "triangle", "up", 2, 8, 112, 252, H264),
    "small.webm": ("purple", "ring", "down", 2, 15, 130, 98, VP9),
    "hevc.mp4": ("cyan", "diamond", "still", 2, 25, 192, 128, HEVC),
    "long.mp4": ("orange", "cross", "right", 8, 6, 128, 96, H264),
}


def ffmpeg(arguments: list[str], data: bytes | None = None) -> None:
    command = ["ffmpeg", "-v", "error", "-y", "-bitexact", *arguments]
    subprocess.run(command, input=data, check=True)


def clip(seed: int, color: str, shape: str, motion: str, frames: int, width: int, height: int):
    """One object, uint8 [frames, height, width, 3]."""
    rng = np.random.default_rng(seed)
    while True:
        scene = [dict(color=color, shape=shape, motion=motion)]
        rendered = render(rng, scene, frames, width, height)
        if rendered is not None:
            return rendered


def encode(path: pathlib.Path, frames: np.ndarray, rate: int, encoder: list[str]) -> None:
    _, height, width, _ = frames.shape
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(rate)]
    output = [*encoder, "-map_metadata", "-1", "-flags:v", "+bitexact"]
    output += ["-fflags", "+bitexact", str(path)]
    ffmpeg([*source, "-i", "-", *output], frames.tobytes())


def make_clips(out: pathlib.Path) -> None:
    for i, (name, (*scene, seconds, rate, width, height, encoder)) in enumerate(CLIPS.items()):
        frames = clip(100 + i, *scene, seconds * rate, width, height)
        encode(out / name, frames, rate, encoder)
    # A quarter turn in the container's display matrix, as phones write it.
    source = str(out / "wide.mp4")
    ffmpeg(["-i", source, "-c", "copy", "-metadata:s:v", "rotate=90", str(out / "rotated.mp4")])
    frames = clip(120, "yellow", "circle", "left", 6, 96, 84)
    images = [Image.fromarray(f).quantize(8, dither=Image.Dither.NONE) for f in frames]
    images[0].save(
        out / "moving.gif", save_all=True, append_images=images[1:], duration=200, loop=0
    )


def make_pictures(out: pathlib.Path) -> None:
    def picture(seed, color, shape, width, height):
        return Image.fromarray(clip(seed, color, shape, "still", 1, width, height)[0])

    # 32 colours without dithering keep the PNG small; it is saved as plain RGB.
    palette = picture(200, "red", "square", 120, 90).quantize(32, dither=Image.Dither.NONE)
    palette.convert("RGB").save(out / "square.png", optimize=True)
    picture(201, "green", "diamond", 97, 131).save(out / "odd.jpg", quality=88)
    picture(202, "blue", "ring", 140, 84).save(out / "ring.webp", quality=80)
    palette.convert("L").save(out / "grey.png", optimize=True)
    # Transparency: qwen-vl-utils puts it on white, the hf processors drop it.
    width, height = 84, 112
    rgba = palette.resize((width, height), Image.Resampling.NEAREST).convert("RGBA")
    ramp = np.linspace(0, 255, width).astype(np.uint8)[None].repeat(height, 0)
    rgba.putalpha(Image.fromarray(ramp))
    rgba.save(out / "alpha.png", optimize=True)


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument(
        "out", type=pathlib.Path, nargs="?", default=REPOSITORY / "tests" / "goldens" / "media"
    )
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    make_clips(a.out)
    make_pictures(a.out)
    for path in sorted(a.out.iterdir()):
        size = path.stat().st_size
        print(f"{path.name:12s} {size:6d} bytes{'' if size < LIMIT else '  TOO LARGE'}")


if __name__ == "__main__":
    main()
