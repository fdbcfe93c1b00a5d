"""Qwen2-VL of transformers with seeded random weights: what run_transformers, run_openvino and end_to_end time."""

from __future__ import annotations

import common

torch = common.package("torch")
transformers = common.package("transformers")

DTYPES = {"bf16": torch.bfloat16, "f32": torch.float32}
PATCH_DIM = 1176  # 3 channels, 2 frames, 14 x 14

# Of reelm's synthetic models: hidden, intermediate, layers, heads, key/value heads, vocabulary, tied; the tower's depth,
# width, heads. synthetic:tiny is for trying the scripts: its figures mean nothing.
SIZES = {
    "synthetic:qwen2-vl-2b": ((1536, 8960, 28, 12, 2, 151936, True), (32, 1280, 16)),
    "synthetic:qwen2-vl-7b": ((3584, 18944, 28, 28, 4, 152064, False), (32, 1280, 16)),
    "synthetic:tiny": ((64, 128, 2, 4, 2, 300, True), (2, 32, 2)),
}


def config(name: str):
    """As config.json of Qwen2-VL; the special tokens are the last of the vocabulary."""
    if name not in SIZES:
        common.fail(f"--model is {name}, expected one of {', '.join(SIZES)}")
    (hidden, wide, layers, heads, kv_heads, vocab, tied), (depth, embed, vision_heads) = SIZES[name]
    half = hidden // heads // 2
    vision = {"depth": depth, "embed_dim": embed, "mlp_ratio": 4, "num_heads": vision_heads, "in_channels": 3,
              "hidden_size": hidden, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2}
    text = {"hidden_size": hidden, "intermediate_size": wide, "num_hidden_layers": layers,
            "num_attention_heads": heads, "num_key_value_heads": kv_heads, "vocab_size": vocab,
            "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "tie_word_embeddings": tied,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6,
                                "mrope_section": [half // 4, half * 3 // 8, half * 3 // 8]}}
    return transformers.Qwen2VLConfig(vision_config=vision, text_config=text, tie_word_embeddings=tied,
                                      vision_start_token_id=vocab - 4, vision_end_token_id=vocab - 3,
                                      image_token_id=vocab - 2, video_token_id=vocab - 1)


def make(name: str, dtype: str):
    """The whole model."""
    model = transformers.Qwen2VLForConditionalGeneration
    return filled(lambda: model(config(name)), dtype)


def make_tower(name: str, dtype: str):
    """The vision tower alone."""
    tower = transformers.models.qwen2_vl.modeling_qwen2_vl.Qwen2VisionTransformerPretrainedModel
    return filled(lambda: tower._from_config(config(name).vision_config), dtype)


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
            theta, n = module.config.rope_parameters["rope_theta"], buffer.numel()
            setattr(module, name, 1.0 / theta ** (torch.arange(n, dtype=torch.float) / n))


def made_up_patches(grid: tuple[int, int, int]):
    t, h, w = grid
    return torch.randn(t * h * w, PATCH_DIM, generator=torch.Generator().manual_seed(1))
