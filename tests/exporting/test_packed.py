"""Packed models: sizes, outputs, damaged and hostile files."""

import json
import struct
import zlib

import keras
import numpy as np
import pytest

import tfprune
from tfprune.errors import CheckpointError, ConfigError
from tfprune.exporting.keras import folded_model
from tfprune.exporting.packed import _MAGIC, compress_bits, decompress_bits, export_packed, load_packed, pack_kernel
from tfprune.recipes.models import build_model

IMAGES = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype(np.float32)


def stirred(model):
    """The model with statistics, gammas and betas that are not the initial ones."""
    random = np.random.default_rng(1)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            for variable in layer.variables:
                positive = "variance" in variable.path
                variable.assign(
                    random.uniform(0.5, 2, variable.shape) if positive else random.normal(size=variable.shape)
                )
    return model


def subnet(arch, density=0.2, **options):
    plain = build_model(arch, num_classes=10, input_shape=(32, 32, 3), classifier_bias=False, seed=0, **options)
    return stirred(tfprune.convert(plain, "subnet", density=density, scope="global", seed=0))


@pytest.mark.parametrize(
    ("arch", "options"),
    [
        ("ResNet-20", {}),
        ("ResNet-20", {"activation": "binary", "batch_norm": "fixed"}),
        ("VGG-Small-BN", {"activation": "binary", "width_multiplier": 0.125}),
        ("VGG-Small", {"width_multiplier": 0.125}),
    ],
    ids=["resnet", "binary_resnet", "binary_vgg", "pools_before_norms"],
)
def test_round_trip(arch, options, tmp_path):
    model = subnet(arch, **options)
    size = export_packed(model, tmp_path / "ticket.mpt")
    loaded = load_packed(tmp_path / "ticket.mpt")
    assert {type(layer).__module__.split(".")[0] for layer in loaded._flatten_layers()} == {"keras"}
    expected = np.asarray(model(IMAGES))
    if "activation" in options:  # an activation within rounding of 0 may change its sign
        np.testing.assert_allclose(np.median(np.abs(loaded(IMAGES) - expected)), 0, atol=1e-5 * np.abs(expected).max())
    else:
        np.testing.assert_allclose(loaded(IMAGES), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    assert size.file == (tmp_path / "ticket.mpt").stat().st_size
    assert size.kept == size.weights - int(0.8 * size.weights)
    assert size.least < size.file < 1.05 * size.least + size.other
    norms = sum(isinstance(layer, keras.layers.BatchNormalization) for layer in loaded._flatten_layers())
    assert norms == (3 if arch == "VGG-Small" else norms if "VGG" in arch else 0)


@pytest.mark.slow
def test_conv4_is_25_times_smaller(tmp_path):
    model = subnet("Conv4")
    size = export_packed(model, tmp_path / "ticket.mpt")
    tfprune.save_model(model, tmp_path / "plain.keras")
    assert (tmp_path / "plain.keras").stat().st_size > 25 * size.file
    assert size.file < 1.05 * size.least
    np.testing.assert_allclose(load_packed(tmp_path / "ticket.mpt")(IMAGES), model(IMAGES), rtol=1e-5, atol=1e-7)


def test_export_by_name(tmp_path):
    model = subnet("ResNet-20")
    tfprune.export(model, tmp_path / "a.mpt")
    tfprune.export(model, tmp_path / "b.mpt", format="packed")
    assert (tmp_path / "a.mpt").read_bytes() == (tmp_path / "b.mpt").read_bytes()


def test_folding_is_exact_enough_and_leaves_the_model_alone():
    model = stirred(build_model("ResNet-20", num_classes=10, input_shape=(32, 32, 3), seed=0))
    before = model.get_weights()
    folded = folded_model(model)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in folded.layers)
    expected = np.asarray(model(IMAGES))
    np.testing.assert_allclose(folded(IMAGES), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    assert all(np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True))


def test_shared_and_branching_layers_are_not_folded():
    inputs = keras.Input((4,))
    dense, norm = keras.layers.Dense(4, name="dense"), keras.layers.BatchNormalization(name="norm")
    branch = keras.layers.Dense(4, name="branch")(inputs)
    outputs = keras.layers.Add()([norm(dense(inputs)), norm(dense(branch)), keras.layers.BatchNormalization()(branch)])
    model = stirred(keras.Model(inputs, outputs))
    assert folded_model(model) is model


@pytest.mark.parametrize("share", [0.0, 0.001, 0.05, 0.2, 0.5, 1.0])
def test_bits(share):
    bits = np.random.default_rng(0).random(100_001) < share
    way, data = compress_bits(bits)
    np.testing.assert_array_equal(decompress_bits(way, data, bits.size), bits)
    parts = np.array([max(bits.mean(), 1e-9), max(1 - bits.mean(), 1e-9)])
    assert len(data) <= 1.3 * bits.size * -(parts * np.log2(parts)).sum() / 8 + 150
    with pytest.raises(CheckpointError):
        decompress_bits(way, data, bits.size + 8)


def test_kernels_that_are_no_signs_are_left_alone(tmp_path):
    assert pack_kernel(np.random.default_rng(0).normal(size=(3, 3, 2, 4)).astype(np.float32), channel_axes=1) is None
    kernel = np.sign(np.random.default_rng(0).normal(size=(3, 3, 2, 4))).astype(np.float32) * np.float32(
        [0.1, 0.2, 0, 3]
    )
    np.testing.assert_array_equal(pack_kernel(kernel, channel_axes=1).kernel, kernel)
    with pytest.raises(ConfigError, match="expected kernels of signs"):
        export_packed(build_model("ResNet-20", num_classes=10, input_shape=(32, 32, 3)), tmp_path / "x.mpt")


def test_damaged_and_hostile_files(tmp_path):
    path = tmp_path / "ticket.mpt"
    export_packed(subnet("ResNet-20"), path)
    content = path.read_bytes()

    def refused(data, match):
        (tmp_path / "other.mpt").write_bytes(data)
        with pytest.raises(CheckpointError, match=match):
            load_packed(tmp_path / "other.mpt")

    for size in (0, 10, len(_MAGIC) + 2, len(content) // 2, len(content) - 1):
        refused(content[:size], "expected a packed model|damaged or cut short")
    refused(content[:5000] + bytes([content[5000] ^ 1]) + content[5001:], "damaged")
    refused(b"PK" + content, "expected a packed model")

    def file(header):
        packed = zlib.compress(header if isinstance(header, bytes) else json.dumps(header).encode())
        body = struct.pack("<I", len(packed)) + packed
        return _MAGIC + struct.pack("<I", zlib.crc32(body)) + body

    refused(file([]), "no model in it")
    refused(file(b"{"), "header cannot be read")
    marker = tmp_path / "hacked"
    layer = {"module": "keras.layers", "class_name": "Lambda", "config": {"function": f"open({str(marker)!r}, 'w')"}}
    refused(file({"model": layer, "tensors": []}), "expected a model of Keras' own layers")
    system = {"module": "os", "class_name": "system", "config": f"touch {marker}", "registered_name": "system"}
    refused(file({"model": system, "tensors": []}), "expected a model of Keras' own layers|tensors")
    assert not marker.exists()
    with pytest.raises(CheckpointError, match="cannot read"):
        load_packed(tmp_path / "nothing.mpt")
    with pytest.raises(ConfigError, match=r"ends in \.mpt"):
        export_packed(keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]), tmp_path / "a.bin")
