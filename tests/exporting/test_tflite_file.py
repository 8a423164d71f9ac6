import contextlib
import os
import random
import sys

import keras
import numpy as np
import pytest

from tfprune.errors import CheckpointError, ConfigError
from tfprune.exporting import TFLiteFile, export


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A network with two inputs and named outputs, as a file for any batch size."""
    keras.utils.set_random_seed(0)
    image, words = keras.Input((6, 6, 2), name="image"), keras.Input((3,), dtype="int32", name="words")
    x = keras.layers.Conv2D(4, 3, name="conv")(image)
    y = keras.layers.Flatten()(keras.layers.Embedding(5, 4)(words))
    outputs = {"maps": keras.layers.ReLU()(x), "scores": keras.layers.Dense(2)(y)}
    return export(keras.Model([image, words], outputs), tmp_path_factory.mktemp("file") / "model.tflite")


def test_content(written):
    file = TFLiteFile(written)
    assert {(each.name, each.shape, each.dtype) for each in file.inputs} == {
        ("image", (None, 6, 6, 2), "float32"),
        ("words", (None, 3), "int32"),
    }
    assert {(each.name, each.shape) for each in file.outputs} == {("maps", (None, 4, 4, 4)), ("scores", (None, 2))}
    assert file.operations["CONV_2D"] == 1
    assert file.operations["GATHER"] == 1
    assert list(file.operations.values()) == sorted(file.operations.values(), reverse=True)
    kernels = 3 * 3 * 2 * 4 + 5 * 4 + 12 * 2
    assert kernels <= file.weights < kernels + 30  # biases, and the sizes of the reshaping
    assert file.tensors > 6


@pytest.mark.parametrize("size", [1, 3])
def test_calls(written, size):
    outputs = TFLiteFile(written).caller(size)()
    assert {each.shape for each in outputs} == {(size, 4, 4, 4), (size, 2)}
    assert all(np.isfinite(each).all() for each in outputs)


def test_open_and_fixed_sizes(tmp_path):
    inputs = keras.Input((None, 2), name="steps")
    model = keras.Model(inputs, keras.layers.GRU(3)(inputs))
    file = TFLiteFile(export(model, tmp_path / "model.tflite", batch_size=2))
    assert file.inputs[0].shape == (2, None, 2)
    assert file.caller(2, (5, 2))()[0].shape == (2, 3)
    with pytest.raises(ConfigError, match="takes batches of 2, not of 3; give --batch_size 2, or export"):
        file.caller(3)
    with pytest.raises(ConfigError, match=r"of shape \[2, any, 2\], not \[2, 5, 3\]; give an --input_shape"):
        file.caller(2, (5, 3))


def test_damaged_files(tmp_path, capfd):
    for content in (b"", b"text", b"TFL3" * 100):
        (tmp_path / "model.tflite").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"model.tflite: expected a TFLite file, .*; export it again"):
            TFLiteFile(tmp_path / "model.tflite")
    assert capfd.readouterr().err == ""


def test_a_file_that_ends_litert_ends_in_a_line(tmp_path):
    path = tmp_path / "model.tflite"
    inputs = keras.Input((4,), name="x")
    export(keras.Model(inputs, keras.layers.Dense(3)(inputs)), path)
    whole, draw = path.read_bytes(), random.Random(0)
    for place in draw.sample(range(len(whole) // 4), 12):
        content = whole[: 4 * place] + draw.choice([b"\xff" * 4, b"\xff\xff\xff\x7f"]) + whole[4 * place + 4 :]
        path.write_bytes(content)
        with contextlib.suppress(CheckpointError, ConfigError):
            TFLiteFile(path).caller(1)()


@pytest.mark.parametrize("code", ["import os; os.abort()", "import os; os.kill(os.getpid(), 11)"])
def test_the_end_of_the_trial_is_said(written, monkeypatch, code):
    monkeypatch.setattr("tfprune.exporting.tflite_file._TRIAL", code)
    with pytest.raises(CheckpointError, match=r"expected a TFLite file, it ends LiteRT by SIG(ABRT|SEGV); export it"):
        TFLiteFile(written)


def test_a_trial_that_cannot_be_made_or_does_not_end(written, monkeypatch):
    monkeypatch.setattr("tfprune.exporting.tflite_file._TRIAL", "raise ImportError('no such thing')")
    with pytest.raises(CheckpointError, match=r"a process that tries it fails: .*ImportError: no such thing"):
        TFLiteFile(written)
    monkeypatch.setattr("tfprune.exporting.tflite_file._TRIAL", "import time; time.sleep(60)")
    monkeypatch.setattr("tfprune.exporting.tflite_file._LONGEST", 0.2)
    with pytest.raises(CheckpointError, match=r"LiteRT does not end within 0\.2 s"):
        TFLiteFile(written)


def test_inputs_that_are_too_large(written):
    with pytest.raises(ConfigError, match=r"takes inputs of 7,200,000,000 values; expected at most 134,217,728"):
        TFLiteFile(written).caller(10**8)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "model.tflite")
    with pytest.raises(CheckpointError, match="expected a TFLite file, it is no regular file"):
        TFLiteFile(tmp_path / "model.tflite")


def test_a_missing_package_is_named(written, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(ConfigError, match=r"expected the package ai-edge-litert, .*pip install 'tfprune\[litert\]'"):
        TFLiteFile(written)
