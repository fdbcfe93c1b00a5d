"""How the video readers of qwen-vl-utils differ from the frames that goldens use (PyAV's).

    compare_readers.py CLIP...          a Markdown table on standard output

For every clip and every reader: the number of frames it counts, its frame rate, and how the RGB
values of six frames spread over the clip differ from PyAV's: the largest difference, and the share
of values that differ at all. `ffmpeg` is the program on the PATH with `-pix_fmt rgb24`, which shows
what another FFmpeg version makes of the same clip.

needs: av, numpy; torchcodec, decord (eva-decord) and the ffmpeg program where installed
"""

from __future__ import annotations

import argparse
import pathlib
import subprocess

import numpy as np
from reference_media import Media, count_frames, read_frames

SAMPLES = 6


def with_torchcodec(path: pathlib.Path, indices: list[int], shape: tuple):
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(str(path))
    total, fps = decoder.metadata.num_frames, decoder.metadata.average_fps
    frames = decoder.get_frames_at([min(i, total - 1) for i in indices]).data
    return total, fps, frames.permute(0, 2, 3, 1).numpy()


def with_decord(path: pathlib.Path, indices: list[int], shape: tuple):
    import decord

    reader = decord.VideoReader(str(path))
    total = len(reader)
    frames = reader.get_batch([min(i, total - 1) for i in indices]).asnumpy()
    return total, reader.get_avg_fps(), frames


def with_ffmpeg(path: pathlib.Path, indices: list[int], shape: tuple):
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-i",
        str(path),
        "-map",
        "0:v:0",
        "-fps_mode",
        "passthrough",
    ]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=False).stdout
    size = int(np.prod(shape))
    total = len(raw) // size
    frames = np.frombuffer(raw[: total * size], np.uint8).reshape(total, *shape)
    return total, None, frames[[min(i, total - 1) for i in indices]]


READERS = {"torchcodec": with_torchcodec, "decord": with_decord, "ffmpeg": with_ffmpeg}


def difference(frames: np.ndarray, wanted: np.ndarray) -> str:
    """Largest difference and share of different values, or what makes them incomparable."""
    if frames.shape != wanted.shape:
        return f"{frames.shape[2]}x{frames.shape[1]}, not {wanted.shape[2]}x{wanted.shape[1]}"
    apart = np.abs(frames.astype(int) - wanted)
    if not apart.any():
        return "equal"
    different = (
        f"max {apart.max()}, {100 * (apart > 0).mean():.1f} % differ, mean {apart.mean():.2f}"
    )
    far = [i for i, f in enumerate(apart) if f.mean() > 4]
    return different + (f"; frames {far} of {len(apart)} are others" if far else "")


def rows(path: pathlib.Path):
    """One table row for each reader."""
    media = Media(path, "video")
    try:
        total, fps = count_frames(path)
        indices = np.linspace(0, total - 1, SAMPLES).round().astype(int).tolist()
        read_frames(media, indices)
    except Exception as e:
        yield path.name, "PyAV", "-", "-", f"{type(e).__name__}: {str(e).splitlines()[0]}"
        return
    _, height, width, _ = media.frames.shape
    yield path.name, "PyAV", total, f"{fps:.3f}", f"{width}x{height}"
    for name, read in READERS.items():
        try:
            count, rate, frames = read(path, indices, media.frames.shape[1:])
        except ImportError:
            continue
        except Exception as e:
            why = str(e).strip().splitlines() or [""]
            yield "", name, "-", "-", f"{type(e).__name__}: {why[0][:60]}"
            continue
        shown = "" if rate is None else f"{rate:.3f}"
        yield "", name, count, shown, difference(frames, media.frames)


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("clips", nargs="+", type=pathlib.Path, metavar="CLIP")
    a = p.parse_args()
    print("| clip | reader | frames | rate | against PyAV |\n|---|---|---|---|---|")
    for clip in a.clips:
        for row in rows(clip):
            print("| " + " | ".join(map(str, row)) + " |", flush=True)


if __name__ == "__main__":
    main()
