import keras
import numpy as np
import pytest

from tfprune.cli.examples import load_examples
from tfprune.errors import ConfigError, DataUnavailableError
from tfprune.recipes.data import load_data


@pytest.fixture(scope="module")
def model():
    return keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])


def test_a_data_set_by_name(model):
    data = load_data("digits")
    whole = load_examples("Digits", None, 10**6, model)
    np.testing.assert_array_equal(whole.x, data.normalize(data.train_images))
    np.testing.assert_array_equal(whole.y, data.train_labels)
    some = load_examples("digits", None, 50, model)
    assert some.x.shape == (50, 8, 8, 1)
    assert len(set(some.y.tolist())) > 5
    places = [int(np.flatnonzero((whole.x == x).all((1, 2, 3)))[0]) for x in some.x]
    assert places == sorted(places)
    np.testing.assert_array_equal(whole.y[places], some.y)
    np.testing.assert_array_equal(load_examples("digits", None, 50, model).x, some.x)


def test_a_file(folder, model):
    found = load_examples(str(folder / "examples.npz"), None, 20, model)
    with np.load(folder / "examples.npz") as arrays:
        x, y = arrays["x"], arrays["y"]
    places = [int(np.flatnonzero((x == each).all((1, 2, 3)))[0]) for each in found.x]
    np.testing.assert_array_equal(y[places], found.y)
    assert len(set(places)) == 20
    assert load_examples(str(folder / "unlabelled.npz"), None, 20, model).y is None


def test_open_sizes_take_any(folder):
    model = keras.Sequential([keras.Input((None, None, 1)), keras.layers.ReLU()])
    assert len(load_examples(str(folder / "examples.npz"), None, 100, model).x) == 60


def files(tmp_path):
    np.savez(tmp_path / "unnamed.npz", np.zeros((3, 8, 8, 1)))
    np.savez(tmp_path / "uneven.npz", x=np.zeros((3, 8, 8, 1)), y=np.zeros(2))
    np.savez(tmp_path / "large.npz", x=np.zeros((3, 9, 9, 1)), y=np.zeros(3))
    np.savez(tmp_path / "flat.npz", x=np.zeros((3, 64)), y=np.zeros(3))
    np.savez(tmp_path / "empty.npz", x=np.zeros((0, 8, 8, 1)), y=np.zeros(0))
    np.savez(tmp_path / "objects.npz", x=np.array([{}, {}]))
    (tmp_path / "text.npz").write_text("text")


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        (
            "svhn",
            ConfigError,
            "expected CIFAR10, CIFAR100, digits, tiny-imagenet, MNIST, or an .npz file with arrays x and y",
        ),
        ("nowhere.npz", DataUnavailableError, "cannot read .*No such file"),
        ("text.npz", DataUnavailableError, "cannot read .*text.npz"),
        ("objects.npz", DataUnavailableError, "cannot read .*objects.npz"),
        ("unnamed.npz", ConfigError, r"expected arrays x and y in .*, received 'arr_0'; np.savez"),
        ("uneven.npz", ConfigError, r"as many labels as examples .* \(3, 8, 8, 1\) and \(2,\)"),
        (
            "large.npz",
            ConfigError,
            r"large.npz: the input .* of shape \[examples, 8, 8, 1\], received \[\d+, 9, 9, 1\]",
        ),
        ("flat.npz", ConfigError, r"flat.npz: the input .* of shape \[examples, 8, 8, 1\], received \[\d+, 64\]"),
        ("empty.npz", ConfigError, "expected examples in .*, received none"),
    ],
)
def test_mistakes(tmp_path, model, name, error, message):
    files(tmp_path)
    path = str(tmp_path / name) if name.endswith(".npz") else name
    with pytest.raises(error, match=message) as caught:
        load_examples(path, None, 10, model)
    assert str(caught.value).startswith("--data: ")


def test_several_inputs_are_refused(folder):
    inputs = [keras.Input((2,)), keras.Input((2,))]
    model = keras.Model(inputs, keras.layers.Add()(inputs))
    with pytest.raises(ConfigError, match="expected a model with one input, received one with 2"):
        load_examples(str(folder / "examples.npz"), None, 10, model)
