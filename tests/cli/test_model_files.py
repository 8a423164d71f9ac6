import keras
import numpy as np
import pytest

from tfprune.cli.model_files import file_size, load_model_file
from tfprune.errors import CheckpointError
from tfprune.layers import FusedBatchNormalization


def test_models_of_any_kind(folder, tmp_path):
    model = load_model_file(str(folder / "two.keras"))
    assert [tensor.name for tensor in model.inputs] == ["a", "b"]
    assert not model.compiled
    keras.Sequential([keras.Input((4, 4, 3)), FusedBatchNormalization()]).save(tmp_path / "ours.keras")
    assert type(load_model_file(str(tmp_path / "ours.keras")).layers[0]) is FusedBatchNormalization


def test_compiled_and_trained_models(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(np.zeros((2, 4)), np.zeros((2, 1)), verbose=0)
    model.save(tmp_path / "trained.keras")
    assert load_model_file(str(tmp_path / "trained.keras")).layers[0].units == 1


def test_damaged_files(tmp_path, folder):
    (tmp_path / "text.keras").write_text("no model")
    with pytest.raises(CheckpointError, match=r"text.keras is damaged or not a Keras file"):
        load_model_file(str(tmp_path / "text.keras"))
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    (tmp_path / "a.npz").rename(tmp_path / "zip.keras")
    with pytest.raises(CheckpointError, match=r"Keras does not load .*zip.keras in safe mode") as caught:
        load_model_file(str(tmp_path / "zip.keras"))
    assert "\n" not in str(caught.value)


def test_files_that_would_run_code(tmp_path):
    keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x)]).save(tmp_path / "code.keras")
    with pytest.raises(CheckpointError, match="in safe mode"):
        load_model_file(str(tmp_path / "code.keras"))


def test_layers_of_unknown_classes_are_named(tmp_path):
    class Mine(keras.layers.Layer):
        def call(self, values):
            return values

    keras.Sequential([keras.Input((4,)), Mine()]).save(tmp_path / "mine.keras")
    with pytest.raises(CheckpointError, match=r"mine.keras has the class Mine, which Keras does not know; .*--plugin"):
        load_model_file(str(tmp_path / "mine.keras"))


def test_other_things_than_models(tmp_path):
    keras.saving.save_model(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]), tmp_path / "model.keras")
    layer = keras.layers.Dense(2)
    layer.build((None, 4))
    keras.src.saving.saving_lib.save_model(layer, tmp_path / "layer.keras")
    with pytest.raises(CheckpointError, match=r"expected a model in .*layer.keras, it holds a Dense"):
        load_model_file(str(tmp_path / "layer.keras"))


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (23_659, "23.7 kB"), (1_234_567, "1.2 MB")]
)
def test_size_of_files(tmp_path, size, shown):
    (tmp_path / "file").write_bytes(bytes(size))
    assert file_size(tmp_path / "file") == shown


def test_size_of_folders(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "one").write_bytes(bytes(700))
    (tmp_path / "a" / "b" / "two").write_bytes(bytes(800))
    assert file_size(tmp_path / "a") == "1.5 kB"


def test_size_without_the_optimizer(tmp_path):
    model = keras.Sequential([keras.Input((300,)), keras.layers.Dense(100)])
    model.save(tmp_path / "plain.keras")
    model.compile("adam", "mse")
    model.fit(np.zeros((2, 300)), np.zeros((2, 100)), verbose=0)
    model.save(tmp_path / "trained.keras")
    moments = 2 * 4 * 301 * 100
    whole = (tmp_path / "trained.keras").stat().st_size
    shown = float(file_size(tmp_path / "trained.keras").removesuffix(" kB"))
    assert shown == pytest.approx((whole - moments) / 1000, abs=0.2)
    assert file_size(tmp_path / "plain.keras") == f"{(tmp_path / 'plain.keras').stat().st_size / 1000:.1f} kB"


@keras.saving.register_keras_serializable("mine")
def doubled(values):
    return 2 * values


@keras.saving.register_keras_serializable("mine")
class Small(keras.initializers.Initializer):
    def __call__(self, shape, dtype=None):
        return 0.1 * keras.ops.ones(shape, dtype)


@keras.saving.register_keras_serializable("mine")
class Network(keras.Model):
    pass


@pytest.fixture
def forgotten():
    """Keras' table of registered objects without ours, as in a program that does not import this module."""
    known = keras.saving.get_custom_objects()
    ours = {name: known.pop(name) for name in list(known) if name.startswith("mine>")}
    yield
    known.update(ours)


def own_model(kind):
    inputs = keras.Input((4, 3))
    if kind == "model":
        return Network(inputs, keras.layers.Dense(2)(inputs))
    layer = {
        "activation": lambda: keras.layers.Dense(2, activation=doubled),
        "within a layer": lambda: keras.layers.Bidirectional(keras.layers.LSTM(2, activation=doubled)),
        "initializer": lambda: keras.layers.Dense(2, kernel_initializer=Small()),
    }[kind]()
    return keras.Model(inputs, layer(inputs))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("activation", "the function mine>doubled"),
        ("within a layer", "the function mine>doubled"),
        ("initializer", "the class mine>Small"),
        ("model", "the class mine>Network"),
    ],
)
def test_what_keras_does_not_know_is_named(tmp_path, request, kind, name):
    path = str(tmp_path / "own.keras")
    own_model(kind).save(path)
    assert load_model_file(path).count_params() > 0
    request.getfixturevalue("forgotten")
    with pytest.raises(CheckpointError) as caught:
        load_model_file(path)
    assert str(caught.value) == (
        f"{path} has {name}, which Keras does not know; name the Python module that registers what is "
        "missing (keras.saving.register_keras_serializable) with --plugin"
    )
