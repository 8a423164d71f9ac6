"""Training on two devices, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    script = Path(__file__).with_name("replicas_script.py")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path_factory.mktemp("replicas"))],
        capture_output=True,
        text=True,
        env=environment,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def difference(first, second):
    return max(np.abs(np.subtract(*pair)).max() for pair in zip(first["weights"], second["weights"], strict=True))


def test_two_synchronized_devices_equal_one(results):
    one, two = results["one"], results["synchronized"]
    for row, other in zip(one["rows"], two["rows"], strict=True):
        assert row == pytest.approx(other, rel=1e-4)
    assert difference(one, two) < 1e-4


def test_without_synchronization_it_is_another_training(results):
    assert difference(results["one"], results["local"]) > 2e-3


def test_resumed_on_two_devices_equals_unbroken(results):
    assert [row["step"] for row in results["resumed"]["rows"]] == [3, 6]
    assert results["resumed"]["rows"] == results["synchronized"]["rows"]
    assert difference(results["synchronized"], results["resumed"]) == 0
