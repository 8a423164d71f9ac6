"""Fixtures shared by all tests: golden numbers, data that are not in the repository, workers."""

import io
import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest
from rich.console import Console

from tests import outside
from tests.golden_arrays import GoldenArrays


@pytest.fixture(scope="session")
def tfds_folder() -> Path:
    """The folder of TensorFlow Datasets in which CIFAR-10 is prepared."""
    return outside.tfds_with_cifar10()


@pytest.fixture(scope="session")
def pretrained_file() -> Path:
    """The file with EKG's pretrained ResNet-56."""
    return outside.pretrained_resnet56()


@pytest.fixture(scope="session")
def golden() -> GoldenArrays:
    """Numbers computed with the original EKG code."""
    return GoldenArrays("ekg")


@pytest.fixture(scope="session")
def golden_search(golden: GoldenArrays) -> GoldenArrays:
    """The recorded 77 steps of the original's ResNet-56 search (names without their `search/` prefix)."""
    return golden.section("search/")


@pytest.fixture(scope="session")
def golden_peekaboo() -> GoldenArrays:
    """Numbers computed with the original Peek-a-Boo code."""
    return GoldenArrays("peekaboo")


@pytest.fixture(scope="session")
def golden_biprop() -> GoldenArrays:
    """Numbers computed with the original code of Multi-Prize Tickets."""
    return GoldenArrays("biprop")


@pytest.fixture(scope="session")
def golden_random_tickets() -> GoldenArrays:
    """Numbers computed with the original Random Tickets code."""
    return GoldenArrays("random_tickets")


@pytest.fixture(scope="session")
def golden_dpp() -> GoldenArrays:
    """Numbers computed with the original DPP code."""
    return GoldenArrays("dpp")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says which tests were left out for want of data, and what to provide."""
    reasons = [report.longrepr[2] for report in terminalreporter.stats.get("skipped", ()) if report.longrepr]
    counts = outside.left_out(reasons)
    if counts:
        terminalreporter.section("left out")
    for name, count in counts.items():
        tests = "1 test needs" if count == 1 else f"{count} tests need"
        terminalreporter.write_line(f"{tests} {name}: {outside.HINTS[name]}")


@pytest.fixture
def small_files() -> Callable[[int], AbstractContextManager[None]]:
    """A context in which no file can grow beyond so many bytes: the system refuses, as it does when a disk is full."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


@pytest.fixture(scope="module")
def start_workers():
    """Starts a Python program as each of several workers on this machine; none outlives the module."""
    started = []

    def start(command, count=2, environment=None, cwd=None):
        addresses = [f"127.0.0.1:{port}" for port in _free_ports(count)]
        for rank in range(count):
            cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}
            variables = {**os.environ, "TF_CONFIG": json.dumps(cluster), "OMP_NUM_THREADS": "1", **(environment or {})}
            variables["PYTHONPATH"] = str(Path(__file__).parents[1])
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            started.append(subprocess.Popen([sys.executable, *command], env=variables, cwd=cwd, **pipes))
        return started[-count:]

    yield start
    for worker in started:
        if worker.poll() is None:
            worker.kill()
        worker.communicate()


def _free_ports(count):
    """Ports that nothing listens on now; all are open at once, so they differ."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Screen(Console):
    """A console whose lines can be asked for."""

    def __init__(self):
        super().__init__(file=io.StringIO(), width=200)

    @property
    def lines(self):
        """What was printed, blanks squeezed, without empty lines and rules."""
        return [" ".join(line.split()) for line in self.file.getvalue().splitlines() if line.strip(" ─")]


@pytest.fixture
def screen():
    return Screen()
