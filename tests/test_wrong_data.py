"""Data and weights that cannot be used are refused in one line by all functions, before TensorFlow sees them."""

import re
from functools import partial
from itertools import repeat

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfprune
from tests import messages
from tfprune.criteria import weight_criterion
from tfprune.errors import ConfigError
from tfprune.landscape import curvature, measure, section
from tfprune.pruning import PruningHistory, recalibrate_batch_norm
from tfprune.recipes.training import evaluate, predict_logits

message = partial(messages.message, kind=ConfigError)

layers = keras.layers
RNG = np.random.default_rng(0)
X = RNG.random((12, 8, 8, 1), np.float32)
Y = RNG.integers(0, 3, 12)


def make_model():
    keras.utils.set_random_seed(0)
    stack = [layers.Conv2D(4, 3, name="conv"), layers.BatchNormalization(name="norm"), layers.ReLU()]
    stack += [layers.Conv2D(4, 3, name="second"), layers.GlobalAveragePooling2D(), layers.Dense(3, name="fc")]
    return keras.Sequential([keras.Input((8, 8, 1), name="image"), *stack], name="net")


def prune(model, **settings):
    return tfprune.prune_channels(model, "l2", density=0.5, **settings)


TAKES_LABELS = {
    "ekg.search": lambda model, data, path: tfprune.ekg.search(model, data, flops=0.6, progress=False).knowledge,
    "taylor": lambda model, data, path: tfprune.plan_channels(model, "taylor", density=0.5, data=data).mask,
    "ekg": lambda model, data, path: tfprune.plan_channels(model, "ekg", density=0.5, data=data).mask,
    "snip": lambda model, data, path: weight_criterion("snip")(model, 0.5, data)["conv/kernel"],
    "grasp": lambda model, data, path: weight_criterion("grasp")(model, 0.5, data)["conv/kernel"],
    "fisher": lambda model, data, path: weight_criterion("fisher")(model, 0.5, data)["conv/kernel"],
    "section": lambda model, data, path: section(model, data, points=3, directions=1, progress=False).losses,
    "curvature": lambda model, data, path: np.array(curvature(model, data, products=3, progress=False).loss),
    "measure": lambda model, data, path: measure(model, data, progress=False).section.losses,
    "evaluate": lambda model, data, path: np.array(evaluate(model, data)),
}
TAKES_INPUTS = {
    "dpp_node": lambda model, data, path: tfprune.plan_channels(model, "dpp_node", density=0.5, data=data).mask,
    "dpp_edge": lambda model, data, path: weight_criterion("dpp_edge")(model, 0.5, data)["conv/kernel"],
    "wanda": lambda model, data, path: weight_criterion("wanda")(model, 0.5, data)["conv/kernel"],
    "sparsegpt": lambda model, data, path: weight_criterion("sparsegpt").prune(model, 0.5, data)[0].weights[0].numpy(),
    "flap": lambda model, data, path: tfprune.plan_channels(model, "flap", density=0.5, data=data).mask,
    "recalibrate": lambda model, data, path: prune(model, recalibrate=data).get_layer("norm").moving_mean.numpy(),
    "reweight": lambda model, data, path: prune(model, reweight=data).get_layer("second").kernel.numpy(),
    "apply": lambda model, data, path: (
        tfprune.plan_channels(model, density=0.5).apply(reweight=data).weights[0].numpy()
    ),
    "export": lambda model, data, path: tfprune.export(
        model, path / "m.tflite", quantize="int8", data=data
    ).read_bytes(),
    "recalibrate_batch_norm": lambda model, data, path: recalibrate_batch_norm(model, data),
    "predict_logits": lambda model, data, path: predict_logits(model, data),
}
ENTRIES = TAKES_LABELS | TAKES_INPUTS
READ_TO_AN_END = ENTRIES.keys() - {"ekg.search", "export"}  # these read some examples
READ_ONCE = {"ekg.search", "export", "evaluate", "predict_logits"}

NAN = X.copy()
NAN[7, 1, 2, 0] = np.nan
INPUTS = {
    "NaN": (NAN, "image: expected finite numbers, received 1 of "),
    "infinity": (np.full_like(X, np.inf), "finite numbers"),
    "beyond float32": (X.astype("float64") * 1e300, "beyond float32"),
    "objects": (np.array([None] * 12), "image: expected arrays|real numbers, .* object"),
    "objects of the shape": (X.astype(object), "real numbers, .* object"),
    "texts": (X.astype(str), "real numbers, .* type <U"),
    "complex": (X + 1j, "real numbers, .* complex"),
    "size": (
        X[:, :7],
        r"image: expected arrays of shape \[examples, 8, 8, 1\], received \[12, 7, 8, 1\]|\[\d+, 7, 8, 1\]",
    ),
    "rank": (X[:, 0, :, 0], r"image: expected arrays of shape \[examples, 8, 8, 1\], received \[\d+, 8\]"),
    "channels": (np.repeat(X, 3, -1), r"received \[\d+, 8, 8, 3\]"),
    "sparse": (tf.sparse.from_dense(X), "dense"),
    "two inputs": ([X, X], r"expected 1 inputs \(image\), received 2|one array each"),
    "none": (X[:0], "at least one"),
}


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("name", ENTRIES)
def test_inputs(name, kind, tmp_path):
    x, said = INPUTS[kind]
    labels = Y[: 0 if kind == "none" else 12]
    text = message(lambda: ENTRIES[name](make_model(), (x, labels), tmp_path))
    assert re.search(said, text), text


LABELS = {
    "out of range": (Y + 1, "labels: expected whole numbers from 0 to 2, received .*: 3; count from 0"),
    "negative": (Y - 1, "labels: expected whole numbers from 0 to 2, received"),
    "NaN": (Y * np.nan, "labels: expected finite numbers"),
    "length": (Y[:10], r"as many labels as inputs, received arrays of \[10, 12\] rows"),
    "texts": (Y.astype(str), "labels: expected real numbers|expected real numbers"),
    "missing": (None, "labels"),
}


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("name", TAKES_LABELS)
def test_labels(name, kind, tmp_path):
    y, said = LABELS[kind]
    text = message(lambda: TAKES_LABELS[name](make_model(), (X, y), tmp_path))
    assert re.search(said, text), text


def dataset():
    return tf.data.Dataset.from_tensor_slices((X, Y))


FORMS = {
    "single examples": (lambda: dataset(), "single examples|expected arrays of shape"),
    "late NaN": (lambda: [(X, Y), (NAN, Y)], r"\[7, 1, 2, 0\] of batch 2: nan|\[19, 1, 2, 0\]: nan"),
    "number": (lambda: 7, "received int"),
    "path": (lambda: "data.npz", "received str"),
    "class": (lambda: np.ndarray, "received type"),
    "no batches": (lambda: [], "at least one"),
}


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("name", ENTRIES)
def test_forms(name, kind, tmp_path):
    make, said = FORMS[kind]
    text = message(lambda: ENTRIES[name](make_model(), make(), tmp_path))
    assert re.search(said, text), text


@pytest.mark.parametrize("name", sorted(READ_TO_AN_END))
def test_data_without_end(name, tmp_path):
    assert "repeats for ever" in message(lambda: ENTRIES[name](make_model(), dataset().batch(4).repeat(), tmp_path))
    if name not in READ_ONCE:
        endless = repeat((X, Y))
        assert "only once and may be endless" in message(lambda: ENTRIES[name](make_model(), endless, tmp_path))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", sorted(ENTRIES.keys() - {"recalibrate_batch_norm", "evaluate", "predict_logits"}))
def test_weights(name, value, tmp_path):
    model = make_model()
    kernel = model.get_layer("conv").kernel.numpy()
    kernel[1, 2, 0, 3] = value
    model.get_layer("conv").kernel.assign(kernel)
    text = message(lambda: ENTRIES[name](model, (X, Y), tmp_path))
    assert text.startswith("the weight net/conv/kernel of net: expected finite numbers, received 1 of 36 that ")
    assert f"the first at [1, 2, 0, 3]: {value}" in text


def diverged(small, step):
    small.get_layer("fc").bias.assign([0, np.nan, 0])


def test_weights_where_no_data_are_needed(tmp_path):
    model, good = make_model(), make_model()
    model.get_layer("norm").moving_mean.assign([0, np.inf, 0, 0])
    plan = tfprune.plan_channels(good, density=0.5)
    for call in (
        lambda: tfprune.plan_channels(model, "l2", density=0.5),
        lambda: tfprune.plan_channels(model, "random", density=0.5),
        lambda: prune(model),
        lambda: prune(good, steps=2, between=diverged),
        lambda: plan.apply(model),
        lambda: PruningHistory([plan]).replay(model),
        lambda: weight_criterion("magnitude")(model, 0.5),
        lambda: weight_criterion("lottery").weight_scores(model),
        *(
            lambda end=end: tfprune.export(model, tmp_path / f"m{end}")
            for end in (".keras", ".tflite", ".onnx", ".mpt", "")
        ),
    ):
        assert message(call).startswith("the weight ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", sorted(ENTRIES.keys() - {"measure", "curvature"}))
def test_an_axis_of_size_1_may_be_missing_and_integers_are_numbers(name, tmp_path):
    whole = np.round(X * 9)
    wanted = ENTRIES[name](make_model(), (whole, Y), tmp_path)
    for data in ((whole[..., 0], Y), (whole.astype(np.uint8), Y[:, None]), (whole[..., None], Y)):
        found = ENTRIES[name](make_model(), data, tmp_path)
        if name == "export":
            assert len(found) == len(wanted)
        else:
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
