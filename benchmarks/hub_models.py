"""The text backbones of KerasHub, each at a size that a test can build: two blocks, 32 wide.

KerasHub is imported when one of them is built. Weights are random; nothing is downloaded.
"""

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

Build = Callable[[], Any]

_TEXT: dict[str, Any] = {"vocabulary_size": 60, "num_layers": 2, "hidden_dim": 32, "intermediate_dim": 48}
_HEADS: dict[str, Any] = {**_TEXT, "num_heads": 4}
_GROUPED: dict[str, Any] = {**_TEXT, "num_query_heads": 4, "num_key_value_heads": 2}
_SHORT: dict[str, Any] = {"max_sequence_length": 16}
_T5_GEMMA: dict[str, Any] = {
    "vocabulary_size": 60,
    **{
        f"{part}_{key}": value
        for part in ("encoder", "decoder")
        for key, value in {
            "hidden_dim": 32,
            "intermediate_dim": 48,
            "num_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "layer_types": ["full_attention"] * 2,
        }.items()
    },
}


def _made(name: str, **settings: Any) -> Any:
    return getattr(importlib.import_module("keras_hub.models"), name)(**settings)


def _each(names: str, **settings: Any) -> dict[str, Build]:
    return {name: partial(_made, name, **settings) for name in names.split()}


TEXT_MODELS: dict[str, Build] = {
    **_each("AlbertBackbone", **_HEADS, **_SHORT, embedding_dim=16),
    **_each(
        "BartBackbone BertBackbone DebertaV3Backbone DistilBertBackbone ESMBackbone GPT2Backbone", **_HEADS, **_SHORT
    ),
    **_each("GPTNeoXBackbone OPTBackbone RobertaBackbone XLMRobertaBackbone", **_HEADS, **_SHORT),
    **_each("BloomBackbone T5Backbone XLNetBackbone", **_HEADS),
    **_each(
        "ElectraBackbone",
        vocab_size=60,
        num_layers=2,
        num_heads=4,
        hidden_dim=32,
        embedding_dim=16,
        intermediate_dim=48,
        **_SHORT,
    ),
    **_each("RoformerV2Backbone", **_HEADS, head_size=8),
    **_each("FNetBackbone", **_TEXT, **_SHORT),
    **_each("FalconBackbone", **_TEXT, num_attention_heads=4),
    **_each("LlamaBackbone Llama3Backbone MistralBackbone Phi3Backbone QwenBackbone", **_GROUPED),
    **_each("MixtralBackbone", **_GROUPED, num_experts=3),
    **_each("GptOssBackbone", **_GROUPED, num_experts=3, head_dim=8),
    **_each("GemmaBackbone Qwen3Backbone", **_GROUPED, head_dim=8),
    **_each("Gemma3Backbone", **_GROUPED, head_dim=8, image_size=None),
    **_each("Gemma4Backbone", **_GROUPED, head_dim=8, image_size=None, sliding_window_size=16),
    **_each(
        "Gemma3nBackbone",
        text_vocab_size=60,
        text_hidden_size=32,
        num_hidden_layers=2,
        pad_token_id=0,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=[48, 48],
        hidden_activation="gelu_approximate",
        layer_types=["full_attention", "sliding_attention"],
        sliding_window=4,
        rope_theta=10000.0,
        max_position_embeddings=16,
        vocab_size_per_layer_input=60,
        hidden_size_per_layer_input=8,
        altup_num_inputs=2,
        laurel_rank=4,
    ),
    **_each("Qwen3MoeBackbone", **_GROUPED, head_dim=8, moe_intermediate_dim=24, num_experts=3, top_k=2),
    **_each(
        "Qwen3_5Backbone",
        **_GROUPED,
        head_dim=8,
        layer_types=["linear_attention", "full_attention"],
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
    ),
    **_each(
        "QwenMoeBackbone",
        **_GROUPED,
        moe_intermediate_dim=24,
        shared_expert_intermediate_dim=40,
        num_experts=3,
        top_k=2,
    ),
    **_each(
        "RWKV7Backbone",
        hidden_size=32,
        head_size=8,
        num_layers=2,
        vocabulary_size=60,
        intermediate_dim=48,
        gate_lora=4,
        mv_lora=4,
        aaa_lora=4,
        decay_lora=4,
    ),
    **_each(
        "SmolLM3Backbone",
        **_TEXT,
        num_attention_heads=4,
        num_key_value_heads=2,
        attention_bias=False,
        attention_dropout=0.0,
        rope_layer_enabled_list=[True, False],
        layer_types=["full_attention"] * 2,
        mlp_bias=False,
        layer_norm_epsilon=1e-6,
        max_position_embeddings=16,
        rope_theta=10000.0,
        partial_rotary_factor=1.0,
    ),
    **_each("T5GemmaBackbone T5Gemma2Backbone", **_T5_GEMMA),
}
"""How each backbone is built, by the name of its class."""
