"""KerasHub's text backbones, pruned: the result equals the masked model, and Keras loads its file."""

import keras
import numpy as np
import pytest

from benchmarks.hub_models import TEXT_MODELS
from tests.graph.agreement import with_zeros
from tfprune.errors import UnsupportedLayerError
from tfprune.graph import channel_groups, slim
from tfprune.graph.labels import PINNED, kept_positions, weight_at
from tfprune.graph.masked import masked

pytest.importorskip("keras_hub", reason="KerasHub is not installed")

FAST = ("BertBackbone", "LlamaBackbone", "GemmaBackbone")
CLOSED = {
    "XLNetBackbone": "its code cannot be read on symbolic tensors",
    "Gemma4Backbone": "its code reads kernels of layers within it",
}
"""Backbones of which nothing can be pruned yet, and why."""

REFUSED = {"Gemma3nBackbone": "KerasHub's layers do not make it again from its configuration"}
UNREADABLE = ("DebertaV3Backbone", "RWKV7Backbone")
"""Backbones whose pruned form Keras saves, but cannot load."""


def inputs_of(model, sizes=None, seed=0):
    rng = np.random.default_rng(seed)
    shapes = sizes or [(2, *(size or 8 for size in tensor.shape[1:])) for tensor in model.inputs]
    values = {}
    for tensor, shape in zip(model.inputs, shapes, strict=True):
        if keras.backend.is_float_dtype(tensor.dtype):
            values[tensor.name] = rng.normal(size=shape).astype(np.float32)
        elif "mask" in tensor.name:
            values[tensor.name] = np.ones(shape, np.int32)
        else:
            values[tensor.name] = rng.integers(0, 2 if "segment" in tensor.name else 50, shape)
    return values if isinstance(model.input, dict) else next(iter(values.values()))


def spread(model):
    """Gives weights random values near their own, so that none is zero."""
    rng = np.random.default_rng(1)
    for weight in model.weights:
        if keras.backend.is_float_dtype(weight.dtype):
            weight.assign(np.asarray(weight) + rng.normal(0, 0.1, weight.shape))


def random_mask(groups, kept=0.6):
    mask = np.random.default_rng(2).random(groups.channels) < kept
    for group in groups:
        mask[group.start + group.size - 1] = False
        mask[group.start] = True
    return mask


def planned_parameters(model, mask, groups):
    """Counts what remains of each weight from the axes that run over channels."""
    kept = {}
    for each in groups.by_layer.values():
        for slot in each.slots:
            axes = kept.setdefault(id(weight_at(each.layer, slot.weight)), {})
            axes[slot.axis] = int(kept_positions(slot.channels, mask).sum())
    total = 0
    for weight in model.weights:
        sizes = dict(enumerate(weight.shape, start=-len(weight.shape))) | kept.get(id(weight), {})
        total += int(np.prod(list(sizes.values()), dtype=int))
    return total


def normalized_channels(groups):
    """Returns the channels with a weight of their own in some layer: those that normalizations see."""
    vectors = [slot.channels for each in groups.by_layer.values() for slot in each.slots if slot.role == "pass"]
    return np.unique(np.concatenate([*vectors, [PINNED]]))


def check_close(found, expected, tolerance=1e-5):
    for one, other in zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True):
        other = np.asarray(other)
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * np.abs(other).max())


def test_heads_and_the_mlp_of_encoders_are_groups():
    groups = channel_groups(TEXT_MODELS["BertBackbone"]())
    assert groups.graph.sizes is None, "no part of it needs to know them"
    block = "transformer_layer_0/self_attention_layer"
    assert [group.name for group in groups][:4] == [
        *(f"{block}.heads", f"{block}.keys", f"{block}.values", "transformer_layer_0/feedforward_intermediate_dense"),
    ]


@pytest.mark.filterwarnings("ignore::UserWarning")  # of classes that are lost, and Keras' own on KerasHub's layers
@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in TEXT_MODELS]
)
def test_pruned_backbones_compute_what_remains(name, tmp_path):
    model = TEXT_MODELS[name]()
    spread(model)
    groups = channel_groups(model)
    if name in REFUSED:
        with pytest.raises(UnsupportedLayerError, match="expected layers that"):
            slim(model, random_mask(groups), groups)
        return
    if name in CLOSED:
        assert len(groups) == 0, f"{name} can be pruned now: take it off the list"
        pytest.skip(CLOSED[name])
    mask = random_mask(groups)
    small = slim(model, mask, groups)
    x = inputs_of(model, groups.graph.sizes)
    whole = [np.asarray(each) for each in keras.tree.flatten(model(x))]
    result = small(x)
    assert max(np.abs(one - two).max() for one, two in zip(whole, keras.tree.flatten(result), strict=True)) > 1e-2
    assert small.count_params() == planned_parameters(model, mask, groups) < model.count_params()
    if name != "RWKV7Backbone":  # its time mixing runs at no size of examples on symbolic tensors
        check_close(result, masked(model, mask, groups)(x))
    if name not in UNREADABLE:
        small.save(tmp_path / "small.keras")
        check_close(keras.models.load_model(tmp_path / "small.keras")(x), result)
    other = inputs_of(model, [(3, *shape[1:]) for shape in groups.graph.sizes or []] or None, seed=3)
    seen = normalized_channels(groups)
    mask[seen[seen != PINNED]] = True
    small = slim(model, mask, groups)(other)
    check_close(small, with_zeros(model, mask, groups)(other))
