"""The scripts of examples/ run, in an empty folder, and do what they promise."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
EXPECTED = {
    "binary_subnetwork": ("bytes, where float32 weights take", "returns the same outputs: True"),
    "ekg_search": ("FLOPs (multiply-adds): ", "widths: "),
    "own_criterion_and_layer": ("no rule for Scale", "2 channel groups, 48 channels", "factors: 16 -> 8"),
    "prune_any_model": ("Plan for ", "latency"),
    "prune_llm": ("Plan for gpt2_causal_lm", "112,384 parameters write 'The ", "pruned: 67,363 parameters write 'The "),
    "train_signs": ("magnitudes are those that were drawn: True",),
}
PACKAGES = {"prune_llm": "keras_hub"}
FILES = {"binary_subnetwork": ["ticket.mpt"], "prune_any_model": ["small.keras", "small.tflite"]}


def test_every_script_is_tested():
    assert sorted(file.stem for file in FOLDER.glob("*.py")) == sorted(EXPECTED)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_script_runs(name, tmp_path):
    pytest.importorskip(PACKAGES.get(name, "keras"))
    environment = {**os.environ, "PYTHONPATH": str(FOLDER.parent)}
    command = [sys.executable, FOLDER / f"{name}.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    printed = done.stdout
    for each in EXPECTED[name]:
        assert each in printed
    for accuracy in re.findall(r"([\d.]+)% of the test images", printed):
        assert float(accuracy) > 90
    assert sorted(file.name for file in tmp_path.rglob("*.*") if file.is_file()) == FILES.get(name, [])


@pytest.mark.parametrize("name", EXPECTED)
def test_script_is_short_and_explains_itself(name):
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 60
    assert f"python examples/{name}.py" in source.split('"""')[1]
