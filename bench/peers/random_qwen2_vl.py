"""Qwen2-VL-2B of transformers with seeded random weights: what run_transformers, run_openvino and end_to_end time."""

from __future__ import annotations

import common

torch = common.package("torch")
transformers = common.package("transformers")

DTYPES = {"bf16": torch.bfloat16, "f32": torch.float32}
PATCH_DIM = 1176  # 3 channels, 2 frames, 14 x 14
VIDEO_PAD, VISION_START, VISION_END = 151656, 151652, 151653


def config():
    """config.json of Qwen2-VL-2B-Instruct."""
    vision = {"depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16, "in_channels": 3, "hidden_size": 1536,
              "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2}
    text = {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
            "num_key_value_heads": 2, "vocab_size": 151936, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
            "tie_word_embeddings": True}
    return transformers.Qwen2VLConfig(vision_config=vision, text_config=text, tie_word_embeddings=True,
                                      video_token_id=VIDEO_PAD, vision_start_token_id=VISION_START,
                                      vision_end_token_id=VISION_END)


def make(dtype: str):
    """The whole model."""
    model = transformers.Qwen2VLForConditionalGeneration
    return filled(lambda: model(config()), dtype)


def make_tower(dtype: str):
    """The vision tower alone."""
    tower = transformers.models.qwen2_vl.modeling_qwen2_vl.Qwen2VisionTransformerPretrainedModel
    return filled(lambda: tower._from_config(config().vision_config), dtype)


def filled(construct, dtype: str):
    # transformers' own initialisation takes minutes, so first without values.
    with torch.device("meta"):
        model = construct()
    model = model.to(DTYPES[dtype]).to_empty(device="cpu").eval()
    model.tie_weights()
    fill_weights(model)
    fill_rotary(model)
    return model


def fill_weights(model) -> None:
    """Norms of 1, small biases, matrices that keep the size of what goes through them."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1 and name.endswith("weight"):
            parameter.data.fill_(1.0)
        else:
            limit = 0.02 if parameter.ndim == 1 else (3.0 / parameter[0].numel()) ** 0.5
            parameter.data.uniform_(-limit, limit, generator=generator)


def fill_rotary(model) -> None:
    """The only buffers, which stay f32 as in a model that was loaded."""
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if not name.endswith("inv_freq"):
                common.fail(f"transformers {transformers.__version__}: unknown buffer {name}")
            theta = 10000.0 if "Vision" in type(module).__name__ else 1e6
            n = buffer.numel()
            setattr(module, name, 1.0 / theta ** (torch.arange(n, dtype=torch.float) / n))


def made_up_patches(grid: tuple[int, int, int]):
    t, h, w = grid
    return torch.randn(t * h * w, PATCH_DIM, generator=torch.Generator().manual_seed(1))
