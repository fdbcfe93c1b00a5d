"""What transformers' processors are given and make of it: media, limits, the prompt's text.

There are two ways, as the families' users have them: qwen-vl-utils reads media and bounds them, or
the processor does (reference "hf"). Two choices here are the project's, not the reference's:

* qwen-vl-utils has no PyAV reader, so one is registered that follows its decord and torchcodec
  readers line by line. It itself prefers torchcodec, then decord, then torchvision; they do not
  agree with one another. tools/compare_readers.py measures how each differs from the frames used
  here.
* Limits come from the options, then from the model's own files, then from the constants of
  qwen-vl-utils (see `video_limits` and `image_limits`).
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib

os.environ["FORCE_QWENVL_VIDEO_READER"] = "pyav"  # read when qwen_vl_utils is imported
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy as np
import torch
from PIL import Image
from qwen_vl_utils import process_vision_info, vision_process
from reference_media import InputError, Media, count_frames, read_frames
from transformers.image_utils import load_image
from transformers.video_utils import VideoMetadata

CLIPS = "Qwen3VLVideoProcessor"

_reading: dict[str, Media] = {}  # path -> the medium that _read_video_pyav fills


def _read_video_pyav(ele: dict):
    """qwen_vl_utils.vision_process._read_video_decord with PyAV in decord's place."""
    try:
        media = _reading[ele["video"]]
        total_frames, video_fps = count_frames(media.path)
        media.total_frames, media.fps = total_frames, video_fps
        start_frame, end_frame, total_frames = vision_process.calculate_video_frame_range(
            ele, total_frames, video_fps
        )
        nframes = vision_process.smart_nframes(ele, total_frames=total_frames, video_fps=video_fps)
        idx = torch.linspace(start_frame, end_frame, nframes).round().long().tolist()
        read_frames(media, idx)
    except Exception as e:  # an Exception would make fetch_video try torchvision and hide it
        raise SystemExit(f"{ele['video']}: {e}") from e
    video = torch.from_numpy(media.frames).permute(0, 3, 1, 2)
    metadata = dict(
        fps=video_fps, frames_indices=idx, total_num_frames=total_frames, video_backend="pyav"
    )
    return video, metadata, nframes / max(total_frames, 1e-6) * video_fps


vision_process.VIDEO_READER_BACKENDS["pyav"] = _read_video_pyav
vision_process.get_video_reader_backend = lambda: "pyav"  # its own version prints


@dataclasses.dataclass
class Options:
    """What the command line may set; None leaves it to the model's files or the reference."""

    fps: float | None = None
    frames: int | None = None
    min_frames: int | None = None
    max_frames: int | None = None
    min_pixels: int | None = None
    max_pixels: int | None = None
    start: float | None = None  # seconds (--from)
    end: float | None = None  # seconds (--to)
    system: str | None = None
    max_new_tokens: int = 16
    reference: str = "qwen-vl-utils"  # or "hf"
    dtype: str = "f32"


def read_config(model_dir: pathlib.Path, name: str) -> dict:
    path = model_dir / name
    return json.loads(path.read_text()) if path.is_file() else {}


def _pixels(config: dict) -> dict:
    """min_pixels and max_pixels of a processor config, whichever way it writes them."""
    size = config.get("size") or {}
    low = config.get("min_pixels", size.get("min_pixels", size.get("shortest_edge")))
    high = config.get("max_pixels", size.get("max_pixels", size.get("longest_edge")))
    found = dict(min_pixels=low, max_pixels=high)
    return {k: v for k, v in found.items() if v is not None}


def video_limits(model_dir: pathlib.Path, options: Options) -> dict:
    """Keys for a video element of a qwen-vl-utils message.

    Options win, then video_preprocessor_config.json. preprocessor_config.json is written for
    images (Qwen2-VL-2B's would allow 16,384 tokens a frame) and says nothing about videos. What
    neither sets is left out, so that the constants of qwen-vl-utils apply.
    """
    config = read_config(model_dir, "video_preprocessor_config.json")
    # Those of Qwen3-VL bound all frames together, which is not what qwen-vl-utils' keys mean.
    limits = {} if config.get("video_processor_type") == CLIPS else _pixels(config)
    limits |= {k: config[k] for k in ("fps", "min_frames", "max_frames") if config.get(k)}
    for key in ("fps", "min_frames", "max_frames", "min_pixels", "max_pixels"):
        if getattr(options, key) is not None:
            limits[key] = getattr(options, key)
    if options.frames is not None:
        for key in ("fps", "min_frames", "max_frames"):
            limits.pop(key, None)
        limits["nframes"] = options.frames
    if options.start is not None:
        limits["video_start"] = options.start
    if options.end is not None:
        limits["video_end"] = options.end
    return limits


def image_limits(model_dir: pathlib.Path, options: Options) -> dict:
    """Keys for an image element of a qwen-vl-utils message: options, preprocessor_config.json."""
    limits = _pixels(read_config(model_dir, "preprocessor_config.json"))
    for key in ("min_pixels", "max_pixels"):
        if getattr(options, key) is not None:
            limits[key] = getattr(options, key)
    return limits


def inputs_qwen_vl_utils(
    processor, model_dir: pathlib.Path, media: list[Media], text: str, options: Options
):
    """As the README of qwen-vl-utils tells users, with the limits in the message."""
    limits = dict(video=video_limits(model_dir, options), image=image_limits(model_dir, options))
    content = []
    for m in media:
        content.append({"type": m.kind, m.kind: str(m.path), **limits[m.kind]})
        _reading[str(m.path)] = m
    try:
        images, videos = process_vision_info(
            [{"role": "user", "content": content}],
            return_video_metadata=True,
            image_patch_size=processor.image_processor.patch_size,
        )
    except (ValueError, AssertionError, OSError) as e:
        raise InputError(f"{', '.join(str(m.path) for m in media)}: {e}") from e
    for m in media:
        if m.kind == "image":
            with Image.open(m.path) as image:
                m.frames = np.asarray(vision_process.to_rgb(image))[None]
    for_one_path = {}
    for m in media:  # the same file given twice is read once
        first = for_one_path.setdefault(str(m.path), _reading[str(m.path)])
        if m is not first and m.kind == "video":
            for field in dataclasses.fields(Media):
                setattr(m, field.name, getattr(first, field.name))
    videos, metadata = zip(*videos) if videos else (None, None)
    # The frames are at their final size. Without do_resize=False the processor would resize
    # again wherever its own limits differ from those of the message.
    inputs = processor(
        text=[text],
        images=images,
        videos=videos and list(videos),
        do_resize=False,
        videos_kwargs=dict(
            do_sample_frames=False, video_metadata=metadata and [dict(m) for m in metadata]
        ),
        return_tensors="pt",
    )
    return inputs, limits


def inputs_hf(processor, media: list[Media], text: str, options: Options):
    """Qwen2VLVideoProcessor with do_sample_frames=True; limits from the options and its config.

    A model without video_preprocessor_config.json gets, as transformers has it, the limits of
    preprocessor_config.json for its videos too.
    """
    if options.start is not None or options.end is not None:
        raise InputError("--from and --to: the hf reference has no range")
    video, image = processor.video_processor, processor.image_processor
    asked = {"shortest_edge": options.min_pixels, "longest_edge": options.max_pixels}
    asked = {k: v for k, v in asked.items() if v is not None}
    video_kwargs = dict(do_sample_frames=True, size=dict(video.size) | asked)
    image_kwargs = dict(size=dict(image.size) | asked)
    clips = type(video).__name__ == CLIPS
    for key in ("min_frames", "max_frames"):
        if getattr(options, key) is not None:
            video_kwargs[key] = getattr(options, key)
            setattr(video, key, getattr(options, key))  # where CLIPS looks
    if options.frames is not None:
        video_kwargs |= dict(num_frames=options.frames, fps=None)
    else:
        video_kwargs["fps"] = options.fps or getattr(video, "fps", None) or 2
    images, videos, metadata = [], [], []
    for m in media:
        if m.kind == "image":
            images.append(load_image(str(m.path)))  # turns by EXIF, drops alpha
            m.frames = np.asarray(images[-1])[None]
            continue
        m.total_frames, m.fps = count_frames(m.path)
        facts = VideoMetadata(total_num_frames=m.total_frames, fps=m.fps)
        chosen = {k: video_kwargs.get(k) for k in ("fps", "num_frames")}
        chosen |= {k: video_kwargs.get(k) for k in ("min_frames", "max_frames")}
        try:
            indices = video.sample_frames(facts, **chosen).tolist()
        except ValueError as e:
            raise InputError(f"{m.path}: {e}") from e
        read_frames(m, indices)
        facts.frames_indices = indices
        if clips:  # the options are of one frame
            video_kwargs["size"] |= {k: v * len(indices) for k, v in asked.items()}
        videos.append(torch.from_numpy(m.frames).permute(0, 3, 1, 2))
        metadata.append(facts)
    limits = dict(
        video=dict(min_frames=video.min_frames, max_frames=video.max_frames)
        | {k: v for k, v in video_kwargs.items() if k != "do_sample_frames"},
        image=dict(image_kwargs),
    )
    video_kwargs = dict(do_sample_frames=False, size=video_kwargs["size"])  # sampled above
    if videos:
        video_kwargs["video_metadata"] = metadata
    inputs = processor(
        text=[text],
        images=images or None,
        videos=videos or None,
        images_kwargs=image_kwargs,
        videos_kwargs=video_kwargs,
        return_tensors="pt",
    )
    return inputs, limits
