import keras
import numpy as np
import pytest

from tfprune.data import fixed_batches, load_data
from tfprune.errors import CheckpointError
from tfprune.models import build_model, model_from_arrays

SHAPE = (32, 32, 3)


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


def test_golden_resnet20_weights_give_a_trained_network(golden):
    arrays = weights_of(golden, "r20/r20/")
    model = model_from_arrays(arrays, "ResNet-20", 10, SHAPE)
    assert model.count_params() == int(golden["r20/r20_params_flops"][0])
    assert sum(array.size for array in arrays.values()) == model.count_params()
    logits = np.asarray(model(golden["test64_x"], training=True))
    assert np.mean(logits.argmax(1) == golden["test64_labels"]) > 0.5


@pytest.mark.slow
def test_golden_resnet20_loss_before_its_search(golden, shared):
    data = load_data("CIFAR10", shared / "data" / "tfds")
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


def without(name):
    return lambda arrays: {key: value for key, value in arrays.items() if key != name}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (without("BasicBlock1.0/bn1/gamma:0"), r"lacks 1 of .* first block1\.0_bn1/gamma"),
        (without("BasicBlock1.0/conv1/kernel:0"), "no complete ResNet-20"),
        (lambda arrays: arrays | {"BasicBlock0.0/bn7/gamma:0": np.ones(3)}, r"ResNet-20 has not, first block0\.0_bn7"),
        (lambda arrays: arrays | {"bn/gamma:0": np.ones(15)}, r"expected shape \[16\] for bn/gamma, .*\[15\]"),
        (lambda arrays: arrays | {"bn/gamma:0": np.ones((2, 8))}, r"expected shape \[16\] for bn/gamma"),
        (lambda arrays: arrays | {"BasicBlock0.0/conv2/kernel:0": np.ones((3, 3, 16, 9))}, "do not fit together"),
        (lambda arrays: arrays | {"BasicBlock0.0/conv1/kernel:0": np.ones((3, 3, 16, 0))}, "do not fit together"),
        (lambda arrays: arrays | {"model/kernel:0": np.ones(3)}, "expected names like"),
        (lambda arrays: {}, "no complete ResNet-20"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(small, change, expected):
    with pytest.raises(CheckpointError, match=expected) as raised:
        model_from_arrays(change(small[1]), "ResNet-20", 10, SHAPE)
    assert "\n" not in str(raised.value)


def test_other_networks_are_named(small):
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
