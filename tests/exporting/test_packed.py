"""Packed models: sizes, outputs, damaged and hostile files."""

import json
import lzma
import os
import struct
import tempfile
import tracemalloc
import zlib
from pathlib import Path

import keras
import numpy as np
import pytest

import tfprune
from tfprune.errors import CheckpointError, ConfigError
from tfprune.exporting.keras import folded_model
from tfprune.exporting.packed import (
    _MAGIC,
    compress_bits,
    decompress_bits,
    export_packed,
    load_packed,
    pack_kernel,
    read_packed_record,
)
from tfprune.reading import RefusedError
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
    with pytest.raises(RefusedError):
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
    refused(b"PK" + content, "found something else; fetch it again, or write it with export_packed")

    def file(header):
        packed = zlib.compress(header if isinstance(header, bytes) else json.dumps(header).encode())
        body = struct.pack("<I", len(packed)) + packed
        return _MAGIC + struct.pack("<I", zlib.crc32(body)) + body

    refused(file([]), "expected object, got array")
    refused(file(b"{"), "it is no JSON: line 1, column 2")
    marker = tmp_path / "hacked"
    layer = {"module": "keras.layers", "class_name": "Lambda", "config": {"function": f"open({str(marker)!r}, 'w')"}}
    refused(file({"model": layer, "tensors": []}), "it has a Lambda, which runs code")
    system = {"module": "os", "class_name": "system", "config": f"touch {marker}", "registered_name": "system"}
    refused(file({"model": system, "tensors": []}), " has the class system, which Keras does not know")
    assert not marker.exists()
    with pytest.raises(CheckpointError, match="cannot read"):
        load_packed(tmp_path / "nothing.mpt")
    with pytest.raises(ConfigError, match=r"ends in \.mpt"):
        export_packed(keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]), tmp_path / "a.bin")


@pytest.fixture(scope="module")
def small():
    """A packed model with a kernel of each kind, and its header and tensors."""
    keras.utils.set_random_seed(0)
    layers = [
        keras.Input((6, 6, 2)),
        keras.layers.Conv2D(4, 3, use_bias=False, name="conv"),
        keras.layers.DepthwiseConv2D(3, name="depthwise"),
        keras.layers.Flatten(),
        keras.layers.Dense(3, name="head"),
    ]
    return export_small(tfprune.convert(keras.Sequential(layers), "subnet", density=0.4, seed=0))


def export_small(model):
    with tempfile.TemporaryDirectory() as folder:
        export_packed(model, f"{folder}/a.mpt", record={"arch": "tiny"})
        content = Path(folder, "a.mpt").read_bytes()
    start = len(_MAGIC) + 8
    end = start + struct.unpack_from("<I", content, start - 4)[0]
    return content, json.loads(zlib.decompress(content[start:end])), content[end:]


def packed(header, blobs=b""):
    """A file with a right sum, whatever is in it."""
    text = zlib.compress(header if isinstance(header, bytes) else json.dumps(header).encode(), 1)
    body = struct.pack("<I", len(text)) + text + blobs
    return _MAGIC + struct.pack("<I", zlib.crc32(body)) + body


def refusal(data, file, read=load_packed):
    """What is said about a file; empty if it is read."""
    file.write_bytes(data)
    try:
        read(file)
    except CheckpointError as error:
        said = str(error)
        return said if said.startswith(f"cannot read {file}: expected a packed model, ") else f"unexpected: {said}"
    return ""


def test_a_file_that_is_cut_short_or_has_a_flipped_bit(small, tmp_path):
    content, _, _ = small
    for end in range(0, len(content), 5):
        said = "found something else" if end < len(_MAGIC) else "it is damaged or cut short"
        assert said in refusal(content[:end], tmp_path / "b.mpt")
    for place in range(0, len(content), 3):
        flipped = content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :]
        assert "found something else" in (said := refusal(flipped, tmp_path / "b.mpt")) or "damaged" in said
    assert refusal(content, tmp_path / "b.mpt") == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": None}, "model: expected object, got null"),
        ({"model": {}}, ""),
        ({"tensors": {}}, "tensors: expected array, got object"),
        ({"tensors": []}, "it has 0 tensors for the 5 of its model"),
        ({"record": []}, "record: expected object | null, got array"),
        ({"record": {"a": "\0"}}, "has a NUL character"),
        ({"more": 1}, "expected the members model, record, tensors, got 'more', too"),
        ({"record": json.loads("[" * 150 + "]" * 150)}, "nested more than 100 levels deep"),
    ],
    ids=repr,
)
def test_a_wrong_header(small, tmp_path, change, message):
    _, header, blobs = small
    assert (said := refusal(packed(header | change, blobs), tmp_path / "b.mpt"))
    assert message in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bytes": None}, "tensors[0].bytes: expected array, got null"),
        ({"bytes": [-1, 4, 16]}, "tensors[0].bytes[0]: expected int >= 0"),
        ({"bytes": [1.5, 4, 16]}, "tensors[0].bytes[0]: expected int, got float"),
        ({"bytes": [10**30, 4, 16]}, "tensors[0].bytes[0]: "),
        ({"bytes": [2**62, 4, 16]}, "its tensors are cut short"),
        ({"bytes": [9]}, "stored neither as it is nor as mask, signs and sizes"),
        ({"ways": ["zip", "plain"]}, "its bits are packed in the unknown way 'zip'"),
        ({"ways": ["deflate", "plain"]}, "its packed bits are damaged"),
        ({"ways": ["huffman", "plain"]}, "packed bits"),
        ({"ways": ["lzma", "plain"]}, "packed bits"),
        ({"ways": ["plain"]}, "tensors[0].ways: expected array of length 2"),
        ({"ways": None}, "stored neither as it is nor as mask, signs and sizes"),
        ({"kept": 10**12}, "it says 1,000,000,000,000 signs for 29 kept weights"),
        ({"kept": True}, "tensors[0].kept: expected int | null, got bool"),
        ({"sizes": [3]}, "it has sizes (3,) for a kernel"),
        ({"sizes": [10**9, 10**9, 1]}, "it has sizes "),
        ({"sizes": []}, "stored neither as it is nor as mask, signs and sizes"),
        ({"sizes": [0]}, "tensors[0].sizes[0]: expected int >= 1"),
        ({"dtype": "<f4", "bytes": [29]}, ""),
        ({"dtype": "|O", "bytes": [29]}, "tensors[0].dtype: expected str matching regex"),
        ({"dtype": "<f8", "bytes": [16]}, "cannot reshape array of size 2"),
        ({"more": 1}, "tensors[0]: expected the members bytes, dtype, kept, sizes, ways, got 'more', too"),
    ],
    ids=repr,
)
def test_a_wrong_entry_of_a_tensor(small, tmp_path, change, message):
    _, header, blobs = small
    tensors = [header["tensors"][0] | change, *header["tensors"][1:]]
    assert (said := refusal(packed(header | {"tensors": tensors}, blobs), tmp_path / "b.mpt"))
    assert message in said


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_sizes_and_biases_are_finite(small, tmp_path, number):
    _, header, blobs = small
    wrong = np.float32(number).tobytes()
    assert "NaN or infinite numbers" in refusal(packed(header, blobs[:-4] + wrong), tmp_path / "b.mpt")
    start = sum(header["tensors"][0]["bytes"])
    changed = blobs[: start - 4] + wrong + blobs[start:]
    assert "its array 'sizes' has NaN or infinite numbers" in refusal(packed(header, changed), tmp_path / "b.mpt")


def test_bytes_behind_the_tensors(small, tmp_path):
    _, header, blobs = small
    assert "it has 3 bytes behind its tensors" in refusal(packed(header, blobs + b"123"), tmp_path / "b.mpt")


def test_small_files_that_ask_for_much_memory(small, tmp_path):
    """Each has less than 100 kB; the models would have 40 GB and more, the header hundreds of MB."""
    _, header, _ = small

    def model(*layers):
        return keras.saving.serialize_keras_object(keras.Sequential([keras.Input((100_000,)), *layers]))

    large = model(keras.layers.Dense(2))
    large["config"]["layers"][1]["config"]["units"] = 100_000
    many = model(*[keras.layers.Dense(2) for _ in range(3)])
    for layer in many["config"]["layers"][1:]:
        layer["config"]["units"] = 10_000
    zeros = lzma.compress(bytes(10_000_000), lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 9}])
    kernel = {"ways": ["lzma", "plain"], "kept": 0, "sizes": [100_000], "bytes": [len(zeros), 0, 400_000]}
    for hostile in (large, many):
        for tensors in ([], [kernel]):
            said = refusal(packed({"model": hostile, "tensors": tensors}, zeros), tmp_path / "b.mpt")
            assert "it describes a model of more weights than it has" in said
    assert "its header is cut short or too long" in refusal(packed(b" " * (1 << 25)), tmp_path / "b.mpt")
    nested = header | {"model": {"class_name": "Sequential", "config": {"layers": json.loads("[" * 90 + "]" * 90)}}}
    assert refusal(packed(nested), tmp_path / "b.mpt")
    assert "more than 1,048,576 values" in refusal(packed(b"[" + b"[]," * 1_000_000 + b"[]]"), tmp_path / "b.mpt")
    file = tmp_path / "b.mpt"
    tracemalloc.start()
    try:
        assert refusal(packed(b"[" * (1 << 24)), file, read_packed_record)
        assert refusal(packed({"model": large, "tensors": [kernel]}, zeros), file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200e6


def test_bits_never_take_more_memory_than_was_expected():
    for way, data in (("deflate", zlib.compress(bytes(50_000_000), 9)), compress_bits(np.zeros(400_000_000, bool))):
        tracemalloc.start()
        try:
            with pytest.raises(RefusedError, match="bytes of packed bits, where 1 were expected"):
                decompress_bits(way, data, 8)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 1e6


def test_a_pipe_is_no_packed_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.mpt")
    with pytest.raises(CheckpointError, match="no regular file"):
        load_packed(tmp_path / "pipe.mpt")


def test_the_record_of_a_small_file(small, tmp_path):
    content, header, blobs = small
    (tmp_path / "a.mpt").write_bytes(content)
    assert read_packed_record(tmp_path / "a.mpt") == {"arch": "tiny"}
    (tmp_path / "b.mpt").write_bytes(packed({name: header[name] for name in ("model", "tensors")}, blobs))
    assert read_packed_record(tmp_path / "b.mpt") == {}
    assert len(load_packed(tmp_path / "b.mpt").weights) == len(header["tensors"])
