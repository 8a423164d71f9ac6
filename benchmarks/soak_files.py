"""Whether two runs have left the same."""

import io
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np


def found_differences(expected: Path, received: Path, results: str) -> list[str]:
    """What is not the same in the folders of two runs.

    Args:
        expected: The one.
        received: The other.
        results: A pattern for the files with the weights, `.keras` and `.npz`.
    """
    weights = {file.relative_to(expected) for file in expected.glob(results)}
    if not weights:
        return ["nothing to compare with"]
    found = []
    for name in sorted(weights | {file.relative_to(received) for file in received.glob(results)}):
        if not ((expected / name).exists() and (received / name).exists()):
            found.append(f"{name} in one of them only")
        elif not same_weights(expected / name, received / name):
            found.append(f"other weights in {name}")
    ours, theirs = tables(expected), tables(received)
    return found + [f"other rows in {name}" for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)]


def same_weights(one: Path, other: Path) -> bool:
    """Whether two files hold the same arrays, bit for bit."""
    first, second = arrays(one), arrays(other)
    return first.keys() == second.keys() and all(_same(first[name], second[name]) for name in first)


def arrays(file: Path) -> dict[str, np.ndarray]:
    """All arrays of a `.keras` or `.npz` file, by name."""
    if file.suffix == ".npz":
        with np.load(file) as content:
            return dict(content)
    found: dict[str, np.ndarray] = {}

    def take(name: str, node: object) -> None:
        if isinstance(node, h5py.Dataset):
            found[name] = np.asarray(node)

    with zipfile.ZipFile(file) as content, h5py.File(io.BytesIO(content.read("model.weights.h5"))) as weights:
        weights.visititems(take)
    return found


def tables(run: Path) -> dict[str, list[dict[str, object]]]:
    """The rows of all tables of a run and of those in it, but not how long they took."""
    found = {}
    for file in sorted(run.rglob("metrics/*.jsonl")):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        found[str(file.relative_to(run))] = [{k: value for k, value in row.items() if k != "seconds"} for row in rows]
    return found


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return (one.dtype, one.shape) == (other.dtype, other.shape) and one.tobytes() == other.tobytes()
