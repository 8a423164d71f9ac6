import sys

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

from tfprune.errors import ConfigError, UnsupportedLayerError
from tfprune.exporting import export_onnx


def run(path, inputs):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def test_computes_the_same(tmp_path, network, inputs_for, outputs_of):
    export_onnx(network, tmp_path / "model.onnx")
    for examples in (1, 4):
        inputs = inputs_for(network, examples)
        expected, received = outputs_of(network, inputs), run(tmp_path / "model.onnx", inputs)
        assert set(received) == set(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(received[name], value, rtol=1e-5, atol=1e-5)


def test_names_and_free_batch_axis(tmp_path, two_inputs):
    export_onnx(two_inputs, tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx").graph
    ends = {end.name: end.type.tensor_type.shape.dim[0].dim_param for end in (*graph.input, *graph.output)}
    assert ends == dict.fromkeys(["zoom", "ask", "output_0", "output_1"], "batch")


@pytest.mark.parametrize("package", ["onnx", "tf2onnx"])
def test_a_missing_package_is_named(tmp_path, two_inputs, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"received .*{package}.*; run: pip install 'tfprune\[onnx\]'") as caught:
        export_onnx(two_inputs, tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)
    assert not any(tmp_path.iterdir())


def test_operations_that_onnx_lacks_are_named(tmp_path, capfd):
    inputs = keras.Input((2, 2))
    with pytest.raises(UnsupportedLayerError, match="expected operations that ONNX has, received Cholesky"):
        export_onnx(keras.Model(inputs, keras.ops.cholesky(inputs)), tmp_path / "model.onnx")
    assert capfd.readouterr().err == ""
    assert not any(tmp_path.iterdir())


def test_other_suffixes_are_refused(tmp_path, two_inputs):
    with pytest.raises(ConfigError, match=r"ends in \.onnx"):
        export_onnx(two_inputs, tmp_path / "model.pb")
