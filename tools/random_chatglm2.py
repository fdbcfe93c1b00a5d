"""Random models of ChatGLM2 and ChatGLM3: what tools/make_random_model.py writes for the family
"chatglm2". Prints and writes nothing.
"""

from __future__ import annotations

VOCABULARY = 600  # about what tests/goldens/chatglm2/tokenizer.model has, with the special tokens


def models(model: type) -> dict:
    """The rows of MODELS, which are of the class `model`."""
    common = dict(
        mrope_section=[], rope_theta=10000.0, eps=1e-5, tied=False, family="chatglm2",
        tokenizer="tokenizer.model",
    )  # fmt: skip
    return {
        "chatglm2_heads4_bf16": model(
            "ChatGLM2: 4 heads of 16 on 2 groups, bf16 in two files, padded vocabulary",
            seed=50, dtype="BF16", hidden=64, heads=4, kv_heads=2, layers=3, intermediate=88, vocab=640,
            version=2, seq_length=512, shards=2, **common,
        ),
        "chatglm2_long_f32": model(
            "ChatGLM2-32K: 5 heads of 8 on 1 group, sizes that are multiples of nothing, positions divided by 4",
            seed=35, dtype="F32", hidden=40, heads=5, kv_heads=1, layers=4, intermediate=51, vocab=VOCABULARY,
            version=2, seq_length=512, rope_ratio=4, **common,
        ),
        "chatglm3_head64_f16": model(
            "ChatGLM3-32K: 2 heads of 64 on 1 group, f16, the base of the rotary embedding times 50",
            seed=78, dtype="F16", hidden=128, heads=2, kv_heads=1, layers=2, intermediate=96, vocab=VOCABULARY,
            version=3, seq_length=256, rope_ratio=50, **common,
        ),
    }  # fmt: skip


def config(m, dtype: str) -> dict:
    """config.json as the published ones have it."""
    rope = dict(rope_ratio=m.rope_ratio) if m.rope_ratio else {}
    return rope | dict(
        _name_or_path=f"THUDM/chatglm{m.version}-6b",
        model_type="chatglm",
        architectures=["ChatGLMModel"],
        add_bias_linear=False,
        add_qkv_bias=True,
        apply_query_key_layer_scaling=True,
        apply_residual_connection_post_layernorm=False,
        attention_softmax_in_fp32=True,
        ffn_hidden_size=m.intermediate,
        fp32_residual_connection=False,
        hidden_size=m.hidden,
        kv_channels=m.hidden // m.heads,
        layernorm_epsilon=m.eps,
        multi_query_attention=True,
        multi_query_group_num=m.kv_heads,
        num_attention_heads=m.heads,
        num_layers=m.layers,
        original_rope=True,
        padded_vocab_size=m.vocab,
        post_layer_norm=True,
        rmsnorm=True,
        seq_length=m.seq_length,
        torch_dtype=dtype,
        tie_word_embeddings=False,
        eos_token_id=2,
        pad_token_id=0,
    )


def tokenizer_config(m) -> dict:
    """tokenizer_config.json; ChatGLM3's tells of its roles."""
    out = dict(tokenizer_class="ChatGLMTokenizer", remove_space=False, do_lower_case=False)
    if m.version == 3:
        out["chat_template"] = (
            "{% for message in messages %}{% if loop.first %}[gMASK]sop{% endif %}<|{{ message['role'] }}|>\n "
            "{{ message['content'] }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
        )
    return out


def add_tensors(m, add, linear) -> None:
    """Every tensor, by the functions of make_random_model.tensors()."""
    head_dim = m.hidden // m.heads
    add("transformer.embedding.word_embeddings.weight", [m.vocab, m.hidden], 0.5)
    for i in range(m.layers):
        at = f"transformer.encoder.layers.{i}."
        add(at + "input_layernorm.weight", [m.hidden], 0.15, bias=1)
        qkv = (m.heads + 2 * m.kv_heads) * head_dim
        linear(at + "self_attention.query_key_value", qkv, m.hidden, 1.3)
        linear(at + "self_attention.dense", m.hidden, m.hidden, 1.6, biased=False)
        add(at + "post_attention_layernorm.weight", [m.hidden], 0.15, bias=1)
        linear(at + "mlp.dense_h_to_4h", 2 * m.intermediate, m.hidden, 1.2, biased=False)
        linear(at + "mlp.dense_4h_to_h", m.hidden, m.intermediate, 1.3, biased=False)
    add("transformer.encoder.final_layernorm.weight", [m.hidden], 0.15, bias=1)
    add("transformer.output_layer.weight", [m.vocab, m.hidden], 0.5)
