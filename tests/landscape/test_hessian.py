import keras
import numpy as np
import pytest

from tests.models import conv_chain, dense_chain
from tfprune.errors import ConfigError, UnsupportedLayerError
from tfprune.graph import convert
from tfprune.landscape import Curvature, UnconvergedWarning, curvature
from tfprune.landscape.hessian import _NotSymmetric, extreme_eigenvalues

layers = keras.layers
RNG = np.random.default_rng(0)
SPECTRA = {
    "indefinite": np.linspace(-3, 10, 40),
    "mostly down": np.linspace(-10, 3, 40),
    "a null space": np.maximum(np.linspace(-5, 10, 40), 0),
    "narrow": np.linspace(0.9, 1, 40),
    "one value": np.full(40, 2.0),
    "zero": np.zeros(40),
    "clustered": np.concatenate([[-0.5], np.full(38, 0.01), [100]]),
    "few weights": np.array([-1.0, 0.5, 4.0]),
}


def quadratic(spectrum):
    """A model, data and a loss whose Hessian has this spectrum: the mean of `y * (x @ w) ** 2`."""
    size = len(spectrum)
    vectors, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((size, size)))
    model = keras.Sequential([keras.Input((size,)), layers.Dense(1, use_bias=False)])
    x = (np.sqrt(size / 2) * vectors.T).astype(np.float32)
    return model, x, spectrum[:, None].astype(np.float32), lambda y, outputs: y * outputs**2


@pytest.mark.parametrize("name", SPECTRA)
def test_a_quadratic_with_a_known_spectrum(name):
    model, x, y, loss = quadratic(SPECTRA[name])
    found = curvature(model, (x, y), loss=loss, progress=False)
    size = np.abs(SPECTRA[name]).max()
    assert (found.smallest, found.largest) == pytest.approx((y.min(), y.max()), abs=2e-3 * size)
    assert found.converged
    assert found.residual <= 1e-3
    assert (found.weights, found.examples) == (len(x), len(x))
    assert found.loss == pytest.approx(np.mean(y * (x @ model.weights[0].numpy()) ** 2), rel=1e-4)
    expected = abs(y.min() / y.max()) if y.max() else np.nan
    assert found.ratio == pytest.approx(expected, abs=4e-3, nan_ok=True)


def test_batches_count_by_their_examples():
    model, x, y, loss = quadratic(SPECTRA["indefinite"])
    whole = curvature(model, (x, y), loss=loss, progress=False, dtype="float64", tolerance=1e-8)
    parts = [(x[:7], y[:7]), (x[7:30], y[7:30]), (x[30:], y[30:])]
    found = curvature(model, parts, loss=loss, progress=False, dtype="float64", tolerance=1e-8)
    assert (found.smallest, found.largest) == pytest.approx((-3, 10), rel=1e-6)
    assert (found.smallest, found.largest) == pytest.approx((whole.smallest, whole.largest), rel=1e-6)
    first = curvature(model, parts, loss=loss, progress=False, batches=1)
    assert first.examples == 7


# ------------------------------------------------------------ a tiny network, in NumPy


def network():
    keras.utils.set_random_seed(3)
    inputs = keras.Input((3,))
    x = layers.Dense(5, use_bias=False, name="first")(inputs)
    x = layers.Activation("tanh")(layers.BatchNormalization(name="norm")(x))
    model = keras.Model(inputs, layers.Dense(4, name="last")(layers.Dropout(0.5)(x)))
    model.get_layer("norm").set_weights([RNG.uniform(0.5, 1.5, 5), *RNG.standard_normal((2, 5)), np.full(5, 2.0)])
    return model


def numpy_loss(weights, batches, statistics):
    """The mean cross-entropy of `network` at flat weights; `statistics` gives mean and variance of a batch."""
    kernel, gamma, beta, last, bias = np.split(weights, np.cumsum([15, 5, 5, 20]))
    total = 0.0
    for x, y in batches:
        hidden = x @ kernel.reshape(3, 5)
        mean, variance = statistics(hidden)
        hidden = np.tanh(gamma * (hidden - mean) / np.sqrt(variance + 1e-3) + beta)
        logits = hidden @ last.reshape(5, 4) + bias
        total += (np.log(np.exp(logits).sum(1)) - logits[np.arange(len(y)), y]).sum()
    return total / sum(len(y) for _, y in batches)


def dense_hessian(function, weights, step=1e-4):
    """The Hessian by central differences of the function itself."""
    size = len(weights)
    moves = step * np.eye(size)
    hessian = np.empty((size, size))
    for i in range(size):
        for j in range(i, size):
            a, b = moves[i], moves[j]
            corners = function(weights + a + b) - function(weights + a - b)
            corners += function(weights - a - b) - function(weights - a + b)
            hessian[i, j] = hessian[j, i] = corners / (4 * step**2)
    return hessian


@pytest.mark.parametrize("batch_norm", ["batch", "moving", "recalibrated"])
def test_the_dense_eigenvalues_of_a_tiny_network(batch_norm):
    model = network()
    rng = np.random.default_rng(5)
    batches = [(rng.standard_normal((rows, 3)), rng.integers(0, 4, rows)) for rows in (20, 20, 9)]
    kernel = model.get_layer("first").kernel.numpy().astype(np.float64)
    hidden = [x @ kernel for x, _ in batches]
    constant = {
        "moving": [each.numpy().astype(np.float64) for each in model.get_layer("norm").weights[2:]],
        "recalibrated": [np.mean([each.mean(0) for each in hidden], 0), np.mean([each.var(0) for each in hidden], 0)],
    }

    def statistics(values):
        return constant[batch_norm] if batch_norm in constant else (values.mean(0), values.var(0))

    weights = np.concatenate([each.numpy().ravel() for each in model.trainable_variables]).astype(np.float64)
    hessian = dense_hessian(lambda values: numpy_loss(values, batches, statistics), weights)
    expected = np.linalg.eigvalsh(hessian)
    data = [(x.astype(np.float64), y) for x, y in batches]
    precise = curvature(model, data, batch_norm=batch_norm, dtype="float64", tolerance=1e-7, progress=False)
    assert precise.loss == pytest.approx(numpy_loss(weights, batches, statistics), rel=1e-9)
    assert (precise.smallest, precise.largest) == pytest.approx((expected[0], expected[-1]), rel=2e-4)
    assert precise.ratio == pytest.approx(-expected[0] / expected[-1], rel=4e-4)
    assert precise.residual <= 1e-7
    usual = curvature(model, data, batch_norm=batch_norm, progress=False)
    assert (usual.smallest, usual.largest) == pytest.approx((expected[0], expected[-1]), abs=1e-3 * expected[-1])


def test_frozen_weights_are_constants():
    model = dense_chain(4, (6, 3), activation="tanh", names=("frozen", "free"))
    model.get_layer("frozen").trainable = False
    x, y = RNG.standard_normal((30, 4)).astype(np.float32), RNG.integers(0, 3, 30)
    found = curvature(model, (x, y), progress=False)
    assert found.weights == 6 * 3 + 3
    assert found.smallest > -1e-3 * found.largest  # the loss of one layer on fixed inputs is convex


# ------------------------------------------------------------ what was not found


def test_an_end_that_was_not_found_is_no_number():
    model, x, y, loss = quadratic(SPECTRA["indefinite"])
    with pytest.warns(UnconvergedWarning, match=r"was not found to 0\.001, in 5 products: it is NaN; allow more"):
        found = curvature(model, (x, y), loss=loss, products=5, progress=False)
    assert np.isnan([found.smallest, found.largest, found.residual, found.ratio]).all()
    assert (found.converged, found.products) == (False, 5)


@pytest.mark.parametrize(("sign", "missing"), [(1, "smallest"), (-1, "largest")])
def test_the_first_end_is_kept_if_only_the_other_is_missing(sign, missing):
    spectrum = sign * np.concatenate([np.linspace(-1, 1, 399), [1000]])
    model, x, y, loss = quadratic(spectrum)
    with pytest.warns(UnconvergedWarning):
        found = curvature(model, (x, y), loss=loss, products=16, tolerance=1e-4, progress=False)
    known = {"smallest": found.smallest, "largest": found.largest}
    assert np.isnan(known.pop(missing))
    assert list(known.values()) == [pytest.approx(sign * 1000, rel=1e-3)]
    assert np.isnan(found.ratio)


def test_products_that_are_too_coarse_for_the_tolerance_are_noticed():
    """They are rounded, so what the iteration takes for an eigenvector is none."""
    matrix = np.diag(np.linspace(-1, 3, 50))
    ends = extreme_eigenvalues(lambda vector: np.round(matrix @ vector, 2), 50, tolerance=1e-4, seed=0)
    assert np.isnan(ends[:2]).all()
    assert not ends[2] <= 1e-4


def psg():
    return convert(conv_chain((8, 8, 1), (4, 4), 3, seed=0), "psg")


def resized():
    inputs = keras.Input((8, 8, 1))
    x = layers.Flatten()(layers.UpSampling2D(interpolation="bilinear")(layers.Conv2D(4, 3)(inputs)))
    return keras.Model(inputs, layers.Dense(3)(x))


@pytest.mark.parametrize("build", [psg, resized])
def test_second_derivatives_that_are_wrong_are_noticed(build):
    x = np.random.default_rng(0).standard_normal((20, 8, 8, 1)).astype(np.float32)
    with pytest.raises(UnsupportedLayerError, match="are not symmetric, so they are wrong: a layer has a gradient of"):
        curvature(build(), (x, np.arange(20) % 3), progress=False)


@pytest.mark.parametrize("size", [3, 40])
def test_a_matrix_that_is_not_symmetric_is_refused(size):
    matrix = np.random.default_rng(0).standard_normal((size, size))
    with pytest.raises(_NotSymmetric):
        extreme_eigenvalues(lambda vector: matrix @ vector, size, tolerance=1e-3, seed=0)


def test_a_layer_without_second_derivative_is_named():
    inputs = keras.Input((4, 4, 1))
    x = layers.UpSampling2D(interpolation="bicubic")(layers.Conv2D(2, 1)(inputs))
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)), name="net")
    message = "the loss of net has no second derivative in TensorFlow: .*ResizeBicubicGrad"
    with pytest.raises(UnsupportedLayerError, match=message):
        curvature(model, (np.ones((4, 4, 4, 1), np.float32), np.zeros(4, int)), progress=False)


def test_losses_that_are_not_finite_end_with_a_message():
    model, x, y, loss = quadratic(SPECTRA["few weights"])
    with pytest.raises(ConfigError, match=r"data: labels: expected finite numbers"):
        curvature(model, (x, y * np.inf), loss=loss, progress=False)
    with pytest.raises(ConfigError, match=r"expected a finite loss, received (nan|inf) at the center"):
        curvature(model, (x, y), loss=lambda y, outputs: loss(y, outputs) * np.inf, progress=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tolerance": 0.0}, "--tolerance: expected a value between 0 and 1, received 0.0"),
        ({"products": 0}, "--products: expected a value of at least 1, received 0"),
        ({"batch_norm": "none"}, "--batch_norm: expected batch, moving or recalibrated, received none"),
        ({"dtype": "float16"}, "--dtype: expected float32 or float64, received float16"),
    ],
)
def test_settings_that_cannot_be_used(settings, message):
    model, x, y, loss = quadratic(SPECTRA["few weights"])
    with pytest.raises(ConfigError) as raised:
        curvature(model, (x, y), loss=loss, progress=False, **settings)
    assert str(raised.value) == message


def test_the_table_and_the_text():
    found = Curvature(-0.5, 20.0, 1e-4, 42, 0.25, 1000, 512, "batch", 0)
    assert found.table().splitlines() == [
        "  loss  smallest  largest  |ratio|  residual  products",
        "0.2500      -0.5       20    0.025    0.0001        42",
    ]
    assert len(repr(found)) <= 240
