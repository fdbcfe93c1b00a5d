"""Random models of the first ChatGLM: what tools/make_random_model.py writes for the family "chatglm".
Prints and writes nothing.
"""

from __future__ import annotations

# Ids of tests/goldens/chatglm/ice_text.model, behind the image tokens that a model may have.
MASK, GMASK, SOP, EOP, PAD = 190, 191, 194, 195, 3


def models(model: type) -> dict:
    """The rows of MODELS, which are of the class `model`."""
    common = dict(
        mrope_section=[], rope_theta=10000.0, eps=1e-5, tied=False, family="chatglm",
        tokenizer="ice_text.model",
    )  # fmt: skip
    return {
        "chatglm_heads4_bf16": model(
            "ChatGLM-6B: 4 heads of 16, bf16 in two files, padded vocabulary, two-dimensional positions",
            seed=596, dtype="BF16", hidden=64, heads=4, kv_heads=4, layers=3, intermediate=160, vocab=560,
            seq_length=1024, shards=2, **common,
        ),
        "chatglm_images_f32": model(
            "ChatGLM-6B as at first: 30 image tokens before the text's; 5 heads of 12, f32",
            seed=122, dtype="F32", hidden=60, heads=5, kv_heads=5, layers=2, intermediate=77, vocab=564,
            seq_length=256, image_tokens=30, **common,
        ),
    }  # fmt: skip


def config(m, dtype: str) -> dict:
    """config.json as the published one has it; no generation_config.json stands beside that."""
    ids = dict(bos=SOP, eos=EOP, mask=MASK, gmask=GMASK)
    return {f"{name}_token_id": i + m.image_tokens for name, i in ids.items()} | dict(
        architectures=["ChatGLMModel"],
        model_type="chatglm",
        pad_token_id=PAD + m.image_tokens,
        hidden_size=m.hidden,
        inner_hidden_size=m.intermediate,
        layernorm_epsilon=m.eps,
        max_sequence_length=m.seq_length,
        num_attention_heads=m.heads,
        num_layers=m.layers,
        position_encoding_2d=True,
        torch_dtype=dtype,
        use_cache=True,
        vocab_size=m.vocab,
    )


def tokenizer_config(m) -> dict:
    """tokenizer_config.json as the published one has it."""
    return dict(
        bos_token="<sop>",
        eos_token="<eop>",
        end_token="</s>",
        gmask_token="[gMASK]",
        mask_token="[MASK]",
        pad_token="<pad>",
        unk_token="<unk>",
        remove_space=False,
        do_lower_case=False,
        tokenizer_class="ChatGLMTokenizer",
        num_image_tokens=m.image_tokens,
    )


def add_tensors(m, add, linear) -> None:
    """Every tensor, by the functions of make_random_model.tensors(). The residual is a norm times
    sqrt(56): loud layers, so that they matter beside it."""
    add("transformer.word_embeddings.weight", [m.vocab, m.hidden], 0.5)
    for i in range(m.layers):
        at = f"transformer.layers.{i}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            add(at + norm + ".weight", [m.hidden], 0.15, bias=1)
            add(at + norm + ".bias", [m.hidden], 0.15)
        linear(at + "attention.query_key_value", 3 * m.hidden, m.hidden, 1.3)
        linear(at + "attention.dense", m.hidden, m.hidden, 4.0)
        linear(at + "mlp.dense_h_to_4h", m.intermediate, m.hidden, 1.5)
        linear(at + "mlp.dense_4h_to_h", m.hidden, m.intermediate, 4.0)
    add("transformer.final_layernorm.weight", [m.hidden], 0.15, bias=1)
    add("transformer.final_layernorm.bias", [m.hidden], 0.15)
    add("lm_head.weight", [m.vocab, m.hidden], 0.5)
