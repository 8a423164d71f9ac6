"""Several devices, in a process of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


def run_script(*arguments):
    script = Path(__file__).with_name("replicas_script.py")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, str(script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def results():
    return run_script()


@pytest.fixture(scope="module")
def more(results):
    return {**results, **run_script("more")}


def assert_same_training(first, second, atol, rtol=1e-5):
    np.testing.assert_allclose(first["losses"], second["losses"], rtol=rtol)
    np.testing.assert_allclose(first["accuracies"], second["accuracies"], rtol=1e-6)
    for wanted, got in zip(first["weights"], second["weights"], strict=True):
        np.testing.assert_allclose(got[0], wanted[0], rtol=rtol, atol=atol)


def assert_same_replicas(training):
    for first, second in training["weights"]:
        assert first == second


def test_two_synchronized_replicas_equal_one_device(results):
    assert_same_training(results["one"], results["synchronized"], atol=1e-6)
    loss = results["one"]["evaluation"]["loss"]
    assert results["synchronized"]["evaluation"]["loss"] == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("name", ["synchronized", "local"])
def test_replicas_stay_identical(results, name):
    """Statistics too: without their mean each replica would keep its own."""
    assert_same_replicas(results[name])


def test_local_statistics_are_another_training(results):
    """Else the tests above would not tell synchronized batch norm from none."""
    assert abs(results["local"]["losses"][1] - results["one"]["losses"][1]) > 1e-4


def test_xla_and_synchronized_statistics_exclude_each_other(results):
    assert "expected auto or off for synchronized batch norm on several devices" in results["refusal"]


@pytest.mark.slow
def test_accumulation_on_two_devices_equals_that_on_one(more):
    assert_same_training(more["one_accumulated"], more["synchronized_accumulated"], atol=1e-6)
    assert_same_replicas(more["synchronized_accumulated"])


@pytest.mark.slow
def test_xla_and_plain_replicas_agree(more):
    assert_same_training(more["local"], more["local_xla"], atol=1e-5)
    assert_same_replicas(more["local_xla"])


@pytest.mark.slow
def test_two_devices_in_float16_equal_one(more):
    assert more["float16"]["taken"] == 4
    assert_same_training(more["one_float16"], more["float16"], atol=2e-3, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["overflow", "overflow_accumulated"])
def test_steps_that_overflow_are_left_out_on_all_replicas(more, name):
    """Whichever replica's gradients overflowed: scale and steps agree with each other."""
    skipped = 4 - more[name]["taken"]
    assert 0 < skipped < 4
    assert more[name]["loss_scale"] == 2.0 ** (20 - skipped)
    assert_same_replicas(more[name])
