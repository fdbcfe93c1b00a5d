"""Run the reference implementation of the text family qwen2: transformers' Qwen2ForCausalLM.

What a text model does differently from reference_vl.py.
"""

from __future__ import annotations

import pathlib

import torch
from reference_media import InputError
from reference_vl import DTYPES, Reference, Result, outputs_of
from transformers import AutoTokenizer, Qwen2ForCausalLM


class TextReference(Reference):
    """A model directory of text only, run by transformers."""

    def __init__(self, model_dir: pathlib.Path, dtype: str = "f32"):
        self.dir = model_dir
        self.tokenizer = AutoTokenizer.from_pretrained(model_dir)
        self.model = Qwen2ForCausalLM.from_pretrained(model_dir, dtype=DTYPES[dtype]).eval()

    def prompt(self, media, question: str, system: str | None) -> str:
        """The chat template's text."""
        if media:
            raise InputError(f"{media[0].path}: {self.dir} is a model of text only")
        messages = [{"role": "user", "content": question}]
        if system is not None:
            messages.insert(0, {"role": "system", "content": system})
        return self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )

    def inputs(self, media, prompt: str, options) -> tuple[dict, dict]:
        """Model inputs of one prompt; there are no limits to tell of."""
        return dict(self.tokenizer([prompt], return_tensors="pt")), {}

    def decode(self, media, prompt, inputs, limits, options) -> Result:
        """What the model makes of these inputs."""
        ids = inputs["input_ids"]
        with outputs_of(self.model.model.layers) as layers:
            logits = self.model(**inputs, use_cache=False).logits[0, -1].float()
        out = self.model.generate(
            **inputs, generation_config=self.greedy(options.max_new_tokens),
            output_logits=True, return_dict_in_generate=True,
        )  # fmt: skip
        generated = out.sequences[0, ids.shape[1] :]
        return Result(
            pixel_values=None,
            grids=[],
            input_ids=ids[0],
            position_ids=torch.arange(ids.shape[1]).expand(3, -1),
            vision_embeds=None,
            vision_layers=None,
            decoder_layers=torch.stack([rows[0] for (rows,) in layers]).float(),
            logits=logits,
            generated_ids=generated,
            step_logits=torch.cat(out.logits).float(),
            rope_delta=0,
            positions_differ=False,
            prompt=prompt,
            answer=self.tokenizer.decode(generated, skip_special_tokens=True),
            eos_token_ids=self.eos_token_ids(),
            limits={},
        )
