"""Turn train.py's checkpoint into a complete model directory.

Writes bf16 weights, tokenizer, both preprocessor configs and the generation config.

usage: export_model.py CHECKPOINT OUT_DIR TOKENIZER.json
"""

import json
import pathlib
import shutil
import sys

import torch
from transformers import Qwen2VLForConditionalGeneration

SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}"
    "{{ message['content'] }}<|im_end|>\n{% else %}"
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% elif content['type'] == 'video' %}"
    "<|vision_start|><|video_pad|><|vision_end|>{% elif 'text' in content %}"
    "{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def dump(path, obj):
    path.write_text(json.dumps(obj, indent=2) + "\n")


def main():
    src, out = sys.argv[1], pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    model = Qwen2VLForConditionalGeneration.from_pretrained(src, dtype=torch.bfloat16)
    model.save_pretrained(out)
    shutil.copy(sys.argv[3], out / "tokenizer.json")
    pixels = {"shortest_edge": 6272, "longest_edge": 9408}
    common = dict(
        patch_size=14,
        temporal_patch_size=2,
        merge_size=2,
        image_mean=[0.48145466, 0.4578275, 0.40821073],
        image_std=[0.26862954, 0.26130258, 0.27577711],
        size=pixels,
        processor_class="Qwen2VLProcessor",
    )
    dump(
        out / "preprocessor_config.json",
        dict(
            common,
            image_processor_type="Qwen2VLImageProcessor",
            min_pixels=pixels["shortest_edge"],
            max_pixels=pixels["longest_edge"],
        ),
    )
    dump(
        out / "video_preprocessor_config.json",
        dict(
            common, video_processor_type="Qwen2VLVideoProcessor", fps=2, min_frames=4, max_frames=6
        ),
    )
    dump(
        out / "tokenizer_config.json",
        dict(
            tokenizer_class="Qwen2Tokenizer",
            bos_token=None,
            eos_token="<|im_end|>",
            pad_token="<|endoftext|>",
            unk_token=None,
            model_max_length=4096,
            additional_special_tokens=SPECIAL[1:],
            chat_template=TEMPLATE,
        ),
    )
    dump(
        out / "generation_config.json",
        dict(
            bos_token_id=model.config.text_config.bos_token_id,
            eos_token_id=[
                model.config.text_config.eos_token_id,
                model.config.text_config.bos_token_id,
            ],
            pad_token_id=model.config.text_config.bos_token_id,
            do_sample=False,
            max_new_tokens=64,
        ),
    )


if __name__ == "__main__":
    main()
