"""Several devices, in a process of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def results():
    script = Path(__file__).with_name("replicas_script.py")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def assert_same_training(first, second, atol):
    np.testing.assert_allclose(first["losses"], second["losses"], rtol=1e-5)
    np.testing.assert_allclose(first["accuracies"], second["accuracies"], rtol=1e-6)
    for wanted, got in zip(first["weights"], second["weights"], strict=True):
        np.testing.assert_allclose(got[0], wanted[0], rtol=1e-5, atol=atol)


@pytest.mark.parametrize(("one", "two"), [("one", "synchronized"), ("one_accumulated", "synchronized_accumulated")])
def test_two_synchronized_replicas_equal_one_device(results, one, two):
    assert_same_training(results[one], results[two], atol=1e-6)
    assert results[two]["evaluation"]["loss"] == pytest.approx(results[one]["evaluation"]["loss"], rel=1e-5)


@pytest.mark.parametrize("name", ["synchronized", "synchronized_accumulated", "local", "local_xla"])
def test_replicas_stay_identical(results, name):
    """Statistics too: without their mean each replica would keep its own."""
    for first, second in results[name]["weights"]:
        assert first == second


def test_local_statistics_are_another_training(results):
    """Else the tests above would not tell synchronized batch norm from none."""
    assert abs(results["local"]["losses"][1] - results["one"]["losses"][1]) > 1e-4


def test_xla_and_plain_replicas_agree(results):
    assert_same_training(results["local"], results["local_xla"], atol=1e-5)


def test_xla_and_synchronized_statistics_exclude_each_other(results):
    assert "expected auto or off for synchronized batch norm on several devices" in results["refusal"]
