"""Causal models of KerasHub generate, after pruning, what the whole model generates with zeros in place of channels."""

import warnings

import keras
import numpy as np
import pytest

import tfprune
from tfprune.graph import ModelClassWarning, channel_groups, slim

keras_hub = pytest.importorskip("keras_hub", reason="keras-hub is not installed")

SIZES = {"vocabulary_size": 50, "num_layers": 3, "hidden_dim": 16, "intermediate_dim": 24}
GROUPED = {"num_query_heads": 4, "num_key_value_heads": 2}
MODELS = {
    "GPT2": {"num_heads": 2, "max_sequence_length": 32},
    "Llama": GROUPED,
    "Mistral": {**GROUPED, "sliding_window": 8},
    "Gemma": {**GROUPED, "head_dim": 6, "intermediate_dim": 48},
    "Qwen": GROUPED,
    "Phi3": GROUPED,
}
QUICK = ("GPT2", "Llama", "Gemma")
PROMPT = {
    "token_ids": np.random.default_rng(1).integers(1, 50, (2, 12)),
    "padding_mask": np.array([[1] * 5 + [0] * 7, [1] * 3 + [0] * 9]),
}


def causal_model(name, **changes):
    backbone = getattr(keras_hub.models, f"{name}Backbone")(**{**SIZES, **MODELS[name], **changes})
    model = getattr(keras_hub.models, f"{name}CausalLM")(backbone, preprocessor=None)
    model.compile(sampler="greedy")
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if keras.backend.is_float_dtype(weight.dtype):
            weight.assign(rng.normal(0, 0.5, weight.shape))
    return model


def generated(model):
    prompt = {name: value.copy() for name, value in PROMPT.items()}
    return np.asarray(model.generate(prompt, stop_token_ids=None)["token_ids"])


def is_mlp(name):
    return any(word in name for word in ("feedforward", "ff", "mlp"))


def pruned(model, chosen, uneven=False):
    """Returns the model without every second channel of some groups, of the second group without every fourth."""
    groups = channel_groups(model)
    mask = np.ones(groups.channels, bool)
    meant = [group for group in groups if chosen(group.name)]
    assert len(meant) == 3, "one for each block"
    for index, group in enumerate(meant):
        mask[group.channels][1 :: 4 if uneven and index == 1 else 2] = False
    return slim(model, mask, groups)


def kernels(block):
    """Returns the kernels of the two sides of a block's MLP: what makes channels, and what reads them."""
    held = {layer.name: layer for layer in block._flatten_layers() if hasattr(layer, "kernel")}
    dense = [layer for name, layer in held.items() if is_mlp(name)]
    reader = next(layer for layer in dense if layer.kernel.shape[-1] == 16)
    maker = next(layer for layer in dense if layer is not reader)
    return maker.kernel, reader.kernel


def with_zeros(whole, maker, reader, small, axis=0):
    """Sets what reads channels that a small kernel lacks to zero.

    Args:
        whole: The kernel that makes all channels.
        maker: The axis of it that runs over channels.
        reader: The kernel that reads them.
        small: The kernel that makes those that are left.
        axis: The axis of the reader that runs over channels.
    """
    left = np.moveaxis(np.asarray(small), maker, 0)
    gone = [not any(np.array_equal(each, other) for other in left) for each in np.moveaxis(np.asarray(whole), maker, 0)]
    assert 0 < sum(gone) < len(gone)
    value = np.asarray(reader).copy()
    np.moveaxis(value, axis, 0)[gone] = 0
    reader.assign(value)


def blocks(model):
    return [layer for layer in model.backbone.layers if "block" in layer.name or "transformer_layer" in layer.name]


def heavy(names, quick=QUICK):
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("uneven", [False, True], ids=["equal widths", "different widths"])
@pytest.mark.parametrize("name", heavy(MODELS))
def test_without_channels_of_the_mlp_it_generates_the_same(name, uneven):
    model = causal_model(name)
    first = generated(model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ModelClassWarning)
        small = pruned(model, is_mlp, uneven)
    lost = [each for each in caught if each.category is ModelClassWarning]
    assert bool(lost) == uneven
    assert isinstance(small, type(model))
    assert (type(small) is type(model)) == (not uneven)
    assert small.sampler is not None
    for old, new in zip(blocks(model), blocks(small), strict=True):
        maker, reader = kernels(old)
        with_zeros(maker, -1, reader, kernels(new)[0])
    expected = generated(model)
    assert not np.array_equal(expected, first), "the channels matter"
    np.testing.assert_array_equal(generated(small), expected)
    held = getattr(small.backbone, "transformer_layers", None) or blocks(small)
    assert [id(layer) for layer in held] == [id(layer) for layer in blocks(small)]
    if uneven:
        with pytest.raises(AttributeError, match="intermediate_dim of"):
            small.backbone.intermediate_dim  # noqa: B018
    else:
        assert small.backbone.intermediate_dim == model.backbone.intermediate_dim // 2


@pytest.mark.parametrize("name", ["Gemma"])
def test_without_heads_it_generates_the_same(name):
    model = causal_model(name)
    first = generated(model)
    small = pruned(model, lambda group: group.endswith(("query.n", "query.u", "query.heads")))
    assert type(small) is type(model)
    assert (small.backbone.num_query_heads, small.backbone.num_key_value_heads) == (2, 2)

    def attention(block):
        held = {layer.name: layer for layer in block._flatten_layers()}
        return held["query"].kernel, held["attention_output"].kernel

    for old, new in zip(blocks(model), blocks(small), strict=True):
        (query, output), (left, _) = attention(old), attention(new)
        axis = next(axis for axis, size in enumerate(query.shape) if size == 4)
        with_zeros(query, axis, output, left)
    expected = generated(model)
    assert not np.array_equal(expected, first)
    np.testing.assert_array_equal(generated(small), expected)


def test_a_width_that_the_class_computes_with_is_refused_where_text_is_generated():
    model = causal_model("Gemma")
    groups = channel_groups(model)
    (hidden,) = (group for group in groups if "token_embedding" in group.name)
    mask = np.ones(groups.channels, bool)
    mask[hidden.channels][1::2] = False
    with pytest.warns(ModelClassWarning):
        small = slim(model, mask, groups)
    assert small(PROMPT).shape == (2, 12, 50)
    with pytest.raises(AttributeError, match="hidden_dim of gemma_backbone"):
        generated(small)


@pytest.mark.parametrize("name", ["GPT2", "Llama"])
def test_presets_and_files_hold_the_small_model(name, tmp_path):
    model = causal_model(name)
    small = tfprune.prune_channels(model, "l2", params=0.85, scope="local")
    assert type(small) is type(model)
    small.save_to_preset(tmp_path / "preset")
    again = keras_hub.models.CausalLM.from_preset(str(tmp_path / "preset"), preprocessor=None)
    again.compile(sampler="greedy")
    assert type(again) is type(model)
    np.testing.assert_array_equal(generated(again), generated(small))
    small.save(tmp_path / "small.keras")
    loaded = keras.models.load_model(tmp_path / "small.keras", compile=False)
    assert type(loaded) is type(model)
    np.testing.assert_allclose(loaded(PROMPT), small(PROMPT), rtol=1e-5, atol=1e-5)


def test_blocks_are_dropped_from_the_cache_too():
    model = causal_model("GPT2")
    plan = tfprune.plan_channels(model, "l2", depth=0.6, depth_criterion="cosine", data=PROMPT)
    (gone,) = plan.dropped
    small = plan.apply()
    assert type(small) is type(model)
    assert small.backbone.num_layers == 2
    index = int(gone.rpartition("_")[2])
    whole = model.backbone.transformer_layers[index]
    for layer in (whole._feedforward_output_dense, whole._self_attention_layer._output_dense):
        layer.kernel.assign(np.zeros(layer.kernel.shape))
        layer.bias.assign(np.zeros(layer.bias.shape))
    np.testing.assert_array_equal(generated(small), generated(model))


def test_what_cannot_be_loaded_is_said_at_once(tmp_path):
    with pytest.warns(ModelClassWarning) as caught:
        small = pruned(causal_model("Llama"), is_mlp, uneven=True)
    (text,) = {str(each.message) for each in caught if each.category is ModelClassWarning}
    assert "Keras cannot load token_embedding from it" in text
    assert "\n" not in text
    small.save(tmp_path / "small.keras")


def test_a_classifier_keeps_its_class_and_preprocessor(tmp_path):
    words = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", *"abcdefgh"]
    tokenizer = keras_hub.models.BertTokenizer(vocabulary=words)
    preprocessor = keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=8)
    sizes = {**SIZES, "vocabulary_size": len(words), "max_sequence_length": 8, "num_heads": 2}
    backbone = keras_hub.models.BertBackbone(**sizes)
    model = keras_hub.models.BertTextClassifier(backbone, num_classes=3, preprocessor=preprocessor)
    plan = tfprune.plan_channels(model, "l2", params=0.8, scope="local", keep_classes=True, ignore="*pooled_dense")
    with warnings.catch_warnings():
        warnings.simplefilter("error", ModelClassWarning)
        small = plan.apply()
    assert type(small) is type(model)
    assert type(small.backbone) is type(backbone)
    assert type(small.preprocessor) is type(preprocessor)
    assert small.backbone.intermediate_dim < 24
    answers = small.predict(["a b c", "d e"], verbose=0)
    assert answers.shape == (2, 3)
    small.save_to_preset(tmp_path / "preset")
    again = keras_hub.models.TextClassifier.from_preset(str(tmp_path / "preset"))
    np.testing.assert_allclose(again.predict(["a b c", "d e"], verbose=0), answers, rtol=1e-5, atol=1e-6)
