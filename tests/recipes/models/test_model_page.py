"""docs/models.md says what there is."""

import re
from pathlib import Path

import numpy as np
import pytest

from tfprune.recipes.models import build_model, initializer_names, model_names

PAGE = (Path(__file__).parents[3] / "docs" / "models.md").read_text()
ROWS = {
    match[1]: [int(match[column].replace(",", "")) for column in (2, 3, 4)]
    for match in re.finditer(r"^\| `([^`]+)` \| ([\d,]+) \| ([\d,]+) \| (\d+) \|", PAGE, re.MULTILINE)
}


def test_every_model_is_in_the_table_once():
    assert list(ROWS) == list(model_names())


def test_every_initialization_is_listed():
    missing = [name for name in initializer_names() if f"`{name}`" not in PAGE]
    assert missing == []


@pytest.mark.parametrize(
    "arch", [pytest.param(a, marks=pytest.mark.slow if ROWS.get(a, [0])[0] > 5e5 else ()) for a in model_names()]
)
def test_sizes(arch):
    shape = (28, 28, 1) if arch.startswith("LeNet") else (32, 32, 3)
    model = build_model(arch, num_classes=10, input_shape=shape, init="ones", classifier_init="ones")
    kernels = [np.prod(layer.kernel.shape) for layer in model.layers if hasattr(layer, "kernel")]
    parameters = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    assert ROWS[arch] == [parameters, sum(kernels), len(kernels)]


def test_examples_run(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict = {}
    exec(code, names)
    assert names["small"].count_params() == 274_042
    assert names["narrow"].count_params() == 607_328
    assert names["twin"].get_layer("block1.0_conv1").padding == "valid"
    assert names["signs"].output_shape == (None, 10)
