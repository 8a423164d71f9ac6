"""The public models that `field.py` prunes: constructors of packages from PyPI, small enough for a processor.

A package is imported when one of its models is built. Weights are random; nothing is downloaded but the packages.
"""

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

Build = Callable[[], Any]

PACKAGES = ("keras-hub", "kimm", "medicai", "keras-cv", "keras-tuner", "keras-vision")
"""What `pip` installs besides tfprune, TensorFlow and Keras."""

_IMAGE = (64, 64, 3)
_TEXT: dict[str, Any] = {"vocabulary_size": 60, "num_layers": 2, "hidden_dim": 32, "intermediate_dim": 64}
_HEADS: dict[str, Any] = {**_TEXT, "num_heads": 4}
_GROUPED: dict[str, Any] = {**_TEXT, "num_query_heads": 4, "num_key_value_heads": 2}


def _made(path: str, *arguments: Any, **settings: Any) -> Any:
    """Calls `module.submodule:Name` with the settings."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)(*arguments, **settings)


def _each(module: str, names: str, **settings: Any) -> dict[str, Build]:
    """Builders of several constructors of one module, with the same settings."""
    return {f"{module.split('.')[0]}.{name}": partial(_made, f"{module}:{name}", **settings) for name in names.split()}


def _tuned(name: str) -> Any:
    """A model that Keras Tuner builds for its default hyperparameters."""
    tuner: Any = importlib.import_module("keras_tuner")
    return getattr(tuner.applications, name)(input_shape=_IMAGE, classes=10).build(tuner.HyperParameters())


def _mobile_vit(version: int) -> Any:
    package = f"keras_vision.MobileViT_v{version}"
    variant: Any = "XXS" if version == 1 else 0.5
    settings = {"num_classes": 10, "input_shape": _IMAGE, "pretrained": False}
    return _made(f"{package}:build_MobileViT_v{version}", variant, **settings)


MODELS: dict[str, Build] = {
    **_each(
        "keras.applications",
        "MobileNetV2 MobileNetV3Small EfficientNetB0 EfficientNetV2B0 ResNet50V2 DenseNet121 ConvNeXtTiny",
        weights=None,
        input_shape=_IMAGE,
        classes=10,
        classifier_activation=None,
    ),
    **_each(
        "kimm.models",
        "ConvNeXtAtto DenseNet121 EfficientNetLiteB0 GhostNetW050 GhostNetV2W100 GhostNetV3W050 "
        "HGNetTiny HGNetV2B0 InceptionNeXtTiny LCNet035 MobileNetV3W050Small MobileOneS0 MobileViTXXS MobileViTV2W050 "
        "RegNetX002 RegNetY002 RepVGGA0 ResNet18 TinyNetE VisionTransformerTiny16",
        weights=None,
        input_shape=_IMAGE,
        classes=10,
        classifier_activation=None,
    ),
    **_each(
        "medicai.models",
        "ResNet18 SEResNet18 ResNet50vd ConvNeXtV2Atto EfficientNetB0 MixViTB0 SwinTiny ViTBase",
        input_shape=_IMAGE,
        num_classes=10,
        classifier_activation=None,
    ),
    **_each(
        "medicai.models",
        "UNet AttentionUNet UNetPlusPlus DeepLabV3Plus UPerNet",
        input_shape=_IMAGE,
        encoder_name="resnet18",
        num_classes=2,
        classifier_activation=None,
    ),
    **_each("medicai.models", "SegFormer", input_shape=_IMAGE, encoder_name="mit_b0", num_classes=2),
    **_each("medicai.models", "SwinUNETR", input_shape=(32, 32, 32, 1), encoder_name="swin_tiny_v2", num_classes=2),
    **_each(
        "keras_cv.models",
        "CSPDarkNetBackbone YOLOV8Backbone",
        stackwise_channels=[16, 32, 64, 128],
        stackwise_depth=[1, 2, 2, 1],
        include_rescaling=True,
        input_shape=_IMAGE,
    ),
    "keras_cv.ResNetV2Backbone": partial(
        _made,
        "keras_cv.models:ResNetV2Backbone",
        stackwise_filters=[16, 32],
        stackwise_blocks=[2, 2],
        stackwise_strides=[1, 2],
        include_rescaling=True,
        input_shape=_IMAGE,
    ),
    "keras_cv.MiTBackbone": partial(
        _made,
        "keras_cv.models:MiTBackbone",
        depths=[1, 1, 1, 1],
        embedding_dims=[16, 32, 40, 64],
        include_rescaling=True,
        input_shape=_IMAGE,
    ),
    "keras_tuner.HyperResNet": partial(_tuned, "HyperResNet"),
    "keras_tuner.HyperXception": partial(_tuned, "HyperXception"),
    "keras_vision.MobileViT_v1": partial(_mobile_vit, 1),
    "keras_vision.MobileViT_v2": partial(_mobile_vit, 2),
    "keras_hub.AlbertBackbone": partial(_made, "keras_hub.models:AlbertBackbone", **_HEADS, embedding_dim=16),
    **_each("keras_hub.models", "BartBackbone BertBackbone BloomBackbone DebertaV3Backbone", **_HEADS),
    **_each("keras_hub.models", "DistilBertBackbone GPT2Backbone GPTNeoXBackbone OPTBackbone", **_HEADS),
    **_each("keras_hub.models", "RobertaBackbone T5Backbone WhisperBackbone XLNetBackbone", **_HEADS),
    **_each("keras_hub.models", "Llama3Backbone LlamaBackbone MistralBackbone Phi3Backbone Qwen2Backbone", **_GROUPED),
    "keras_hub.FNetBackbone": partial(_made, "keras_hub.models:FNetBackbone", **_TEXT),
    "keras_hub.FalconBackbone": partial(_made, "keras_hub.models:FalconBackbone", **_TEXT, num_attention_heads=4),
    "keras_hub.GemmaBackbone": partial(_made, "keras_hub.models:GemmaBackbone", **_GROUPED, head_dim=8),
    "keras_hub.ViTBackbone": partial(
        _made,
        "keras_hub.models:ViTBackbone",
        image_shape=_IMAGE,
        patch_size=16,
        num_layers=2,
        num_heads=4,
        hidden_dim=32,
        mlp_dim=64,
    ),
    "keras_hub.DINOV2Backbone": partial(
        _made,
        "keras_hub.models:DINOV2Backbone",
        image_shape=(56, 56, 3),
        position_embedding_shape=(56, 56, 3),
        patch_size=14,
        num_layers=2,
        num_heads=4,
        hidden_dim=32,
        intermediate_dim=64,
    ),
    "keras_hub.SwinTransformerBackbone": partial(
        _made,
        "keras_hub.models:SwinTransformerBackbone",
        image_shape=_IMAGE,
        embed_dim=16,
        depths=[2, 2],
        num_heads=[2, 4],
        window_size=4,
    ),
    "keras_hub.MiTBackbone": partial(
        _made,
        "keras_hub.models:MiTBackbone",
        layerwise_depths=[1, 1],
        num_layers=2,
        layerwise_num_heads=[1, 2],
        layerwise_sr_ratios=[4, 2],
        max_drop_path_rate=0.1,
        layerwise_patch_sizes=[7, 3],
        layerwise_strides=[4, 2],
        hidden_dims=[16, 32],
        image_shape=_IMAGE,
    ),
    "keras_hub.DenseNetBackbone": partial(
        _made, "keras_hub.models:DenseNetBackbone", stackwise_num_repeats=[3, 3], growth_rate=16, image_shape=_IMAGE
    ),
    "keras_hub.ResNetBackbone": partial(
        _made,
        "keras_hub.models:ResNetBackbone",
        input_conv_filters=[16],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[2, 2],
        stackwise_num_strides=[1, 2],
        block_type="bottleneck_block",
        image_shape=_IMAGE,
    ),
    "keras_hub.VGGBackbone": partial(
        _made,
        "keras_hub.models:VGGBackbone",
        stackwise_num_repeats=[1, 2],
        stackwise_num_filters=[16, 32],
        image_shape=_IMAGE,
    ),
    "keras_hub.CSPNetBackbone": partial(
        _made,
        "keras_hub.models:CSPNetBackbone",
        stem_filters=16,
        stem_kernel_size=3,
        stem_strides=1,
        stackwise_depth=[1, 2],
        stackwise_strides=[2, 2],
        stackwise_num_filters=[32, 48],
        block_type="dark_block",
        stage_type="csp",
        bottle_ratio=[0.5],
        block_ratio=[1.0],
        expand_ratio=[2.0],
        image_shape=_IMAGE,
    ),
}
"""How each model is built, by `package.Name`."""
