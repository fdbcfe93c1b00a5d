"""Videos and pictures as the reference is shown them.

Frames come from PyAV: `frame.to_ndarray(format="rgb24")`, every frame really decoded counts, and a
display matrix in quarter turns is applied.
"""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
import zlib

import av
import numpy as np
from PIL import Image

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"}


class InputError(Exception):
    """Input that the reference refuses: the message says which file and why."""


@dataclasses.dataclass
class Media:
    """One video or image of the prompt and what was read from it."""

    path: pathlib.Path
    kind: str  # "video" or "image"
    frames: np.ndarray | None = None  # chosen frames at source size, uint8 [T, H, W, 3]
    frame_indices: list[int] = dataclasses.field(default_factory=lambda: [0])
    pts: list[int | None] = dataclasses.field(default_factory=list)  # in units of time_base
    time_base: str | None = None
    fps: float | None = None
    total_frames: int = 1
    rotation: int = 0  # degrees counterclockwise that were applied

    def describe(self) -> dict:
        """The facts a golden keeps about this medium."""
        assert self.frames is not None
        _, height, width, _ = self.frames.shape
        facts = dict(
            kind=self.kind,
            width=width,
            height=height,
            frame_indices=self.frame_indices,
            frames_sha256=hashlib.sha256(self.frames.tobytes()).hexdigest(),
            frames_crc32=[zlib.crc32(f.tobytes()) for f in self.frames],
        )
        if self.kind == "video":
            base = self.time_base.split("/")
            seconds = int(base[0]) / int(base[1])
            facts |= dict(
                fps=self.fps,
                total_frames=self.total_frames,
                rotation=self.rotation,
                pts=self.pts,
                time_base=self.time_base,
                times=[None if p is None else round(p * seconds, 6) for p in self.pts],
            )
        return facts


def open_media(argument: str) -> Media:
    """`image:PATH`, `video:PATH`, or PATH: pictures by suffix, a GIF by its number of frames."""
    for kind in ("image", "video"):
        if argument.startswith(kind + ":"):
            argument = argument.removeprefix(kind + ":")
            break
    else:
        suffix = pathlib.Path(argument).suffix.lower()
        kind = "image" if suffix in IMAGE_SUFFIXES else "video"
        if suffix == ".gif" and pathlib.Path(argument).is_file():
            with Image.open(argument) as image:
                kind = "video" if getattr(image, "n_frames", 1) > 1 else "image"
    path = pathlib.Path(argument)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    return Media(path, kind)


def decoded_frames(path: pathlib.Path):
    """Every frame of the first video stream, in presentation order, as PyAV decodes them."""
    with av.open(str(path), metadata_errors="ignore") as container:
        if not container.streams.video:
            raise InputError(f"{path}: no video stream")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        yield from container.decode(stream)


def count_frames(path: pathlib.Path) -> tuple[int, float]:
    """How many frames really decode, and the stream's average frame rate."""
    with av.open(str(path), metadata_errors="ignore") as container:
        rate = container.streams.video[0].average_rate if container.streams.video else None
    total = sum(1 for _ in decoded_frames(path))
    if not rate or not total:
        raise InputError(f"{path}: {total} frames at average rate {rate}; nothing to sample")
    return total, float(rate)


def read_frames(media: Media, indices: list[int]) -> None:
    """Fill `media` with the frames at these indices: RGB24, turned as the container says."""
    wanted, kept = set(indices), {}
    for i, frame in enumerate(decoded_frames(media.path)):
        if i in wanted:
            media.rotation = frame.rotation
            media.time_base = str(frame.time_base)
            if frame.rotation % 90:
                raise InputError(f"{media.path}: rotation by {frame.rotation} degrees")
            rgb = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
            kept[i] = np.ascontiguousarray(rgb), frame.pts
        if i >= max(wanted):
            break
    media.frames = np.stack([kept[i][0] for i in indices])
    media.pts = [kept[i][1] for i in indices]
    media.frame_indices = list(indices)
