"""Whether two runs have left the same."""

from pathlib import Path

import numpy as np
from compare_files import comparable, contents, is_time


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
    first, second = ({k: comparable(k, value) for k, value in arrays(file).items()} for file in (one, other))
    return first == second


def arrays(file: Path) -> dict[str, np.ndarray]:
    """All arrays of a `.keras` or `.npz` file, by name."""
    return {name: value for name, value in contents(file) if isinstance(value, np.ndarray)}


def tables(run: Path) -> dict[str, dict[str, object]]:
    """The values in all tables of a run and of those in it, but not how long they took."""
    files = sorted(run.rglob("metrics/*.jsonl"))
    return {str(file.relative_to(run)): {k: v for k, v in contents(file) if not is_time(k)} for file in files}
