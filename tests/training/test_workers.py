"""Two processes on this machine train as one: the same update, with accumulation, in any number format."""

import json
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).parent))
from test_replicas import assert_same_training, run_script

from tfprune.errors import WorkerError
from tfprune.training import Workers

SECONDS = 240


@pytest.fixture(scope="module")
def workers(start_workers):
    ended = []
    for worker in start_workers([str(Path(__file__).with_name("workers_script.py"))]):
        output, errors = worker.communicate(timeout=SECONDS)
        assert worker.returncode == 0, errors[-3000:]
        ended.append(json.loads(output.splitlines()[-1]))
    return ended


@pytest.fixture(scope="module")
def devices():
    return {**run_script(), **run_script("more")}


NAMES = ["synchronized", "synchronized_accumulated", "local", "float16", "overflow", "overflow_accumulated"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_workers_hold_the_same_weights_and_metrics(workers, name):
    first, second = workers
    assert first[name] == second[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_workers_equal_two_devices(workers, devices, name):
    tolerance = {"float16": 1e-3, "overflow": 1e-2, "overflow_accumulated": 1e-2}.get(name, 1e-6)
    assert_same_training(devices[name], workers[0][name], atol=tolerance, rtol=10 * tolerance)
    assert workers[0][name]["taken"] == devices[name]["taken"]
    assert workers[0][name]["loss_scale"] == devices[name]["loss_scale"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("one", "two"),
    [("one", "synchronized"), ("one_accumulated", "synchronized_accumulated"), ("one_float16", "float16")],
)
def test_two_workers_equal_one_device(workers, devices, one, two):
    tolerance = 2e-3 if "float16" in one else 1e-6
    assert_same_training(devices[one], workers[0][two], atol=tolerance, rtol=10 * tolerance)


@pytest.mark.slow
def test_it_would_be_seen_if_workers_took_the_same_rows(workers, devices):
    difference = np.subtract(workers[0]["local"]["losses"], devices["one"]["losses"])
    assert np.abs(difference).max() > 1e-4


@pytest.mark.slow
def test_a_chief_lost_while_variables_are_made_is_named(start_workers):
    """In the scope of the strategy each variable waits for the chief's value."""
    chief, other = start_workers([str(Path(__file__).with_name("lost_chief_script.py"))])
    output, errors = other.communicate(timeout=SECONDS)
    assert chief.wait() == -signal.SIGKILL
    assert other.returncode == 0, errors[-3000:]
    assert output.splitlines()[-1].startswith("expected 2 workers, lost one of them")


def test_the_scope_of_one_process_leaves_errors_alone():
    workers = Workers(tf.distribute.get_strategy())
    lost = tf.errors.UnavailableError(None, None, "Collective ops is aborted by: Socket closed")
    with pytest.raises(tf.errors.UnavailableError), workers.scope():
        raise lost
    workers.count = 2
    named = r"lost one of them \(Socket closed\); start all again with --resume"
    with pytest.raises(WorkerError, match=named), workers.scope():
        raise lost
