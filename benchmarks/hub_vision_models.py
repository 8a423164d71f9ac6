"""Tiny KerasHub backbones that read images, videos or sound, a function for each."""

from collections.abc import Callable
from typing import Any

import keras
import keras_hub

models = keras_hub.models
_IMAGE = (32, 32, 3)


def vit() -> keras.Model:
    """Returns a vision transformer."""
    return models.ViTBackbone(image_shape=_IMAGE, patch_size=8, num_layers=2, num_heads=4, hidden_dim=32, mlp_dim=48)


def deit() -> keras.Model:
    """Returns a DeiT, a vision transformer with a distillation token."""
    return models.DeiTBackbone(
        image_shape=_IMAGE, patch_size=8, num_layers=2, num_heads=4, hidden_dim=32, intermediate_dim=48
    )


def dinov2() -> keras.Model:
    """Returns a DINOv2, with layer scales and register tokens."""
    return models.DINOV2Backbone(
        patch_size=8,
        num_layers=2,
        hidden_dim=32,
        num_heads=4,
        intermediate_dim=48,
        num_register_tokens=2,
        image_shape=_IMAGE,
        position_embedding_shape=_IMAGE,
    )


def dinov2_gated() -> keras.Model:
    """Returns a DINOv2 with gated MLPs."""
    return models.DINOV2Backbone(
        patch_size=8,
        num_layers=2,
        hidden_dim=32,
        num_heads=4,
        intermediate_dim=48,
        use_swiglu_ffn=True,
        image_shape=_IMAGE,
        position_embedding_shape=_IMAGE,
    )


def dinov3() -> keras.Model:
    """Returns a DINOv3, with rotary positions."""
    return models.DINOV3Backbone(
        patch_size=8,
        num_layers=2,
        hidden_dim=32,
        num_heads=4,
        intermediate_dim=48,
        use_gated_mlp=True,
        image_shape=_IMAGE,
    )


def swin_transformer() -> keras.Model:
    """Returns a Swin transformer, with attention within windows."""
    return models.SwinTransformerBackbone(
        image_shape=_IMAGE, embed_dim=16, depths=(2, 2), num_heads=(2, 4), window_size=4, patch_size=2
    )


def mit() -> keras.Model:
    """Returns a mix transformer, SegFormer's encoder."""
    return models.MiTBackbone(
        layerwise_depths=[1, 1],
        num_layers=2,
        layerwise_num_heads=[1, 2],
        layerwise_sr_ratios=[2, 1],
        max_drop_path_rate=0.1,
        layerwise_patch_sizes=[7, 3],
        layerwise_strides=[4, 2],
        image_shape=_IMAGE,
        hidden_dims=[16, 32],
    )


def segformer() -> keras.Model:
    """Returns a SegFormer."""
    return models.SegFormerBackbone(image_encoder=mit(), projection_filters=16)


def vit_det() -> keras.Model:
    """Returns the vision transformer of detectors, with windows and relative positions."""
    return models.ViTDetBackbone(
        hidden_size=32,
        num_layers=2,
        intermediate_dim=48,
        num_heads=4,
        global_attention_layer_indices=[1],
        image_shape=(64, 64, 3),
        patch_size=16,
        num_output_channels=8,
        window_size=2,
    )


def sam() -> keras.Model:
    """Returns a Segment Anything model."""
    from keras_hub.src.models.sam.sam_mask_decoder import SAMMaskDecoder
    from keras_hub.src.models.sam.sam_prompt_encoder import SAMPromptEncoder

    return models.SAMBackbone(
        image_encoder=vit_det(),
        prompt_encoder=SAMPromptEncoder(
            hidden_size=8, image_embedding_size=(4, 4), input_image_size=(64, 64), mask_in_channels=16
        ),
        mask_decoder=SAMMaskDecoder(
            num_layers=2,
            hidden_size=8,
            intermediate_dim=16,
            num_heads=2,
            embedding_dim=8,
            num_multimask_outputs=3,
            iou_head_depth=3,
            iou_head_hidden_dim=8,
        ),
    )


def siglip() -> keras.Model:
    """Returns a SigLIP, an encoder of images beside one of texts."""
    return models.SigLIPBackbone(
        vision_encoder=models.SigLIPVisionEncoder(
            patch_size=8, hidden_dim=32, num_layers=2, num_heads=4, intermediate_dim=48, image_shape=_IMAGE
        ),
        text_encoder=models.SigLIPTextEncoder(
            vocabulary_size=50,
            embedding_dim=32,
            hidden_dim=32,
            num_layers=2,
            num_heads=4,
            intermediate_dim=48,
            max_sequence_length=8,
        ),
    )


def clip() -> keras.Model:
    """Returns a CLIP, an encoder of images beside one of texts."""
    return models.CLIPBackbone(
        vision_encoder=models.CLIPVisionEncoder(
            patch_size=8, hidden_dim=32, num_layers=2, num_heads=4, intermediate_dim=48, image_shape=_IMAGE
        ),
        text_encoder=models.CLIPTextEncoder(
            vocabulary_size=50,
            embedding_dim=32,
            hidden_dim=32,
            num_layers=2,
            num_heads=4,
            intermediate_dim=48,
            max_sequence_length=8,
        ),
        projection_dim=16,
    )


def whisper() -> keras.Model:
    """Returns a Whisper, an encoder of sound and a decoder of text."""
    return models.WhisperBackbone(
        vocabulary_size=50,
        num_layers=2,
        num_heads=4,
        hidden_dim=32,
        intermediate_dim=48,
        num_mels=10,
        max_encoder_sequence_length=16,
        max_decoder_sequence_length=8,
    )


def moonshine() -> keras.Model:
    """Returns a Moonshine, an encoder of sound and a decoder of text with rotary positions."""
    return models.MoonshineBackbone(
        vocabulary_size=50,
        filter_dim=32,
        encoder_num_layers=2,
        decoder_num_layers=2,
        hidden_dim=32,
        intermediate_dim=48,
        encoder_num_heads=4,
        decoder_num_heads=4,
    )


def hgnetv2() -> keras.Model:
    """Returns an HGNetV2."""
    return models.HGNetV2Backbone(
        depths=[1, 2],
        embedding_size=16,
        hidden_sizes=[16, 32],
        stem_channels=[3, 8, 16],
        hidden_act="relu",
        use_learnable_affine_block=True,
        stackwise_stage_filters=[(16, 8, 16, 1, 2, 3), (16, 16, 32, 2, 2, 3)],
        apply_downsample=[False, True],
        use_lightweight_conv_block=[False, True],
        image_shape=_IMAGE,
    )


def mobilenet() -> keras.Model:
    """Returns a MobileNetV3."""
    return models.MobileNetBackbone(
        stackwise_expansion=[[16, 24], [24, 32]],
        stackwise_num_blocks=[2, 2],
        stackwise_num_filters=[[8, 8], [16, 16]],
        stackwise_kernel_size=[[3, 3], [5, 5]],
        stackwise_num_strides=[[2, 1], [2, 1]],
        stackwise_se_ratio=[[None, None], [0.25, 0.25]],
        stackwise_activation=[["relu", "relu"], ["hard_swish", "hard_swish"]],
        stackwise_padding=[[1, 1], [2, 2]],
        output_num_filters=32,
        depthwise_filters=8,
        depthwise_stride=1,
        depthwise_residual=True,
        last_layer_filter=32,
        squeeze_and_excite=0.5,
        image_shape=_IMAGE,
        input_num_filters=8,
    )


def mobilenetv5() -> keras.Model:
    """Returns a MobileNetV5, with multi-query attention over positions."""
    return models.MobileNetV5Backbone(
        stackwise_block_types=[["er"], ["uir", "mqa"]],
        stackwise_num_blocks=[1, 2],
        stackwise_num_filters=[[8], [16, 16]],
        stackwise_strides=[[2], [2, 1]],
        stackwise_act_layers=[["relu"], ["relu", "relu"]],
        stackwise_exp_ratios=[[2.0], [2.0, 2.0]],
        stackwise_se_ratios=[[0.0], [0.0, 0.0]],
        stackwise_dw_kernel_sizes=[[0], [3, 3]],
        stackwise_dw_start_kernel_sizes=[[0], [0, 0]],
        stackwise_dw_end_kernel_sizes=[[0], [0, 0]],
        stackwise_exp_kernel_sizes=[[3], [0, 0]],
        stackwise_pw_kernel_sizes=[[1], [0, 0]],
        stackwise_num_heads=[[0], [0, 4]],
        stackwise_key_dims=[[0], [0, 8]],
        stackwise_value_dims=[[0], [0, 8]],
        stackwise_kv_strides=[[0], [0, 1]],
        stackwise_use_cpe=[[False], [False, False]],
        use_msfa=False,
        num_features=32,
        image_shape=_IMAGE,
    )


def depth_anything() -> keras.Model:
    """Returns a Depth Anything, on a DINOv2."""
    encoder = models.DINOV2Backbone(
        patch_size=8,
        num_layers=4,
        hidden_dim=16,
        num_heads=2,
        intermediate_dim=32,
        image_shape=(64, 64, 3),
        position_embedding_shape=(64, 64, 3),
        apply_layernorm=True,
    )
    return models.DepthAnythingBackbone(
        image_encoder=encoder,
        reassemble_factors=[4, 2, 1, 0.5],
        neck_hidden_dims=[8, 8, 16, 16],
        fusion_hidden_dim=16,
        head_hidden_dim=8,
        head_in_index=-1,
        feature_keys=["stage1", "stage2", "stage3", "stage4"],
    )


def cspnet() -> keras.Model:
    """Returns a CSPNet."""
    return models.CSPNetBackbone(
        stem_filters=8,
        stem_kernel_size=3,
        stem_strides=1,
        stackwise_depth=[1, 2],
        stackwise_strides=[1, 2],
        stackwise_num_filters=[8, 16],
        block_type="dark_block",
        stage_type="csp",
        bottle_ratio=[1.0],
        block_ratio=[1.0],
        expand_ratio=[2.0],
        down_growth=True,
        image_shape=_IMAGE,
    )


def densenet() -> keras.Model:
    """Returns a DenseNet."""
    return models.DenseNetBackbone(stackwise_num_repeats=[1, 1], growth_rate=8, image_shape=_IMAGE)


def resnet() -> keras.Model:
    """Returns a ResNet."""
    return models.ResNetBackbone(
        input_conv_filters=[8],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="bottleneck_block",
        image_shape=_IMAGE,
    )


def efficientnet() -> keras.Model:
    """Returns an EfficientNet."""
    return models.EfficientNetBackbone(
        stackwise_width_coefficients=[1.0] * 3,
        stackwise_depth_coefficients=[1.0] * 3,
        stackwise_kernel_sizes=[3] * 3,
        stackwise_num_repeats=[1] * 3,
        stackwise_input_filters=[8, 8, 16],
        stackwise_output_filters=[8, 16, 16],
        stackwise_expansion_ratios=[1, 2, 2],
        stackwise_squeeze_and_excite_ratios=[0.0, 0.0, 0.25],
        stackwise_strides=[1, 2, 1],
        stackwise_block_types=["fused", "unfused", "unfused"],
        stackwise_force_input_filters=[0] * 3,
        stackwise_nores_option=[False] * 3,
        num_features=32,
        input_shape=_IMAGE,
    )


def vgg() -> keras.Model:
    """Returns a VGG."""
    return models.VGGBackbone(stackwise_num_repeats=[1, 1], stackwise_num_filters=[8, 16], image_shape=_IMAGE)


def xception() -> keras.Model:
    """Returns an Xception."""
    return models.XceptionBackbone(
        stackwise_conv_filters=[[8, 16], [16, 16]], stackwise_pooling=[True, False], image_shape=_IMAGE
    )


def video_prism() -> keras.Model:
    """Returns a VideoPrism, with attention over patches, then over frames."""
    return models.VideoPrismBackbone(
        num_frames=2,
        patch_size=8,
        hidden_dim=32,
        intermediate_dim=48,
        num_heads=4,
        num_spatial_layers=1,
        num_temporal_layers=1,
        num_auxiliary_layers=0,
        image_shape=_IMAGE,
    )


def parseq() -> keras.Model:
    """Returns a PARSeq, which reads text in images."""
    return models.PARSeqBackbone(
        image_encoder=vit(),
        vocabulary_size=20,
        max_label_length=6,
        decoder_hidden_dim=32,
        num_decoder_layers=1,
        num_decoder_heads=4,
        decoder_mlp_dim=48,
    )


def retinanet() -> keras.Model:
    """Returns a RetinaNet's feature pyramid."""
    return models.RetinaNetBackbone(image_encoder=resnet(), min_level=2, max_level=4, use_p5=False, image_shape=_IMAGE)


def deeplab_v3() -> keras.Model:
    """Returns a DeepLabV3."""
    return models.DeepLabV3Backbone(
        image_encoder=resnet(),
        spatial_pyramid_pooling_key="P3",
        upsampling_size=2,
        dilation_rates=[2, 4],
        low_level_feature_key="P2",
        projection_filters=8,
        image_shape=_IMAGE,
    )


MODELS: dict[str, Callable[[], Any]] = {
    each.__name__: each
    for each in (
        *(vit, deit, dinov2, dinov2_gated, dinov3, swin_transformer, mit, segformer, vit_det, sam, siglip, clip),
        *(whisper, moonshine, hgnetv2, mobilenet, mobilenetv5, depth_anything, cspnet, densenet, resnet, efficientnet),
        *(vgg, xception, video_prism, parseq, retinanet, deeplab_v3),
    )
}
