"""Two processes on this machine train as one: the same update, with accumulation, in any number format."""

import json
import signal
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.recipes.training.test_replicas import assert_same_training, run_script
from tfprune.cluster import Cluster
from tfprune.errors import ConfigError, WorkerError
from tfprune.recipes.training import Workers
from tfprune.recipes.training.workers import wait_for_all

SECONDS = 240
NAMES = ["synchronized", "synchronized_accumulated", "local", "float16", "overflow", "overflow_accumulated"]


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
def test_workers_with_the_same_rows_would_be_detected(workers, devices):
    difference = np.subtract(workers[0]["local"]["losses"], devices["one"]["losses"])
    assert np.abs(difference).max() > 1e-4


@pytest.mark.slow
def test_a_chief_that_stops_is_reported(start_workers):
    """In the scope of the strategy each variable waits for the chief's value."""
    chief, other = start_workers([str(Path(__file__).with_name("lost_chief_script.py"))])
    output, errors = other.communicate(timeout=SECONDS)
    assert chief.wait() == -signal.SIGKILL
    assert other.returncode == 0, errors[-3000:]
    assert output.splitlines()[-1].startswith("expected 2 workers, lost one of them")


def test_the_scope_of_one_process_passes_errors_through():
    workers = Workers(tf.distribute.get_strategy())
    lost = tf.errors.UnavailableError(None, None, "Collective ops is aborted by: Socket closed")
    with pytest.raises(tf.errors.UnavailableError), workers.scope():
        raise lost
    workers.count = 2
    named = r"lost one of them \(Socket closed\); start all again with --resume"
    with pytest.raises(WorkerError, match=named), workers.scope():
        raise lost


def free_addresses(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    addresses = tuple(f"127.0.0.1:{each.getsockname()[1]}" for each in sockets)
    for each in sockets:
        each.close()
    return addresses


def start(addresses, rank, minutes=0.5):
    """Meets in a thread; what comes of it is in the list that is returned with it: the time, or the error."""
    result = []

    def work():
        try:
            wait_for_all(Cluster(addresses, rank), minutes)
            result.append(time.monotonic())
        except (ConfigError, WorkerError) as error:
            result.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, result


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_all_continue_when_the_last_has_connected(order):
    addresses = free_addresses(3)
    started = [start(addresses, rank) for rank in order[:2]]
    time.sleep(0.3)
    assert not any(result for _, result in started)
    last = time.monotonic()
    started.append(start(addresses, order[2]))
    for thread, result in started:
        thread.join(20)
        assert result[0] >= last


def test_ports_are_free_afterwards():
    addresses = free_addresses(2)
    for thread, result in [start(addresses, rank) for rank in (0, 1)]:
        thread.join(20)
        assert isinstance(result[0], float)
    for address in addresses:
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("", int(address.rpartition(":")[2])))


@pytest.mark.parametrize(("rank", "missing"), [(0, 1), (1, 0)])
def test_a_worker_that_never_starts_is_reported(rank, missing):
    addresses = free_addresses(2)
    with pytest.raises(WorkerError, match=f"expected to meet worker {missing} .{addresses[missing]}. within 0.005 min"):
        wait_for_all(Cluster(addresses, rank), 0.005)


def test_a_worker_that_disconnects_is_awaited_again():
    addresses = free_addresses(3)
    thread, result = start(addresses, 0)
    host, _, port = addresses[0].rpartition(":")
    for _ in range(50):
        try:
            with socket.create_connection((host, int(port))) as gone:
                gone.sendall(json.dumps([1, addresses]).encode() + b"\n")
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    second, other = start(addresses, 2)
    time.sleep(0.5)
    assert not result
    assert not other
    third, back = start(addresses, 1)
    for each, came in ((thread, result), (second, other), (third, back)):
        each.join(20)
        assert isinstance(came[0], float)


def test_what_strangers_send_to_the_chief_is_ignored():
    addresses = free_addresses(2)
    thread, result = start(addresses, 0, minutes=0.5)
    host, _, port = addresses[0].rpartition(":")
    lines = [
        *(b"", b"GET / HTTP/1.1\r\n\r\n", b"[" * 100_000 + b"\n", b"\xff\n", b"5\n", b"{}\n", b"[1]\n", b"null\n"),
        *(
            json.dumps([rank, addresses]).encode() + b"\n"
            for rank in ([[]], {}, "1", 1.5, True, 0, -1, 2, 10**30, None)
        ),
        b"x" * (2 << 20),
    ]
    for line in lines:
        for _ in range(50):
            try:
                with socket.create_connection((host, int(port))) as stranger, suppress(OSError):
                    stranger.sendall(line)
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
    assert not result
    second, other = start(addresses, 1, minutes=0.5)
    for each, came in ((thread, result), (second, other)):
        each.join(20)
        assert isinstance(came[0], float)


def test_different_lists_of_addresses():
    addresses = free_addresses(2)
    others = [start(addresses, 0), start((addresses[0], *free_addresses(1)), 1)]
    for thread, result in others:
        thread.join(20)
        assert "the same cluster for all workers" in str(result[0])


def test_a_port_in_use():
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot serve on port {port}: Address already in use"):
            wait_for_all(Cluster((f"127.0.0.1:{port}", "127.0.0.1:1"), 0), 0.005)
