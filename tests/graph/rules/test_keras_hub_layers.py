"""KerasHub's layers with weights of their own: all are followed by trial, as the library knows none of them by name."""

from importlib import import_module

import keras
import numpy as np
import pytest

from tests.graph.agreement import agrees, is_ordinary, sizes
from tfprune.graph import channel_groups, complexity

pytest.importorskip("keras_hub", reason="keras-hub is not installed")

layers = keras.layers


def hub_layer(path, *args, **settings):
    module, name = path.rsplit(".", 1)
    return getattr(import_module(f"keras_hub.src.{module}"), name)(*args, **settings)


NORMALIZATIONS = {
    "EdRec": ("models.edrec.edrec_layers.EdRecRMSNormalization",),
    "Gemma": ("models.gemma.rms_normalization.RMSNormalization",),
    "Gemma 3": ("models.gemma3.gemma3_layers.RMSNormalization",),
    "Gemma 3n": ("models.gemma3n.rms_normalization.Gemma3nRMSNorm", 8),
    "Gemma 4": ("models.gemma4.gemma4_layers.RMSNormalization",),
    "Gemma 4 without weights": ("models.gemma4.gemma4_layers.Gemma4VNorm",),
    "Gemma 4 frozen": ("models.gemma4.gemma4_layers.Gemma4FrozenNorm",),
    "GPT OSS": ("models.gpt_oss.gpt_oss_layer_norm.GptOssLayerNormalization",),
    "Llama": ("models.llama.llama_layernorm.LlamaLayerNorm",),
    "Mistral": ("models.mistral.mistral_layer_norm.MistralLayerNormalization",),
    "Mixtral": ("models.mixtral.mixtral_layer_norm.MixtralLayerNormalization",),
    "MobileNet V5": ("models.mobilenetv5.mobilenetv5_layers.RmsNorm2d", 8),
    "Phi 3": ("models.phi3.phi3_layernorm.Phi3LayerNorm",),
    "Qwen": ("models.qwen.qwen_layernorm.QwenLayerNorm",),
    "Qwen 3": ("models.qwen3.qwen3_layernorm.Qwen3LayerNorm",),
    "Qwen 3 MoE": ("models.qwen3_moe.qwen3_moe_layernorm.Qwen3MoeLayerNorm",),
    "Qwen 3.5": ("models.qwen3_5.qwen3_5_layers.Qwen3_5LayerNorm",),
    "RoFormer": ("models.roformer_v2.roformer_v2_attention.RoformerNorm",),
    "T5": ("models.t5.t5_layer_norm.T5LayerNorm",),
}
IMAGES, NUMBERS = ((8, 8, 3), "float32"), ((7,), "int32")
PRODUCERS = {
    "token and position": (
        ("layers.modeling.token_and_position_embedding.TokenAndPositionEmbedding", 20, 9, 6),
        NUMBERS,
        0,
    ),
    "BLIP-2": (("models.blip2.blip2_qformer.BLIP2QueryTokens", 4, 6), ((5, 8), "float32"), 0),
    "CLIP": (("models.clip.clip_layers.CLIPVisionEmbedding", 6, 4, 8), IMAGES, 4 * 48 * 6),
    "CLIP as wide as its images": (("models.clip.clip_layers.CLIPVisionEmbedding", 8, 4, 8), IMAGES, 4 * 48 * 8),
    "DeiT": (("models.deit.deit_layers.DeiTEmbeddings", (8, 8), (4, 4), 6), IMAGES, 4 * 48 * 6),
    "DINOv2": (
        ("models.dinov2.dinov2_layers.DINOV2Embedding", 6, 4, (8, 8), 2, True, 0.0, (8, 8)),
        IMAGES,
        4 * 48 * 6,
    ),
    "DINOv3": (("models.dinov3.dinov3_layers.DINOV3Embedding", 6, 4), IMAGES, 4 * 48 * 6),
    "Gemma 3": (("models.gemma3.gemma3_vision_encoder.Gemma3VisionEmbedding", 8, 4, 6), IMAGES, 4 * 48 * 6),
    "MetaCLIP 2": (("models.metaclip_2.metaclip_2_layers.MetaCLIP2VisionEmbedding", 6, 4, 8), IMAGES, 4 * 48 * 6),
    "PaliGemma": (("models.pali_gemma.pali_gemma_vit.PaliGemmaVitEmbeddings", 8, 4, 6), IMAGES, 4 * 48 * 6),
    "SigLIP": (("models.siglip.siglip_layers.SigLIPVisionEmbedding", 6, 4, 8), IMAGES, 4 * 48 * 6),
    "SigLIP text": (("models.siglip.siglip_layers.SigLIPTextEmbedding", 20, 7, 6), NUMBERS, 0),
    "Stable Diffusion 3": (("models.stable_diffusion_3.mmdit.PatchEmbedding", 4, 6), IMAGES, 4 * 48 * 6),
    "Swin": (("models.swin_transformer.swin_transformer_layers.PatchEmbedding", 4, 6), IMAGES, 4 * 48 * 6),
    "ViT": (("models.vit.vit_layers.ViTPatchingAndEmbedding", (8, 8), (4, 4), 6), IMAGES, 4 * 48 * 6),
    "ViT of three channels": (
        ("models.vit.vit_layers.ViTPatchingAndEmbedding", (8, 8), (4, 4), 3),
        IMAGES,
        4 * 48 * 3,
    ),
    "ViTDet": (("models.vit_det.vit_layers.ViTDetPatchingAndEmbedding", (4, 4), (4, 4), 6), IMAGES, 4 * 48 * 6),
}
PASSED_ON = {
    "position": ("layers.modeling.position_embedding.PositionEmbedding", 9),
    "DINOv2 layer scale": ("models.dinov2.dinov2_layers.DINOV2LayerScale", 8),
    "DINOv3 layer scale": ("models.dinov3.dinov3_layers.DINOV3LayerScale", 8),
    "MobileNet V5 layer scale": ("models.mobilenetv5.mobilenetv5_layers.LayerScale2d", 8),
}


def block(norm):
    inputs = keras.Input((3, 5, 4) if "2d" in type(norm).__name__ else (5, 4))
    x = norm(layers.Dense(8, name="make")(inputs))
    return keras.Model(inputs, layers.Dense(3, name="head")(x))


def encoder(layer, shape, dtype):
    """One residual block on what `layer` makes."""
    inputs = keras.Input(shape, dtype=dtype)
    x = layer(inputs)
    wide = layers.Dense(5, activation="gelu", name="wide")(layers.LayerNormalization()(x))
    x = layers.Add()([x, layers.Dense(x.shape[-1], name="back")(wide)])
    return keras.Model(inputs, layers.Dense(3, name="head")(x))


def draw_weights(model):
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if keras.backend.is_float_dtype(weight.dtype):
            weight.assign(rng.normal(0, 1, weight.shape))


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_normalizations(name, tmp_path):
    model = block(hub_layer(*NORMALIZATIONS[name]))
    draw_weights(model)
    groups = agrees(model)
    assert groups.pinned == ()
    assert sizes(groups) == {"make": 8}
    assert complexity(model).uncounted == ()
    if name in ("Gemma 3n", "Llama", "MobileNet V5", "T5"):  # the others have the code of one of these
        is_ordinary(model, groups, tmp_path)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16", "float16"])
@pytest.mark.parametrize("name", ["Gemma", "Llama", "Qwen 3", "T5"])
def test_normalizations_in_half_precision(name, policy):
    path, *args = NORMALIZATIONS[name]
    assert sizes(channel_groups(block(hub_layer(path, *args, dtype=policy)))) == {"make": 8}


def test_keys_of_heads_are_normalized_by_head():
    inputs = keras.Input((5, 6))
    x = layers.EinsumDense("btd,dhk->bthk", (None, 4, 8), name="make")(inputs)
    x = hub_layer("models.qwen3.qwen3_layernorm.Qwen3LayerNorm", head_dim=8)(x)
    model = keras.Model(inputs, layers.EinsumDense("bthk,hkd->btd", (None, 3), name="head")(x))
    assert sizes(agrees(model)) == {"make.h": 4, "make": 8}


@pytest.mark.filterwarnings("ignore:Gradients do not exist", "ignore:`build")  # mask tokens; Swin has no build method
@pytest.mark.parametrize("name", PRODUCERS)
def test_embeddings_of_images_words_and_positions(name, tmp_path):
    (path, *args), (shape, dtype), macs = PRODUCERS[name]
    model = encoder(hub_layer(path, *args, name="make"), shape, dtype)
    draw_weights(model)
    groups = agrees(model)
    assert groups.pinned == ()
    assert groups[0].layers == ("make", "back")
    assert groups[0].size == model.get_layer("make").output.shape[-1]
    assert {each.layer: each.macs for each in complexity(model).layers}["make"] == macs
    if name not in ("DINOv2", "Swin"):  # loaded by Keras, they are no longer what was saved, whole or pruned
        is_ordinary(model, groups, tmp_path)


@pytest.mark.parametrize("name", PASSED_ON)
def test_what_has_one_weight_per_channel(name):
    layer = hub_layer(*PASSED_ON[name])
    inputs = keras.Input((5, 4))
    x = layers.Dense(8, name="make")(inputs)
    model = keras.Model(inputs, layers.Dense(3, name="head")(layers.Add()([x, layer(x)])))
    draw_weights(model)
    groups = agrees(model)
    assert groups.pinned == ()
    assert sizes(groups) == {"make": 8}


def test_words_whose_table_is_read_in_reverse():
    inputs = keras.Input((7,), dtype="int32")
    embed = hub_layer("layers.modeling.reversible_embedding.ReversibleEmbedding", 20, 8, name="make")
    x = hub_layer("models.llama.llama_layernorm.LlamaLayerNorm")(embed(inputs))
    groups = agrees(keras.Model(inputs, embed(x, reverse=True)))
    assert sizes(groups) == {"make": 8}
    assert groups.pinned == ()
