"""Run the reference implementation of Qwen2-VL and its successors: transformers, fed by qwen-vl-utils
or by itself.

make_golden.py and the other golden tools build on this module. It prints and writes nothing.

Three choices here are the project's, not the reference's:

* Frames come from PyAV: `frame.to_ndarray(format="rgb24")`, every frame really decoded counts, and
  a display matrix in quarter turns is applied. qwen-vl-utils has no PyAV reader, so one is
  registered that follows its decord and torchcodec readers line by line. See READERS below.
* Limits come from the options, then from the model's own files, then from the constants of
  qwen-vl-utils (see `video_limits` and `image_limits`).
* M-RoPE positions after a video continue at the largest position of the video plus one, as the
  Qwen2-VL paper says and transformers 4 did. transformers 5 continues at max(height, width), which
  differs once a video has more time slots than its grid is high and wide. `Reference(positions=
  "installed")` keeps what the installed transformers does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import os
import pathlib
import zlib

os.environ["FORCE_QWENVL_VIDEO_READER"] = "pyav"  # read when qwen_vl_utils is imported
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import av
import numpy as np
import torch
from PIL import Image
from qwen_vl_utils import process_vision_info, vision_process
from transformers import AutoModelForImageTextToText, AutoProcessor, GenerationConfig
from transformers.image_utils import load_image
from transformers.utils import logging as transformers_logging
from transformers.video_utils import VideoMetadata

transformers_logging.disable_progress_bar()

PACKAGES = "torch torchvision transformers tokenizers qwen-vl-utils av pillow numpy".split()
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"}
CLIPS = "Qwen3VLVideoProcessor"
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


class InputError(Exception):
    """Input that the reference refuses: the message says which file and why."""


# ---------------------------------------------------------------------------------------------
# Media


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


# ---------------------------------------------------------------------------------------------
# qwen-vl-utils: the PyAV reader
#
# READERS. qwen-vl-utils itself prefers torchcodec, then decord, then torchvision; they do not agree
# with one another. tools/compare_readers.py measures how each differs from the frames used here.

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


# ---------------------------------------------------------------------------------------------
# Limits


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


def _config(model_dir: pathlib.Path, name: str) -> dict:
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
    config = _config(model_dir, "video_preprocessor_config.json")
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
    limits = _pixels(_config(model_dir, "preprocessor_config.json"))
    for key in ("min_pixels", "max_pixels"):
        if getattr(options, key) is not None:
            limits[key] = getattr(options, key)
    return limits


# ---------------------------------------------------------------------------------------------
# The model


def paper_positions(
    kinds: list[int], grids: dict[int, list[list[int]]], merge: int, intervals: list
) -> tuple[torch.Tensor, int]:
    """M-RoPE position ids [3, n] and rope_delta as the Qwen2-VL paper and transformers 4 have them.

    kinds: 0 text, 1 image, 2 video for every token; grids: (t, h, w) in prompt order for 1 and 2;
    intervals: positions from one temporal patch to the next, of each video.
    """
    queue = {k: iter(v) for k, v in grids.items()}
    interval = iter(intervals)
    parts, at, following = [], 0, 0
    while at < len(kinds):
        end = at
        while end < len(kinds) and kinds[end] == kinds[at]:
            end += 1
        if kinds[at] == 0:
            part = torch.arange(end - at).expand(3, -1) + following
        else:
            t, h, w = next(queue[kinds[at]])
            times = torch.arange(t)
            if kinds[at] == 2:
                times = (times * next(interval)).long()  # as get_rope_index rounds
            axes = torch.meshgrid(
                times, torch.arange(h // merge), torch.arange(w // merge), indexing="ij"
            )
            part = torch.stack([a.reshape(-1) for a in axes]) + following
            end = at + part.shape[1]
        parts.append(part)
        at, following = end, int(part.max()) + 1
    return torch.cat(parts, 1), following - len(kinds)


@dataclasses.dataclass
class Result:
    """Everything a golden may hold about one prompt; rows are in prompt order."""

    pixel_values: torch.Tensor | None  # f32 [n_patches, 1176]
    grids: list[tuple[str, list[int]]]  # (kind, [t, h, w]) in prompt order
    input_ids: torch.Tensor  # i64 [n]
    position_ids: torch.Tensor  # i64 [3, n]
    vision_embeds: torch.Tensor | None  # f32 [n_vision_tokens, hidden_size]
    vision_layers: torch.Tensor | None  # f32 [depth, n_patches, embed_dim], behind each block
    decoder_layers: torch.Tensor  # f32 [num_hidden_layers, n, hidden_size], behind each layer
    logits: torch.Tensor  # f32 [vocab_size], at the last position of the prompt
    generated_ids: torch.Tensor  # i64 [m], with the eos token when one ended it
    step_logits: torch.Tensor  # f32 [m, vocab_size]: what each generated token was chosen from
    rope_delta: int
    positions_differ: bool  # the paper's and the installed transformers' positions disagree here
    prompt: str  # the chat template's text, one pad token for each medium
    answer: str
    eos_token_ids: list[int]
    limits: dict


@contextlib.contextmanager
def outputs_of(modules):
    """A list for each module of what its calls give while the context lasts."""
    outputs = [[] for _ in modules]

    def keep(to):
        return lambda _, __, out: to.append(out[0] if isinstance(out, tuple) else out)

    hooks = [m.register_forward_hook(keep(to)) for m, to in zip(modules, outputs)]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def inputs_of(modules):
    """The same of what they are given."""
    inputs = [[] for _ in modules]
    hooks = [
        m.register_forward_pre_hook(lambda _, args, to=to: to.append(args[0]))
        for m, to in zip(modules, inputs)
    ]
    try:
        yield inputs
    finally:
        for hook in hooks:
            hook.remove()


class Reference:
    """A model directory, run by transformers."""

    def __init__(self, model_dir: pathlib.Path, dtype: str = "f32", positions: str = "paper"):
        if not (model_dir / "config.json").is_file():
            raise InputError(f"{model_dir}: no config.json; not a model directory")
        self.dir, self.positions = model_dir, positions
        self.processor = AutoProcessor.from_pretrained(model_dir)
        self.processor.video_processor.cap_pixels_per_frame = False  # the default, without the nag
        self.model = AutoModelForImageTextToText.from_pretrained(
            model_dir, dtype=DTYPES[dtype]
        ).eval()
        self.installed_rope_index = self.model.model.get_rope_index
        self.timestamps = self.model.config.model_type == "qwen3_vl"

    def prompt(self, media: list[Media], question: str, system: str | None) -> str:
        """The chat template's text: media in the given order, then the question."""
        content = [{"type": m.kind} for m in media] + [{"type": "text", "text": question}]
        messages = [{"role": "user", "content": content}]
        if system is not None:
            messages.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
        template = self.processor.chat_template or self.processor.tokenizer.chat_template
        if not template:
            raise InputError(f"{self.dir}: no chat template")
        return self.processor.apply_chat_template(
            messages, chat_template=template, tokenize=False, add_generation_prompt=True
        )

    def unwrapped(self, prompt: str) -> str:
        """The prompt whose video placeholders the processor is to replace.

        Of Qwen3-VL they stand between vision tokens, which transformers 4.57 replaced with them and
        the installed transformers leaves around all of a video's frames: `positions` says which.
        """
        if not self.timestamps or self.positions == "installed":
            return prompt
        return prompt.replace("<|vision_start|><|video_pad|><|vision_end|>", "<|video_pad|>")

    def inputs(self, media: list[Media], prompt: str, options: Options) -> tuple[dict, dict]:
        """Model inputs of one prompt and the limits that were used."""
        make = self._inputs_hf if options.reference == "hf" else self._inputs_qwen_vl_utils
        inputs, limits = make(media, prompt, options)
        return dict(inputs), limits

    def _inputs_qwen_vl_utils(self, media, prompt, options):
        """As the README of qwen-vl-utils tells users, with the limits in the message."""
        limits = dict(video=video_limits(self.dir, options), image=image_limits(self.dir, options))
        content = []
        for m in media:
            content.append({"type": m.kind, m.kind: str(m.path), **limits[m.kind]})
            _reading[str(m.path)] = m
        try:
            images, videos = process_vision_info(
                [{"role": "user", "content": content}],
                return_video_metadata=True,
                image_patch_size=self.processor.image_processor.patch_size,
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
        inputs = self.processor(
            text=[self.unwrapped(prompt)],
            images=images,
            videos=videos and list(videos),
            do_resize=False,
            videos_kwargs=dict(
                do_sample_frames=False, video_metadata=metadata and [dict(m) for m in metadata]
            ),
            return_tensors="pt",
        )
        return inputs, limits

    def _inputs_hf(self, media, prompt, options):
        """Qwen2VLVideoProcessor with do_sample_frames=True; limits from the options and its config.

        A model without video_preprocessor_config.json gets, as transformers has it, the limits of
        preprocessor_config.json for its videos too.
        """
        if options.start is not None or options.end is not None:
            raise InputError("--from and --to: the hf reference has no range")
        video, image = self.processor.video_processor, self.processor.image_processor
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
        inputs = self.processor(
            text=[self.unwrapped(prompt)],
            images=images or None,
            videos=videos or None,
            images_kwargs=image_kwargs,
            videos_kwargs=video_kwargs,
            return_tensors="pt",
        )
        return inputs, limits

    def run(self, media: list[Media], question: str, options: Options) -> Result:
        """Preprocess, encode, prefill and decode greedily."""
        prompt = self.prompt(media, question, options.system)
        inputs, limits = self.inputs(media, prompt, options)
        for k, v in inputs.items():
            if k in ("pixel_values", "pixel_values_videos"):
                assert v.dtype == torch.float32, (k, v.dtype)
        with torch.no_grad():
            return self.decode(media, prompt, inputs, limits, options)

    def decode(self, media, prompt, inputs, limits, options) -> Result:
        """What the model makes of these inputs."""
        core, ids = self.model.model, inputs["input_ids"]
        kinds = inputs["mm_token_type_ids"][0].tolist()
        grids = {
            kind: inputs[name].tolist()
            for kind, name in ((1, "image_grid_thw"), (2, "video_grid_thw"))
            if name in inputs
        }
        merge = self.model.config.vision_config.spatial_merge_size
        seconds = inputs.get("second_per_grid_ts")
        intervals = [1] * len(grids.get(2, []))
        if seconds is not None:
            intervals = [self.model.config.vision_config.tokens_per_second * s for s in seconds]
        placed = grids
        if self.timestamps and 2 in grids:  # each temporal patch is a grid of its own
            placed = grids | {2: [[1, h, w] for t, h, w in grids[2] for _ in range(t)]}
            intervals = [1] * len(placed[2])
        positions, delta = paper_positions(kinds, placed, merge, intervals)
        differ = False
        if grids:
            theirs, their_delta = self.installed_rope_index(
                ids,
                mm_token_type_ids=inputs["mm_token_type_ids"],
                image_grid_thw=inputs.get("image_grid_thw"),
                video_grid_thw=inputs.get("video_grid_thw"),
                **({} if seconds is None else dict(second_per_grid_ts=seconds)),
            )
            differ = not torch.equal(theirs[:, 0], positions) or int(their_delta) != delta
            if self.positions == "installed":
                positions, delta = theirs[:, 0], int(their_delta)
        chosen = positions[:, None], torch.tensor([[delta]])
        core.get_rope_index = lambda *args, **kwargs: chosen

        with outputs_of(core.visual.blocks) as vision_layers:
            pixels, embeds = self._vision(media, inputs)
        # What the next layer is given: with deep-stack features, where a family has them.
        behind = [*core.language_model.layers[1:], core.language_model.norm]
        with inputs_of(behind) as decoder_layers:
            logits = self.model(**inputs, use_cache=False).logits[0, -1].float()
        out = self.model.generate(
            **inputs, generation_config=self.greedy(options.max_new_tokens),
            output_logits=True, return_dict_in_generate=True,
        )  # fmt: skip
        core.get_rope_index = self.installed_rope_index
        generated = out.sequences[0, ids.shape[1] :]
        queue = {k: iter(v) for k, v in grids.items()}
        return Result(
            pixel_values=pixels,
            grids=[(m.kind, next(queue[1 if m.kind == "image" else 2])) for m in media],
            input_ids=ids[0],
            position_ids=positions,
            vision_embeds=embeds,
            vision_layers=self._in_prompt_order(media, inputs, vision_layers),
            decoder_layers=torch.stack([rows[0] for (rows,) in decoder_layers]).float(),
            logits=logits,
            generated_ids=generated,
            step_logits=torch.cat(out.logits).float(),
            rope_delta=delta,
            positions_differ=differ,
            prompt=prompt,
            answer=self.processor.tokenizer.decode(generated, skip_special_tokens=True),
            eos_token_ids=self.eos_token_ids(),
            limits={k: v for k, v in limits.items() if any(m.kind == k for m in media)},
        )

    def _in_prompt_order(self, media, inputs, layers):
        """[depth, n_patches, embed_dim] of what each layer gave for the images, then the videos."""
        rows = {}
        names = [n for n in ("image_grid_thw", "video_grid_thw") if n in inputs]
        for i, name in enumerate(names):
            calls = torch.stack([layer[i] for layer in layers]).float()
            rows[name] = iter(calls.split(inputs[name].prod(-1).tolist(), dim=1))
        if not rows:
            return None
        return torch.cat([next(rows[f"{m.kind}_grid_thw"]) for m in media], dim=1)

    def _vision(self, media, inputs):
        """pixel_values and the merger's rows of all media, in prompt order."""
        rows = {}
        for kind, pixels, grid, features in (
            ("image", "pixel_values", "image_grid_thw", self.model.model.get_image_features),
            ("video", "pixel_values_videos", "video_grid_thw", self.model.model.get_video_features),
        ):
            if pixels in inputs:
                sizes = inputs[grid].prod(-1).tolist()
                out = features(inputs[pixels], inputs[grid], return_dict=True)
                # Deep-stack features, where a family has them, stand behind the rows.
                columns = [out.pooler_output, *(getattr(out, "deepstack_features", None) or [])]
                embeds = [torch.cat(medium, dim=1) for medium in zip(*columns)]
                rows[kind] = iter(zip(inputs[pixels].split(sizes), embeds))
        if not rows:
            return None, None
        ordered = [next(rows[m.kind]) for m in media]
        return torch.cat([p for p, _ in ordered]), torch.cat([e for _, e in ordered]).float()

    def eos_token_ids(self) -> list[int]:
        """The ids that end an answer: generation_config.json, else the model's config."""
        eos = self.model.generation_config.eos_token_id
        if eos is None:
            eos = self.model.config.get_text_config().eos_token_id
        return [eos] if isinstance(eos, int) else list(eos)

    def greedy(self, max_new_tokens: int) -> GenerationConfig:
        """Plain argmax: nothing of the model's own sampling settings but its eos ids."""
        eos = self.eos_token_ids()
        return GenerationConfig(
            do_sample=False,
            repetition_penalty=1.0,
            eos_token_id=eos,
            pad_token_id=eos[0],
            max_new_tokens=max_new_tokens,
        )


def load(model_dir: pathlib.Path, dtype: str = "f32", positions: str = "paper") -> Reference:
    """The reference for a model directory, by its family."""
    import reference_chatglm  # which build on this module
    import reference_chatglm2
    import reference_qwen
    import reference_text

    text = {"qwen": reference_qwen.QwenReference, "qwen2": reference_text.TextReference}
    config = _config(model_dir, "config.json")
    family = config.get("model_type")
    if family == "chatglm" and "multi_query_group_num" in config:
        return reference_chatglm2.ChatGlm2Reference(model_dir, dtype)
    if family == "chatglm":
        return reference_chatglm.ChatGlmReference(model_dir, dtype)
    if family in text:
        return text[family](model_dir, dtype)
    return Reference(model_dir, dtype, positions)


def versions() -> dict[str, str]:
    """The packages whose version a golden depends on."""
    return {p: importlib.metadata.version(p) for p in PACKAGES} | {
        "ffmpeg (PyAV)": ".".join(map(str, av.library_versions["libavcodec"]))
    }
