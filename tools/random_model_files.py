"""The small files of a random model: config.json, the processors', the tokenizer's, sampling."""

from __future__ import annotations

import json
import pathlib

import random_chatglm
import random_chatglm2
from random_models import NAMES, VISION, Model

DEMO = pathlib.Path(__file__).resolve().parent.parent / "models" / "demo"
# Ids of the demo tokenizer's special tokens.
ENDOFTEXT, IM_END, VISION_START, VISION_END, IMAGE_PAD, VIDEO_PAD = (
    1010,
    1012,
    1019,
    1020,
    1022,
    1023,
)
# ChatML as text models have it: in string literals, escaped once more than JSON does.
TEXT_TEMPLATE = (
    "{%- if messages[0]['role'] == 'system' %}"
    "{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}"
    "{%- else %}{{- '<|im_start|>system\\nSYSTEM<|im_end|>\\n' }}{%- endif %}"
    "{%- for message in messages %}{%- if message.role == 'user' or not loop.first %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


def qwen_config(m: Model) -> dict:
    """config.json of the first Qwen."""
    return dict(
        architectures=["QWenLMHeadModel"],
        model_type="qwen",
        hidden_size=m.hidden,
        intermediate_size=2 * m.intermediate,
        num_hidden_layers=m.layers,
        num_attention_heads=m.heads,
        kv_channels=m.hidden // m.heads,
        vocab_size=m.vocab,
        seq_length=m.seq_length,
        max_position_embeddings=512,
        layer_norm_epsilon=m.eps,
        no_bias=True,
        rotary_emb_base=int(m.rope_theta),
        rotary_pct=1.0,
        scale_attn_weights=True,
        use_dynamic_ntk=True,
        use_logn_attn=True,
        tie_word_embeddings=False,
    )


def config(m: Model) -> dict:
    """config.json in one of three layouts."""
    if m.family == "qwen":
        return qwen_config(m)
    if m.family == "chatglm":
        return random_chatglm.config(m, NAMES[m.dtype])
    if m.family == "chatglm2":
        return random_chatglm2.config(m, NAMES[m.dtype])
    text = dict(
        hidden_size=m.hidden,
        num_hidden_layers=m.layers,
        num_attention_heads=m.heads,
        num_key_value_heads=m.kv_heads,
        intermediate_size=m.intermediate,
        vocab_size=m.vocab,
        max_position_embeddings=4096,
        rms_norm_eps=m.eps,
        hidden_act="silu",
        attention_dropout=0.0,
        bos_token_id=ENDOFTEXT,
        eos_token_id=IM_END,
        use_sliding_window=False,
        sliding_window=4096,
        max_window_layers=m.layers,
        tie_word_embeddings=m.tied,
        use_cache=True,
    )
    if m.family == "qwen2":
        return text_config(m, text)
    vision = dict(
        depth=m.depth,
        embed_dim=m.embed,
        mlp_ratio=m.mlp_ratio,
        num_heads=m.vision_heads,
        hidden_size=m.hidden,
        patch_size=14,
        spatial_merge_size=2,
        temporal_patch_size=2,
    )
    if m.family == "qwen2_5_vl":
        vision |= dict(
            hidden_size=m.embed,
            out_hidden_size=m.hidden,
            intermediate_size=m.mlp_width,
            window_size=m.window,
            fullatt_block_indexes=list(m.full_blocks),
            tokens_per_second=m.tokens_per_second,
            hidden_act="silu",
        )
        del vision["embed_dim"], vision["mlp_ratio"]
    if m.family == "qwen3_vl":
        add_qwen3_vl(m, text, vision)
    ids = dict(
        architectures=[f"{VISION[m.family]}ForConditionalGeneration"],
        model_type=m.family,
        vision_start_token_id=VISION_START,
        vision_end_token_id=VISION_END,
        image_token_id=IMAGE_PAD,
        video_token_id=VIDEO_PAD,
    )
    old_rope = dict(
        rope_theta=m.rope_theta,
        rope_scaling=dict(type="mrope", mrope_section=m.mrope_section),
    )
    if m.config == "flat":
        vision |= dict(in_chans=3, spatial_patch_size=14)
        return ids | text | old_rope | dict(torch_dtype=NAMES[m.dtype], vision_config=vision)
    act = {"qwen2_vl": "quick_gelu", "qwen2_5_vl": "silu", "qwen3_vl": "gelu_pytorch_tanh"}
    vision |= dict(in_channels=3, hidden_act=act[m.family], model_type=m.family + "_vision")
    text |= dict(model_type=m.family + "_text", dtype=NAMES[m.dtype])
    if m.config == "between":
        text |= old_rope
    else:
        text["rope_parameters"] = dict(
            rope_type="default", rope_theta=m.rope_theta, mrope_section=m.mrope_section
        )
        if m.family == "qwen3_vl":
            text["rope_parameters"]["mrope_interleaved"] = True
    ids |= dict(dtype=NAMES[m.dtype], tie_word_embeddings=m.tied)
    return ids | dict(text_config=text, vision_config=vision)


def add_qwen3_vl(m: Model, text: dict, vision: dict) -> None:
    """What Qwen3-VL's config.json says in another way than Qwen2-VL's."""
    text |= dict(head_dim=m.head_dim, attention_bias=False)
    for key in ("use_sliding_window", "sliding_window", "max_window_layers"):
        del text[key]
    vision |= dict(
        hidden_size=m.embed,
        out_hidden_size=m.hidden,
        intermediate_size=m.mlp_width,
        num_position_embeddings=m.positions,
        deepstack_visual_indexes=list(m.deepstack),
        patch_size=16,
    )
    del vision["embed_dim"], vision["mlp_ratio"]


def text_config(m: Model, text: dict) -> dict:
    """config.json of a text model, with the rotary embedding as older or newer files have it."""
    ids = dict(architectures=["Qwen2ForCausalLM"], model_type="qwen2")
    if m.config == "flat":
        return ids | text | dict(rope_theta=m.rope_theta, torch_dtype=NAMES[m.dtype])
    rope = dict(rope_type="default", rope_theta=m.rope_theta)
    return ids | text | dict(rope_parameters=rope, dtype=NAMES[m.dtype])


def processor_files(m: Model) -> dict:
    """Preprocessor configs: where the limits stand differs from model to model."""
    if m.family not in VISION:
        return {}
    common = dict(
        patch_size=14,
        temporal_patch_size=2,
        merge_size=2,
        image_mean=[0.48145466, 0.4578275, 0.40821073],
        image_std=[0.26862954, 0.26130258, 0.27577711],
        processor_class=f"{VISION[m.family]}Processor",
    )
    image = common | dict(image_processor_type="Qwen2VLImageProcessor")
    video = common | dict(video_processor_type="Qwen2VLVideoProcessor")
    if m.processors == "reference":  # as Qwen2-VL-2B: nothing about videos
        return {"preprocessor_config.json": image | dict(min_pixels=3136, max_pixels=12845056)}
    if m.processors == "windows":  # enough for several windows
        image |= dict(min_pixels=3136, max_pixels=39200)
        video |= dict(min_pixels=3136, max_pixels=39200, min_frames=2, max_frames=8, fps=2)
    elif m.processors == "clips":  # as Qwen3-VL: the limits for videos are of all frames together
        own = dict(patch_size=16, image_mean=[0.5] * 3, image_std=[0.5] * 3)
        image |= own | dict(size=dict(shortest_edge=12288, longest_edge=36864))
        video |= own | dict(size=dict(shortest_edge=32768, longest_edge=163840))
        video |= dict(video_processor_type="Qwen3VLVideoProcessor", min_frames=2, max_frames=8, fps=2)
    elif m.processors == "pixels":
        image |= dict(min_pixels=4704, max_pixels=7840)
        video |= dict(min_pixels=3136, max_pixels=6272, min_frames=2, max_frames=8, fps=3)
    elif m.processors == "size":
        image |= dict(size=dict(shortest_edge=3136, longest_edge=6272))
        video |= dict(size=dict(shortest_edge=3136, longest_edge=4704), max_frames=4)
    else:
        for name, target in (("preprocessor", image), ("video_preprocessor", video)):
            target |= json.loads((DEMO / f"{name}_config.json").read_text())
    return {"preprocessor_config.json": image, "video_preprocessor_config.json": video}


def tokenizer_files(m: Model) -> dict:
    """tokenizer_config.json and the chat template, in one of its three places."""
    if m.family == "qwen":
        return {"tokenizer_config.json": dict(tokenizer_class="QWenTokenizer")}
    if m.family == "chatglm":
        return {"tokenizer_config.json": random_chatglm.tokenizer_config(m)}
    if m.family == "chatglm2":
        return {"tokenizer_config.json": random_chatglm2.tokenizer_config(m)}
    document = json.loads((DEMO / "tokenizer_config.json").read_text())
    files, template = {}, document["chat_template"]
    if m.family == "qwen2":
        template = document["chat_template"] = TEXT_TEMPLATE.replace("SYSTEM", m.system)
    if m.family == "qwen3_vl":  # no system message of its own
        begin, end = template.index("{% if loop.first"), template.index("{% endif %}")
        template = document["chat_template"] = template[:begin] + template[end + len("{% endif %}") :]
    if m.template != "tokenizer_config":
        del document["chat_template"]
    if m.template == "chat_template.json":
        files["chat_template.json"] = dict(chat_template=template)
    elif m.template == "chat_template.jinja":
        files["chat_template.jinja"] = template
    if m.tokenizer == "vocab.json":  # the special tokens stand in tokenizer_config.json alone
        added = json.loads((DEMO / "tokenizer.json").read_text())["added_tokens"]
        document["added_tokens_decoder"] = {str(t.pop("id")): t for t in added}
        document["add_prefix_space"] = False
    return files | {"tokenizer_config.json": document}


def generation_config(m: Model) -> dict:
    """Sampling settings that a golden, being greedy, must ignore."""
    if m.family == "qwen":
        ids = dict(chat_format="chatml", eos_token_id=ENDOFTEXT, pad_token_id=ENDOFTEXT)
    elif m.family == "chatglm2":
        ids = dict(eos_token_id=2, pad_token_id=0)
    else:
        ids = dict(
            bos_token_id=ENDOFTEXT, pad_token_id=ENDOFTEXT, eos_token_id=[IM_END, ENDOFTEXT]
        )
    return ids | dict(
        do_sample=True,
        temperature=0.7,
        top_p=0.8,
        top_k=20,
        repetition_penalty=1.1,
    )
