"""Run Qwen2-VL and its successors: transformers, fed as reference_inputs.py says.

M-RoPE positions after a video continue at the largest position of the video plus one, as the
Qwen2-VL paper says and transformers 4 did: the project's choice. transformers 5 continues at
max(height, width), which differs once a video has more time slots than its grid is high and wide.
`Reference(positions="installed")` keeps what the installed transformers does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib

import torch
from reference_inputs import Options, inputs_hf, inputs_qwen_vl_utils
from reference_media import InputError, Media
from transformers import AutoModelForImageTextToText, AutoProcessor, GenerationConfig
from transformers.utils import logging as transformers_logging

transformers_logging.disable_progress_bar()

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


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
        text = self.unwrapped(prompt)
        if options.reference == "hf":
            inputs, limits = inputs_hf(self.processor, media, text, options)
        else:
            inputs, limits = inputs_qwen_vl_utils(self.processor, self.dir, media, text, options)
        return dict(inputs), limits

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
