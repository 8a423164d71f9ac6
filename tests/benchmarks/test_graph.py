import importlib.util

import graph
import keras
import numpy as np
import pytest

from tfprune.graph import channel_groups


def test_groups_say_what_layers_do(tiny_application):
    model = tiny_application(input_shape=(8, 8, 3))
    first, second = sorted(graph.our_groups(channel_groups(model)))
    convs = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    depthwise = next(layer.name for layer in model.layers if isinstance(layer, keras.layers.DepthwiseConv2D))
    assert (first[0], second[0]) == (16, 24)
    assert {name for name, role in first[1] if role == "makes"} == set(convs[:2])
    assert {name for name, role in first[1] if role == "reads"} == set(convs[1:])
    assert (depthwise, "carries") in first[1]
    assert second[1] == {(convs[2], "makes"), ("predictions", "reads")}


def test_one_line_where_torch_pruning_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert graph.main([]) == 2
    assert capsys.readouterr().err == "graph.py compares with Torch-Pruning: pip install torch torch-pruning\n"


def test_twin_computes_the_same(tiny_application):
    torch = pytest.importorskip("torch")
    from torch_twin import TorchTwin

    model = tiny_application(None, None, (8, 8, 3))
    rng = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(rng.uniform(0.5, 1, variable.shape) * rng.choice([1, -1] if variable.ndim > 1 else [1]))
    rescaling, images = 1 / 255, rng.uniform(0, 255, (2, 8, 8, 3)).astype(np.float32)
    without = keras.Model(model.layers[1].output, model.output)
    received = TorchTwin(without).eval()(torch.from_numpy(np.moveaxis(images * rescaling, -1, 1)).float())
    np.testing.assert_allclose(received.detach(), model(images, training=False), rtol=1e-4, atol=1e-4)


def test_whole_script(tiny_application, monkeypatch, capsys):
    pytest.importorskip("torch_pruning")

    def without_rescaling(weights, classifier_activation):
        model = tiny_application(weights, classifier_activation, (16, 16, 3))
        return keras.Model(model.layers[1].output, model.output)

    monkeypatch.setattr(keras.applications, "Tiny", without_rescaling)
    assert graph.main(["--models", "Tiny", "--rounds", "1"]) == 0
    out = capsys.readouterr().out
    assert "Tiny: 2 groups here, 2 there, 2 the same" in out
    assert "same shapes" in out
