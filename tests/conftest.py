"""Fixtures shared by all tests: where the reference numbers lie, and how TensorFlow is set up."""

import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with reference numbers and data (`TFPRUNE_SHARED`, or `shared` beside the repository)."""
    folder = Path(os.environ.get("TFPRUNE_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "golden").is_dir():
        pytest.skip(f"no reference numbers at {folder}: set TFPRUNE_SHARED to the folder that holds golden/ and data/")
    return folder


@pytest.fixture(scope="session")
def golden(shared: Path) -> Mapping[str, np.ndarray]:
    """Numbers computed with the original EKG code."""
    with np.load(shared / "golden" / "ekg.npz") as arrays:
        return {name: arrays[name] for name in arrays.files if not name.startswith("search/")}


@pytest.fixture(scope="session")
def golden_search(shared: Path) -> Mapping[str, np.ndarray]:
    """The recorded 77 steps of the original's ResNet-56 search (names without their `search/` prefix)."""
    with np.load(shared / "golden" / "ekg.npz") as arrays:
        return {name.removeprefix("search/"): arrays[name] for name in arrays.files if name.startswith("search/")}


def _arrays(name: str):
    """A fixture with the numbers computed with another original; each array is read when it is asked for."""

    @pytest.fixture(scope="session", name=f"golden_{name}")
    def numbers(shared: Path) -> Iterator[Mapping[str, np.ndarray]]:
        with np.load(shared / "golden" / f"{name}.npz") as arrays:
            yield arrays

    return numbers


golden_peekaboo = _arrays("peekaboo")
golden_biprop = _arrays("biprop")
golden_random_tickets = _arrays("random_tickets")
golden_dpp = _arrays("dpp")


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
