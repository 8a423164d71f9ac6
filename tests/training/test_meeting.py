import json
import socket
import threading
import time

import pytest

from tfprune.cluster import Cluster
from tfprune.errors import ConfigError, WorkerError
from tfprune.training.meeting import meet


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
            meet(Cluster(addresses, rank), minutes)
            result.append(time.monotonic())
        except (ConfigError, WorkerError) as error:
            result.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, result


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_all_go_on_when_the_last_has_come(order):
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
def test_one_that_never_comes_is_named(rank, missing):
    addresses = free_addresses(2)
    with pytest.raises(WorkerError, match=f"expected to meet worker {missing} .{addresses[missing]}. within 0.005 min"):
        meet(Cluster(addresses, rank), 0.005)


def test_one_that_came_and_went_is_waited_for_again():
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


def test_different_lists():
    addresses = free_addresses(2)
    others = [start(addresses, 0), start((addresses[0], *free_addresses(1)), 1)]
    for thread, result in others:
        thread.join(20)
        assert "the same cluster for all workers" in str(result[0])


def test_a_port_that_is_taken():
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot serve on port {port}: Address already in use"):
            meet(Cluster((f"127.0.0.1:{port}", "127.0.0.1:1"), 0), 0.005)
