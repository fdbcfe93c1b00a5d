"""Write tests/goldens/guidance/demo.safetensors: guided answers of the demo model by transformers.

The model answers greedily under UnbatchedClassifierFreeGuidanceLogitsProcessor. Its second sequence
runs through the text model directly: Qwen2-VL keeps one rope_deltas for all calls, so that
generate(negative_prompt_ids=...) would place the second sequence's tokens by the video's positions.
Every case holds what the tokens were chosen from. tests/goldens/README.md defines the file.

usage: make_guidance_goldens.py
needs: tools/requirements-golden.txt
"""

import json
import pathlib

import make_golden
import reference
import torch
from transformers import LogitsProcessorList
from transformers.generation.logits_process import (
    RepetitionPenaltyLogitsProcessor,
    UnbatchedClassifierFreeGuidanceLogitsProcessor,
)
from transformers.modeling_outputs import CausalLMOutputWithPast

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
OUT = REPOSITORY / "tests" / "goldens" / "guidance" / "demo.safetensors"
SAMPLE = "models/demo/sample.mp4"
MEDIA = "tests/goldens/media/"

# name: (medium, question, scale, negative prompt, repetition penalty)
CASES = {
    "direction": (SAMPLE, "Which direction does the yellow square move?", 1.5, None, 1.0),
    "describe": (MEDIA + "wide.mp4", "Describe the video.", 3.0, None, 1.0),
    "weaker": (MEDIA + "hevc.mp4", "What does the cyan diamond do?", 0.5, None, 1.0),
    "nothing": (SAMPLE, "What color is the square?", 0.0, None, 1.0),
    "negative": (SAMPLE, "Describe the video.", 2.0, "A red circle moves up.", 1.0),
    "penalty": (MEDIA + "square.png", "What shape is it?", 2.0, None, 1.3),
}


class TextModel:
    """The language model alone, as the processor calls it: positions count up from 0."""

    def __init__(self, model):
        self.model = model

    def __call__(self, input_ids, attention_mask, use_cache, past_key_values):
        del attention_mask  # all ones
        out = self.model.model.language_model(
            input_ids=input_ids, past_key_values=past_key_values, use_cache=use_cache
        )
        logits = self.model.lm_head(out.last_hidden_state)
        return CausalLMOutputWithPast(logits=logits, past_key_values=out.past_key_values)


def answer(ref, path: str, question: str, scale: float, negative: str | None, penalty: float):
    """(ids of the second prompt, generated ids, scores [m, vocab_size] they were chosen from)."""
    options = reference.Options()
    media = [reference.open_media(str(REPOSITORY / path))]
    inputs, _ = ref.inputs(media, ref.prompt(media, question, None), options)
    second = ref.prompt([], question if negative is None else negative, None)
    ids = ref.processor.tokenizer(second, return_tensors="pt").input_ids
    guidance = UnbatchedClassifierFreeGuidanceLogitsProcessor(scale, TextModel(ref.model), ids)
    processors = LogitsProcessorList([guidance])  # the order of _get_logits_processor
    guided = []
    processors.append(lambda _, scores: guided.append(scores.float()) or scores)
    if penalty != 1.0:
        processors.append(RepetitionPenaltyLogitsProcessor(penalty))
    with torch.no_grad():
        out = ref.model.generate(
            **inputs,
            generation_config=ref.greedy(options.max_new_tokens),
            logits_processor=processors,
        )
    return ids[0], out[0, inputs["input_ids"].shape[1] :], torch.cat(guided)


def main():
    ref = reference.Reference(REPOSITORY / "models" / "demo")
    tensors, cases = {}, {}
    for name, (path, question, scale, negative, penalty) in CASES.items():
        ids, generated, scores = answer(ref, path, question, scale, negative, penalty)
        tensors[f"{name}.unconditional_ids"] = ids
        tensors[f"{name}.generated_ids"] = generated.clone()
        tensors[f"{name}.scores"] = scores
        text = ref.processor.tokenizer.decode(generated, skip_special_tokens=True)
        cases[name] = dict(
            media="../" * 3 + path,
            question=question,
            guidance_scale=scale,
            negative_prompt=negative,
            repetition_penalty=penalty,
            max_new_tokens=reference.Options().max_new_tokens,
            answer=text,
        )
        print(f"{name}: {question} -> {text}")
    OUT.parent.mkdir(exist_ok=True)
    metadata = dict(cases=json.dumps(cases), versions=json.dumps(reference.versions()))
    make_golden.write_safetensors(OUT, tensors, metadata)
    print(f"{OUT}: {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
