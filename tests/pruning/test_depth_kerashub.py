"""Transformers of KerasHub that lose layers: what is left is the other layers in their order."""

import keras
import numpy as np
import pytest

from tfprune.graph import residual_blocks, without_blocks
from tfprune.pruning import plan_channels
from tfprune.pruning.depth import in_its_class

hub = pytest.importorskip("keras_hub")
TEXT = {"vocabulary_size": 30, "num_layers": 4, "hidden_dim": 8, "intermediate_dim": 12}
HEADS = {**TEXT, "num_heads": 2, "max_sequence_length": 6}
GROUPED = {**TEXT, "num_query_heads": 2, "num_key_value_heads": 1}
RNG = np.random.default_rng(0)
TOKENS = {
    "token_ids": RNG.integers(0, 30, (3, 6)),
    "padding_mask": np.array([[1] * 6, [1] * 4 + [0] * 2, [1] * 5 + [0]]),
}
SEGMENTS = {"segment_ids": np.array([[0, 0, 0, 1, 1, 1]] * 3)}
PAIRS = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in TOKENS.items()}

pytestmark = pytest.mark.filterwarnings("ignore::tfprune.graph.ModelClassWarning", "ignore::UserWarning:keras")


def randomized(model):
    """Gives weights values at random: zeros and ones of a new model would hide what it does."""
    rng = np.random.default_rng(1)
    for variable in model.variables:
        if keras.backend.is_float_dtype(variable.dtype):
            variable.assign(np.asarray(variable) + rng.normal(0, 0.3, variable.shape))
    return model


def without(model, *numbers):
    """Leaves blocks out, by their numbers; the class makes the copy if its settings can say how many there are."""
    every = residual_blocks(model)
    blocks = [every[number] for number in numbers]
    return in_its_class(model, without_blocks(model, blocks), [block.name for block in blocks])


def close(one, other):
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_bert():
    model = randomized(hub.models.BertBackbone(**HEADS))
    assert [block.name for block in residual_blocks(model)] == [f"transformer_layer_{number}" for number in range(4)]
    small = without(model, 0, 2)
    data = TOKENS | SEGMENTS
    x = model.token_embedding(data["token_ids"])
    x = x + model.get_layer("position_embedding")(x) + model.get_layer("segment_embedding")(data["segment_ids"])
    x = model.get_layer("embeddings_layer_norm")(x)
    for number in (1, 3):
        x = model.transformer_layers[number](x, padding_mask=data["padding_mask"])
    found = small(data)
    close(found["sequence_output"], x)
    close(found["pooled_output"], model.pooled_dense(x[:, 0]))
    assert (type(small), small.num_layers, len(small.transformer_layers)) == (type(model), 2, 2)
    assert small.count_params() == model.count_params() - 2 * model.transformer_layers[0].count_params()


@pytest.mark.parametrize(
    ("name", "settings", "mask", "last"),
    [
        ("GPT2", HEADS, "decoder_padding_mask", "layer_norm"),
        ("Llama", GROUPED, "decoder_padding_mask", "sequence_output_layernorm"),
        ("Gemma", {**GROUPED, "head_dim": 4}, "padding_mask", "final_normalization"),
    ],
)
def test_decoders(name, settings, mask, last):
    """The norm at the end, of the width of the blocks, is none; positions that are added to tokens neither."""
    model = randomized(getattr(hub.models, f"{name}Backbone")(**settings))
    assert [block.name for block in residual_blocks(model)] == [layer.name for layer in model.transformer_layers]
    small = without(model, 1, 2)
    first, *_, fourth = model.transformer_layers
    x = keras.Model(model.inputs, first.input if isinstance(first.input, keras.KerasTensor) else first.input[0])(TOKENS)
    for layer in (first, fourth):
        x = layer(x, **{mask: TOKENS["padding_mask"]})
    close(small(TOKENS), model.get_layer(last)(x))


def test_encoders_and_decoders():
    model = randomized(hub.models.BartBackbone(**HEADS | {"num_layers": 2}))
    names = [f"transformer_{side}_layer_{number}" for side in ("encoder", "decoder") for number in range(2)]
    assert [block.name for block in residual_blocks(model)] == names
    small = without(model, 1, 2)
    encoder, decoder = (
        keras.Model(model.inputs, model.get_layer(f"{side}_embeddings_dropout").output)(PAIRS)
        for side in ("encoder", "decoder")
    )
    masks = {f"{side}_padding_mask": TOKENS["padding_mask"] for side in ("encoder", "decoder")}
    encoded = model.get_layer("transformer_encoder_layer_0")(encoder, padding_mask=TOKENS["padding_mask"])
    decoded = model.get_layer("transformer_decoder_layer_1")(decoder, encoded, **masks)
    found = small(PAIRS)
    close(found["encoder_sequence_output"], encoded)
    close(found["decoder_sequence_output"], decoded)


def test_the_first_layers_of_t5_make_the_position_biases_of_all():
    model = randomized(hub.models.T5Backbone(**{**TEXT, "num_heads": 2, "num_layers": 3}))
    names = [f"transformer_{side}_layer_{number}" for side in ("encoder", "decoder") for number in (1, 2)]
    assert [block.name for block in residual_blocks(model)] == names
    small = without(model, 0)
    mask = TOKENS["padding_mask"]
    x = model.token_embedding(PAIRS["encoder_token_ids"])
    x, bias = model.encoder_transformer_layers[0](x, attention_mask=mask[:, None], use_causal_mask=False)
    x, _ = model.encoder_transformer_layers[2](
        x, attention_mask=mask[:, None], position_bias=bias, use_causal_mask=False
    )
    close(small(PAIRS)["encoder_sequence_output"], model.encoder_layer_norm(x))


def test_vision_transformers():
    """Their blocks are in one layer, which becomes a functional model."""
    settings = {"num_layers": 3, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 12}
    model = randomized(hub.models.ViTBackbone(image_shape=(8, 8, 3), patch_size=4, **settings))
    encoder = model.get_layer("vit_encoder")
    blocks = residual_blocks(model)
    assert [block.name for block in blocks] == [f"vit_encoder/transformer_block_{number}" for number in (1, 2, 3)]
    small = without_blocks(model, blocks[1:2])
    images = RNG.normal(size=(2, 8, 8, 3)).astype(np.float32)
    x = model.layers[1](images)
    for number in (0, 2):
        x = encoder.encoder_layers[number](x)
    close(small(images), encoder.layer_norm(x))


def test_residual_networks():
    model = randomized(
        hub.models.ResNetBackbone(
            input_conv_filters=[64],
            input_conv_kernel_sizes=[3],
            stackwise_num_filters=[64, 8],
            stackwise_num_blocks=[2, 2],
            stackwise_num_strides=[1, 2],
            block_type="basic_block",
            image_shape=(16, 16, 3),
        )
    )
    blocks = residual_blocks(model)
    gone = blocks[0]
    images = RNG.normal(size=(2, 16, 16, 3)).astype(np.float32)
    reference = keras.models.clone_model(model)
    reference.set_weights(model.get_weights())
    norm = next(name for name in reversed(gone.layers) if "bn" in name or "norm" in name)
    for weight in reference.get_layer(norm).trainable_weights:
        weight.assign(np.zeros(weight.shape))
    close(without(model, 0)(images), reference(images))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("Llama", GROUPED),
        ("T5", {**TEXT, "num_heads": 2, "num_layers": 3}),
        (
            "ViT",
            {"image_shape": (8, 8, 3), "patch_size": 4, "num_layers": 4, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 9},
        ),
    ],
)
def test_classes_files_and_training(name, settings, tmp_path):
    """The copy is of the class, with fewer layers, also where Keras could not load its layers one by one."""
    model = randomized(getattr(hub.models, f"{name}Backbone")(**settings))
    data = RNG.normal(size=(2, 8, 8, 3)).astype(np.float32) if name == "ViT" else PAIRS if name == "T5" else TOKENS
    blocks = residual_blocks(model)
    copied = without_blocks(model, [blocks[0], blocks[-1]])
    small = without(model, 0, -1)
    assert type(small) is type(model)
    assert small.num_layers == model.num_layers - (1 if name == "T5" else 2)
    for one, other in zip(*(keras.tree.flatten(each(data)) for each in (small, copied)), strict=True):
        close(one, other)
    small.compile("sgd", "mse")
    small.fit(data, keras.tree.map_structure(np.zeros_like, small(data)), verbose=0)
    small.save(tmp_path / "small.keras")
    again = keras.saving.load_model(tmp_path / "small.keras")
    assert type(again) is type(model)
    for one, other in zip(*(keras.tree.flatten(each(data)) for each in (small, again)), strict=True):
        close(one, other)


def test_text_is_generated_with_fewer_layers():
    model = randomized(hub.models.GPT2CausalLM(hub.models.GPT2Backbone(**HEADS), preprocessor=None))
    small = without(model, 0, 2)
    reference = hub.models.GPT2CausalLM(hub.models.GPT2Backbone(**HEADS | {"num_layers": 2}), preprocessor=None)
    kept = [
        layer for layer in model.backbone.layers if layer.name not in ("transformer_layer_0", "transformer_layer_2")
    ]
    for one, other in zip(kept, reference.backbone.layers, strict=True):
        other.set_weights(one.get_weights())
    prompt = {"token_ids": np.array([[3, 4, 0, 0, 0, 0]]), "padding_mask": np.array([[1, 1, 0, 0, 0, 0]])}
    found = []
    for each in (small, reference):
        each.compile(sampler="greedy")
        found.append(each.generate(dict(prompt), stop_token_ids=None)["token_ids"])
    np.testing.assert_array_equal(*found)


def test_tasks():
    """The layers of a backbone within a task, and those of a task's head that are no blocks."""
    backbone = hub.models.BertBackbone(**HEADS)
    model = randomized(hub.models.BertTextClassifier(backbone, num_classes=3))
    assert [block.name for block in residual_blocks(model)] == [
        f"{backbone.name}/transformer_layer_{number}" for number in range(4)
    ]
    plan = plan_channels(model, depth=0.5, data=TOKENS | SEGMENTS)
    small = plan.apply()
    reference = hub.models.BertBackbone(**HEADS | {"num_layers": 2})
    kept = [layer for layer, block in zip(backbone.transformer_layers, plan.depth.blocks, strict=True) if block.keep]
    for one, other in zip(kept, reference.transformer_layers, strict=True):
        other.set_weights(one.get_weights())
    for layer in reference.layers:
        if "transformer_layer" not in layer.name:
            layer.set_weights(backbone.get_layer(layer.name).get_weights())
    head = hub.models.BertTextClassifier(reference, num_classes=3)
    for name in ("logits",):
        head.get_layer(name).set_weights(model.get_layer(name).get_weights())
    close(small(TOKENS | SEGMENTS), head(TOKENS | SEGMENTS))
