"""What the programs in this folder share: flags, threads, the processor, tables, missing packages."""

import argparse
import csv
import importlib.util
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def new_parser(description: str | None) -> argparse.ArgumentParser:
    """Returns a parser whose help shows the docstring of a program as it is written."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def use_threads(count: int, between_operations: int = 1) -> None:
    """Sets TensorFlow's threads; has to be called before TensorFlow runs anything.

    Args:
        count: Threads inside an operation, 0 for all cores.
        between_operations: Operations that run at the same time, 0 for all cores.
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(count)
    tf.config.threading.set_inter_op_parallelism_threads(between_operations)


def processor_name() -> str:
    """Returns the name of this machine's processor."""
    file = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*:\s*(.+)", file.read_text(encoding="utf-8")) if file.exists() else None
    return named[1] if named else platform.processor() or platform.machine()


def missing(purpose: str, *packages: str) -> bool:
    """Returns whether a package is missing, after one line on stderr that says how to install it.

    Args:
        purpose: What needs the packages, the beginning of the line.
        packages: Names for `pip install`.
    """
    found = [importlib.util.find_spec(package.replace("-", "_")) for package in packages]
    if not all(found):
        print(f"{purpose}: pip install {' '.join(packages)}", file=sys.stderr)
    return not all(found)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a CSV file; all rows have the columns of the first."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
