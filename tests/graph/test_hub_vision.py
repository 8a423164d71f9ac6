"""KerasHub's backbones for images and sound: what can be pruned, and that the smaller models compute the same."""

import importlib

import keras
import numpy as np
import pytest

from tfprune.graph import channel_groups, slim
from tfprune.graph.cost import CostModel
from tfprune.graph.masked import masked

pytest.importorskip("keras_hub", reason="the backbones are KerasHub's")
hub = pytest.importorskip("benchmarks.hub_vision_models")

MLPS, HEADS, WIDTH = "mlp", "heads", "width"
EXPECTED = {
    "vit": {MLPS, HEADS},
    "swin_transformer": {MLPS, HEADS, WIDTH},
    "mit": {MLPS, HEADS, WIDTH},
    "vit_det": {MLPS, HEADS, WIDTH},
    "sam": {MLPS, HEADS, WIDTH},
    "dinov2": {MLPS, HEADS},
    "dinov3": {MLPS, HEADS},
    "clip": {MLPS, HEADS, WIDTH},
    "video_prism": {MLPS, HEADS},
    "hgnetv2": {WIDTH},
    "mobilenet": {WIDTH},
    "efficientnet": {WIDTH},
    "resnet": {WIDTH},
    "cspnet": {WIDTH},
    "retinanet": {WIDTH},
}
quick_gelu = importlib.import_module("keras_hub.src.models.clip.clip_layers").quick_gelu
FAST = ("mit", "vit_det")
PARTS = {
    MLPS: ("mlp", "fc1", "dense_1", "ffn", "gate_proj"),
    HEADS: ("attention", "attn", "mha", "pe/dense", "qkv"),
    WIDTH: ("conv", "embed", "projection"),
}


def kinds(groups):
    names = [group.name.split("/", 1)[-1] for group in groups]
    return {kind for kind, texts in PARTS.items() if any(text in name for name in names for text in texts)}


def draw(model, rng):
    for weight in model.weights:
        # DINOv2 does not save its table of positions, but the one that it is interpolated from.
        if keras.backend.is_float_dtype(weight.dtype) and "position_embeddings" not in weight.path:
            positive = any(part in weight.path for part in ("var", "gamma", "scale"))
            weight.assign(rng.uniform(0.5, 1.5, weight.shape) if positive else rng.normal(0, 0.15, weight.shape))


def inputs_of(model, sizes, rng, examples):
    values = {}
    for tensor, shape in zip(model.inputs, sizes, strict=True):
        shape = (examples, *shape[1:])
        whole = not keras.backend.is_float_dtype(tensor.dtype)
        values[tensor.name] = rng.integers(1, 4, shape) if whole else rng.normal(size=shape).astype(np.float32)
        if "mask" in tensor.name and whole:
            values[tensor.name] = np.ones(shape, int)
    return values if len(values) > 1 else next(iter(values.values()))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=() if each in FAST else pytest.mark.slow) for each in EXPECTED]
)
def test_backbones_are_pruned(name, tmp_path):
    keras.utils.set_random_seed(0)
    model = hub.MODELS[name]()
    rng = np.random.default_rng(0)
    draw(model, rng)
    groups = channel_groups(model)
    assert kinds(groups) >= EXPECTED[name]
    mask = rng.random(groups.channels) < 0.6
    for group in groups:
        mask[group.start] = True
    small = slim(model, mask, groups)
    sizes = groups.graph.sizes or [[size or 8 for size in tensor.shape] for tensor in model.inputs]
    x = inputs_of(model, sizes, rng, 2)
    result = keras.tree.flatten(small(x))
    reference = keras.tree.flatten(masked(model, mask, groups)(x))
    for one, other in zip(result, reference, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(other).max())
    changes = [np.abs(one - whole).max() for one, whole in zip(result, keras.tree.flatten(model(x)), strict=True)]
    assert max(changes) > 1e-3
    assert small.count_params() < model.count_params()
    more = inputs_of(model, sizes, rng, 3)
    expected = keras.tree.flatten(small(more))
    small.save(tmp_path / "small.keras")
    with keras.saving.custom_object_scope({"quick_gelu": quick_gelu}):  # KerasHub does not register it
        again = keras.tree.flatten(keras.models.load_model(tmp_path / "small.keras")(more))
    for one, other in zip(again, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    costs = CostModel(model, groups)
    removed = costs.totals(np.ones_like(mask))[0] - costs.totals(mask)[0]
    assert model.count_params() - small.count_params() == removed
