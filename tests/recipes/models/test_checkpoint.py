import json
import os
import pickle
import zipfile

import keras
import numpy as np
import pytest

import tfprune
from tfprune.errors import CheckpointError, ConfigError
from tfprune.recipes.data import fixed_batches, load_data
from tfprune.recipes.models import build_model, load_checkpoint, model_from_arrays
from tfprune.recipes.models.checkpoint import recorded_origin, stored_shape

CIFAR = {"num_classes": 10, "input_shape": (32, 32, 3)}
DIGITS = {"num_classes": 10, "input_shape": (8, 8, 1)}
SHAPE = (32, 32, 3)


@pytest.fixture(scope="module")
def weights(pretrained_file):
    return pretrained_file


@pytest.fixture(scope="module")
def pretrained(weights):
    return load_checkpoint(weights, arch="ResNet-56", **CIFAR)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A ResNet-20 in a file."""
    path = tmp_path_factory.mktemp("saved") / "small.keras"
    build_model("ResNet-20", seed=1, widths={"block0.1_conv1": 3}, **DIGITS).save(path)
    return path


def refusal(path, arch="ResNet-20", **shape):
    with pytest.raises(CheckpointError) as raised:
        load_checkpoint(path, arch=arch, **(shape or DIGITS))
    message = str(raised.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_golden_logits_moving_averages(pretrained, golden):
    logits = pretrained(golden["test64_x"], training=False)
    np.testing.assert_allclose(logits, golden["logits64_ma"], atol=1e-4)


def test_golden_logits_batch_statistics(weights, golden):
    model = load_checkpoint(weights, arch="ResNet-56", **CIFAR)  # its own: the moving statistics change
    logits = model(golden["test64_x"], training=True)
    np.testing.assert_allclose(logits, golden["logits64_bs64"], atol=1e-4)
    stem = model.get_layer("bn")
    np.testing.assert_allclose(stem.moving_mean, golden["bn_moving_mean_after1"].ravel(), atol=1e-6)
    np.testing.assert_allclose(stem.moving_variance, golden["bn_moving_variance_after1"].ravel(), rtol=1e-5)


def test_golden_pickle_is_read_completely(pretrained, golden, weights):
    assert pretrained.count_params() == int(golden["unpruned_params"])
    assert len(pretrained.variables) == 287
    gammas = np.concatenate([layer.gamma for layer in pretrained.layers if hasattr(layer, "gamma")])
    assert np.sum(np.abs(gammas) < 1e-4) == 77
    assert len(gammas) == 2128


def test_keras_file_loads(saved):
    model = load_checkpoint(saved, arch="ResNet-20", **DIGITS)
    assert model.get_layer("block0.1_conv1").filters == 3
    expected = build_model("ResNet-20", seed=1, widths={"block0.1_conv1": 3}, **DIGITS)
    for a, b in zip(model.variables, expected.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_that_are_not_finite(tmp_path, saved):
    model = keras.saving.load_model(saved)
    model.get_layer("bn").gamma.assign(model.get_layer("bn").gamma * np.nan)
    model.save(tmp_path / "nan.keras")
    with pytest.raises(ConfigError, match=r"the weight bn/gamma of ResNet-20: expected finite numbers"):
        load_checkpoint(tmp_path / "nan.keras", arch="ResNet-20", **DIGITS)


def test_a_checkpoint_of_another_architecture_is_reported(saved, weights):
    assert "is a ResNet-20, expected ResNet-56" in refusal(saved, "ResNet-56")
    assert "is a ResNet-56, expected ResNet-20" in refusal(weights, **CIFAR)
    assert "tells 10 classes apart, expected 100" in refusal(saved, num_classes=100, input_shape=(8, 8, 1))
    assert "[8, 8, 1], expected [32, 32, 3]" in refusal(saved, **CIFAR)
    assert "10 classes apart, expected 7" in refusal(weights, "ResNet-56", num_classes=7, input_shape=(32, 32, 3))
    with pytest.raises(ConfigError, match="expected an architecture"):
        load_checkpoint(saved, arch="VGG", **DIGITS)


def test_files_that_are_not_models(tmp_path, saved):
    assert "does not exist" in refusal(tmp_path / "absent.pkl")
    assert "or a folder with best.keras or trained.keras" in refusal(tmp_path)
    for suffix in (".pkl", ".keras"):
        empty = tmp_path / f"empty{suffix}"
        empty.touch()
        assert "empty" in refusal(empty)
        noise = tmp_path / f"noise{suffix}"
        noise.write_bytes(bytes(range(256)) * 4)
        assert "damaged" in refusal(noise)
    other = tmp_path / "weights.h5"
    other.write_bytes(b"x")
    assert "expected a .keras or a .pkl file" in refusal(other)


@pytest.mark.parametrize("part", [0.001, 0.3, 0.999])
def test_truncated_files(tmp_path, saved, weights, part):
    for source, arch, shape in ((saved, "ResNet-20", DIGITS), (weights, "ResNet-56", CIFAR)):
        content = source.read_bytes()
        cut = tmp_path / f"cut{source.suffix}"
        cut.write_bytes(content[: int(len(content) * part)])
        assert "damaged" in refusal(cut, arch, **shape)


def test_a_keras_file_of_anything_else(tmp_path, saved):
    path = tmp_path / "other.keras"
    keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]).save(path)
    assert "no complete ResNet-20" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")
    refusal(path)


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {3: np.zeros(2)}, {"a": [np.zeros(2)]}, {"x/y:0": np.zeros(2)}])
def test_pickles_of_anything_else(tmp_path, content):
    path = tmp_path / "other.pkl"
    path.write_bytes(pickle.dumps(content))
    assert "expected" in refusal(path)


class Asks:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_unsafe_pickle_is_refused_and_nothing_runs(tmp_path):
    path, trace = tmp_path / "hostile.pkl", tmp_path / "trace"
    path.write_bytes(pickle.dumps({"conv/kernel:0": Asks(f"touch {trace}")}))
    message = refusal(path)
    assert "it asks for posix.system; nothing of it was run" in message
    assert not trace.exists()
    path.write_bytes(pickle.dumps({"conv/kernel:0": np.array([Asks(f"touch {trace}")], object)}))
    assert "it asks for an array of type 'O8', where arrays of numbers were expected" in refusal(path)
    assert not trace.exists()


def test_unsafe_keras_files_are_refused_and_nothing_runs(tmp_path, saved):
    trace = tmp_path / "trace"
    inputs = keras.Input((8, 8, 1))
    command = f"touch {trace}"
    layer = keras.layers.Lambda(lambda x: (os.system(command), x)[1], output_shape=(8, 8, 1))
    path = tmp_path / "lambda.keras"
    keras.Model(inputs, layer(inputs)).save(path)
    trace.unlink(missing_ok=True)
    assert "it has a Lambda, which runs code" in refusal(path)
    assert not trace.exists()

    with zipfile.ZipFile(saved) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(files["config.json"])
    config["config"]["layers"][1].update(
        module="subprocess", class_name="Popen", config={"args": ["touch", str(trace)]}
    )
    config["config"]["layers"][1].pop("registered_name")
    path = tmp_path / "module.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (files | {"config.json": json.dumps(config)}).items():
            archive.writestr(name, content)
    assert "it names 'subprocess.Popen', which is no part of a model" in refusal(path)
    assert not trace.exists()


def test_the_folder_of_a_run_means_its_resulting_model(tmp_path):
    settings = {"arch": "ResNet-20", "num_classes": 3, "input_shape": (8, 8, 1)}
    build_model(**settings).save(tmp_path / "slimmed.keras")
    with pytest.raises(CheckpointError, match=r"files of weights in .*: slimmed\.keras; name one"):
        load_checkpoint(tmp_path, **settings)  # a run that has not ended, or of older names
    for name, width in (("trained.keras", 5), ("best.keras", 7)):
        build_model(**settings, widths={"block0.0_conv1": width}).save(tmp_path / name)
        assert load_checkpoint(tmp_path, **settings).get_layer("block0.0_conv1").filters == width


def weights_of(golden, prefix):
    return {name.removeprefix(prefix): golden[name] for name in golden if name.startswith(prefix + "ResNet/")}


@pytest.fixture(scope="module")
def small():
    """Weights of a ResNet-20 as the original would pickle them, all random, of unequal widths."""
    widths = {"block0.1_conv1": 5, "block1.0_conv1": 7, "fc": 10}
    del widths["fc"]
    model = build_model("ResNet-20", num_classes=10, input_shape=SHAPE, widths=widths, seed=3)
    draw = np.random.default_rng(0)
    arrays = {}
    for layer in model.layers:
        name = layer.name.replace("block", "BasicBlock").replace("_conv", "/conv").replace("_bn", "/bn")
        for variable in layer.variables:
            short = "biases" if variable.name == "bias" else variable.name
            value = draw.uniform(0.5, 1.5, variable.shape).astype(np.float32)
            variable.assign(value)
            vector = value[None, None, None] if layer.name != "fc" and value.ndim == 1 else value
            arrays[f"{name}/{short}:0"] = vector
    return model, arrays


def test_golden_resnet20_weights_give_a_trained_model(golden):
    arrays = weights_of(golden, "r20/r20/")
    model = model_from_arrays(arrays, "ResNet-20", 10, SHAPE)
    assert model.count_params() == int(golden["r20/r20_params_flops"][0])
    assert sum(array.size for array in arrays.values()) == model.count_params()
    logits = np.asarray(model(golden["test64_x"], training=True))
    assert np.mean(logits.argmax(1) == golden["test64_labels"]) > 0.5


@pytest.mark.slow
def test_golden_resnet20_loss_before_its_search(golden, tfds_folder):
    data = load_data("CIFAR10", tfds_folder)
    first = golden["val_index"][:64]
    model = model_from_arrays(weights_of(golden, "r20/r20/"), "ResNet-20", 10, SHAPE)
    total, right = 0.0, 0.0
    for batch in fixed_batches(data.train_images[first], data.train_labels[first], data, 48):
        logits = model(batch["images"], training=True)
        total += np.sum(keras.losses.sparse_categorical_crossentropy(batch["labels"], logits, from_logits=True))
        right += np.sum(np.argmax(logits, 1) == batch["labels"].numpy())
    # the original divides both sums by its batch of 48 and takes the mean over the two batches
    np.testing.assert_allclose([right / 64, total / 96], golden["r20/search_init"][:2], rtol=1e-5)


def test_golden_prefixes_are_ignored(golden):
    arrays = {name: golden[name] for name in golden if name.startswith("r20/r20/ResNet/")}
    plain = {name.rpartition("ResNet/")[2].removesuffix(":0"): array for name, array in arrays.items()}
    one = model_from_arrays(arrays, "ResNet-20", 10, SHAPE)
    other = model_from_arrays(plain, "ResNet-20", 10, SHAPE)
    for a, b in zip(one.variables, other.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_names_of_the_original_map_to_ours(golden):
    model = build_model("ResNet-56", num_classes=10, input_shape=SHAPE, seed=0)

    def ours(names):
        names = [str(name).removeprefix("ResNet/").removesuffix(":0").replace("biases", "bias") for name in names]
        return {name.replace("BasicBlock", "block").replace("/", "_", name.count("/") - 1) for name in names}

    paths = {f"{layer.name}/{v.name}" for layer in model.layers for v in layer.variables}
    trainable = {f"{layer.name}/{v.name}" for layer in model.layers for v in layer.trainable_variables}
    assert paths == ours(golden["variable_names"])
    assert trainable == ours(golden["trainable_variable_names"])
    assert len(paths) == 287
    assert len(trainable) == 173


def test_every_weight_arrives_and_widths_come_from_the_kernels(small):
    model, arrays = small
    loaded = model_from_arrays(arrays, "ResNet-20", 10, SHAPE)
    assert loaded.get_layer("block0.1_conv1").filters == 5
    assert loaded.get_layer("block1.0_conv1").filters == 7
    for a, b in zip(model.variables, loaded.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_numbers_of_any_type_and_byte_order(small):
    model, arrays = small
    for kind in (">f4", ">f8", "f8"):
        loaded = model_from_arrays({name: array.astype(kind) for name, array in arrays.items()}, "ResNet-20", 10, SHAPE)
        for a, b in zip(model.variables, loaded.variables, strict=True):
            np.testing.assert_array_equal(a, b)


def without(name):
    return lambda arrays: {key: value for key, value in arrays.items() if key != name}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (without("BasicBlock1.0/bn1/gamma:0"), r"lacks 1 of .* first block1\.0_bn1/gamma"),
        (without("BasicBlock1.0/conv1/kernel:0"), "no complete ResNet-20"),
        (
            lambda arrays: arrays | {"BasicBlock0.0/bn7/gamma:0": np.ones(3)},
            r"ResNet-20 does not have, first block0\.0_bn7",
        ),
        (lambda arrays: arrays | {"bn/gamma:0": np.ones(15)}, r"expected shape \[16\] for bn/gamma, .*\[15\]"),
        (lambda arrays: arrays | {"bn/gamma:0": np.ones((2, 8))}, r"expected shape \[16\] for bn/gamma"),
        (lambda arrays: arrays | {"BasicBlock0.0/conv2/kernel:0": np.ones((3, 3, 16, 9))}, "do not fit together"),
        (lambda arrays: arrays | {"BasicBlock0.0/conv1/kernel:0": np.ones((3, 3, 16, 0))}, "do not fit together"),
        (
            lambda arrays: arrays | {"BasicBlock0.0/conv1/kernel:0": np.ones((1, 1, 1, 17), np.int8)},
            r"expected at most 16 channels of block0\.0_conv1 as in ResNet-20, received 17",
        ),
        (lambda arrays: arrays | {"bn/gamma": np.ones(16)}, "two arrays for one variable"),
        (lambda arrays: arrays | {"bn/gamma:0": np.full(16, np.nan)}, "its array 'bn/gamma' has NaN or infinite"),
        (lambda arrays: arrays | {"fc/biases:0": np.full(10, 1e39)}, "its array 'fc/bias' has numbers beyond float32"),
        (lambda arrays: arrays | {"fc/biases:0": np.full(10, 1j)}, "its array 'fc/bias' has the type complex128"),
        (lambda arrays: arrays | {"model/kernel:0": np.ones(3)}, "expected names like"),
        (lambda arrays: {}, "no complete ResNet-20"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(small, change, expected):
    with pytest.raises(CheckpointError, match=expected) as raised:
        model_from_arrays(change(small[1]), "ResNet-20", 10, SHAPE)
    assert "\n" not in str(raised.value)


def test_arrays_of_another_architecture_are_reported(small):
    _, arrays = small
    with pytest.raises(CheckpointError, match="is a ResNet-20, expected ResNet-56"):
        model_from_arrays(arrays, "ResNet-56", 10, SHAPE)
    with pytest.raises(CheckpointError, match="tells 10 classes apart, expected 100"):
        model_from_arrays(arrays, "ResNet-20", 100, SHAPE)
    with pytest.raises(CheckpointError, match="images of 3 channels, expected 1"):
        model_from_arrays(arrays, "ResNet-20", 10, (8, 8, 1))


def test_loading_does_not_touch_the_global_seed(small):
    keras.utils.set_random_seed(1)
    first = np.random.random()  # noqa: NPY002  (the global generator is what this is about)
    keras.utils.set_random_seed(1)
    model_from_arrays(small[1], "ResNet-20", 10, SHAPE)
    assert np.random.random() == first  # noqa: NPY002


def test_the_shape_of_a_functional_model(tmp_path):
    inputs = keras.Input((5, 6, 3))
    keras.Model(inputs, keras.layers.Flatten()(inputs)).save(tmp_path / "model.keras")
    assert stored_shape(tmp_path / "model.keras") == (5, 6, 3)


def test_files_without_a_shape(tmp_path):
    inputs = keras.Input((None, None, 3))
    keras.Model(inputs, keras.layers.ReLU()(inputs)).save(tmp_path / "any.keras")
    (tmp_path / "damaged.keras").write_bytes(b"no archive")
    assert [stored_shape(tmp_path / name) for name in ("any.keras", "damaged.keras", "absent.keras")] == [None] * 3


def test_what_is_known_about_a_file(tmp_path):
    """The record in the file counts, then what is beside it; a path only for the same data."""
    (tmp_path / "run").mkdir()
    beside = "arch: ResNet-20\ndataset: CIFAR10\ndata_path: here\nseed: 3\n"
    (tmp_path / "run" / "settings.yaml").write_text(beside)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    streamed = {"image_size": 64, "resize_size": 72}
    records = {
        "none": (None, {"arch": "ResNet-20", "dataset": "CIFAR10", "data_path": "here", "seed": 3}),
        "flat": ({"dataset": "digits", "arch": "x"}, {"dataset": "digits", "arch": "x"}),
        "same": (
            {"dataset": "CIFAR10", "settings": {"seed": 5}},
            {"dataset": "CIFAR10", "seed": 5, "data_path": "here"},
        ),
        "odd": ({"dataset": "digits", "settings": [1]}, {"dataset": "digits"}),
        "pruned": ({"pruned": []}, {"pruned": [], "dataset": "CIFAR10", "data_path": "here"}),
        "streamed": (
            {"dataset": "birds", **streamed, "settings": {"dataset": "imagenet2012"}},
            {"dataset": "imagenet2012", **streamed},
        ),
    }
    for name, (record, expected) in records.items():
        path = tmp_path / "run" / f"{name}.keras"
        tfprune.save_model(model, path, record=record)
        assert expected.items() <= recorded_origin(path).items()
        assert ("data_path" in recorded_origin(path)) is ("data_path" in expected)
        if record is not None and "dataset" in record:
            moved = path.rename(tmp_path / path.name)
            assert recorded_origin(moved).get("dataset") == expected["dataset"]
            assert "data_path" not in recorded_origin(moved)
    assert recorded_origin(tmp_path / "nowhere" / "a.keras") == {}
