"""Whether files hold the same: arrays bit for bit, rows of tables and settings exactly, durations and dates not at all.

`contents` reads a file of any kind that a run writes as names and values: a model, a checkpoint, arrays, a table,
TensorBoard's events. `Comparison` compares all files of two folders. What people read (the output of commands, figures,
pages) may be worded differently; that gives a note instead of a difference.
"""

import csv
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tensorflow as tf
import yaml
from tensorflow.core.util import event_pb2

TIMES = frozenset(
    {"seconds", "latency", "time", "times", "ms", "date", "finished", "timestamp", "timestamps", "memory"}
)


def _as_it_is(text: str) -> str:
    return text


@dataclass
class Comparison:
    """Differences between the files of two folders, and what may be worded differently.

    Args:
        old: One folder.
        new: The other.
        hidden: For each of them, a function that takes its own paths out of a text before the texts are compared.

    Attributes:
        differences: One line for each difference.
        notes: One line for each text that is worded differently.
    """

    old: Path
    new: Path
    hidden: tuple[Callable[[str], str], Callable[[str], str]] = (_as_it_is, _as_it_is)
    differences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def compare(self) -> None:
        """Compares all files."""
        old_files, new_files = files_of(self.old), files_of(self.new)
        for name in sorted(old_files.keys() ^ new_files.keys()):
            self.differences.append(f"{name} is in {'OLD' if name in old_files else 'NEW'} only")
        for name in sorted(old_files.keys() & new_files.keys()):
            self.compare_file(name, (old_files[name], new_files[name]))

    def compare_file(self, name: str, paths: tuple[Path, Path]) -> None:
        """Compares two files according to their kind."""
        kind = _kind(paths[0])
        if kind == "ignored":
            return
        if kind == "words":
            texts = [_plain_words(hide(_text(path))) for hide, path in zip(self.hidden, paths, strict=True)]
            if texts[0] != texts[1]:
                self.notes.append(f"{name}: {_first_difference(*texts)}")
            return
        old, new = (
            {hide(key): value for key, value in contents(path) if not is_time(key)}
            for hide, path in zip(self.hidden, paths, strict=True)
        )
        same_old, same_new = (
            {key: comparable(key, value, hide) for key, value in content.items()}
            for hide, content in zip(self.hidden, (old, new), strict=True)
        )
        if kind == "checkpoint" and sorted(same_old.values()) == sorted(same_new.values()):
            if same_old != same_new and "saved_model" not in name:  # Keras numbers those of a SavedModel at random
                self.notes.append(f"{name}: variables have other names and the same values")
            return
        for key in sorted(old.keys() ^ new.keys()):
            self.differences.append(f"{name}: {key} is in {'OLD' if key in old else 'NEW'} only")
        for key in sorted(old.keys() & new.keys()):
            if same_old[key] != same_new[key]:
                shown = f"{name}: {key}: {_difference(old[key], new[key])}"
                (self.notes if _is_note(key) else self.differences).append(shown)


def files_of(folder: Path) -> dict[str, Path]:
    """Returns the files of a folder by their names, those of TensorBoard without time and process."""
    found: dict[str, Path] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        events = re.sub(r"(events\.out\.tfevents)\..*", r"\1", name)
        found[events if events == name else f"{events}.{sum(other.startswith(events) for other in found)}"] = path
    return found


def _kind(path: Path) -> str:
    """Returns how a file is compared."""
    names = dict.fromkeys(("done", "duration", "checkpoint", "seconds.json"), "ignored")
    kinds = {".stderr": "ignored", ".pb": "ignored", ".stdout": "words", ".md": "words", ".png": "words"}
    kinds |= {".data-00000-of-00001": "ignored", ".index": "checkpoint", ".npz": "npz", ".npy": "npy"}
    kinds |= {".keras": "keras", ".json": "json", ".jsonl": "jsonl", ".yaml": "yaml", ".csv": "csv"}
    if "tfevents" in path.name:
        return "events"
    return names.get(path.name) or kinds.get(path.suffix, "bytes")


def contents(path: Path) -> Iterator[tuple[str, Any]]:
    """Yields the names and values that a file holds.

    Args:
        path: The file.

    Yields:
        Pairs of a name and an array, a leaf of nested settings, the bytes of an event, or the bytes of the file.
    """
    kind = _kind(path)
    if kind == "npy":
        yield "array", np.load(path)
    elif kind == "npz":
        with path.open("rb") as file, np.load(file) as arrays:  # np.load alone may leave a damaged file open
            yield from arrays.items()
    elif kind == "keras":
        yield from _model(path)
    elif kind == "checkpoint":
        reader = tf.train.load_checkpoint(str(path.with_suffix("")))
        for name in reader.get_variable_to_shape_map():
            if name != "_CHECKPOINTABLE_OBJECT_GRAPH":
                yield name, np.asarray(reader.get_tensor(name))
    elif kind == "events":
        yield from _events(path)
    elif kind == "csv":
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        yield "rows", len(rows)
        yield from _flat({column: [row[column] for row in rows] for column in (rows[0] if rows else ())})
    elif kind == "jsonl":
        yield from _flat([json.loads(line) for line in path.read_text().splitlines()])
    elif kind == "json":
        content = json.loads(path.read_text())
        if path.name == "run.json":  # the files that the run made, in the order in which it made them, and a sum of it
            content = content | {"made": sorted(content["made"]), "sha256": ""}
        yield from _flat(content)
    elif kind == "yaml":
        yield from _flat(yaml.safe_load(path.read_text()))
    else:
        yield "bytes", np.frombuffer(path.read_bytes(), np.uint8)


def _model(path: Path) -> Iterator[tuple[str, Any]]:
    """Yields the configuration and the weights of a `.keras` file."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".json"):
                leaves = _flat(json.loads(archive.read(name)), name)
                yield from (leaf for leaf in leaves if not leaf[0].endswith("shared_object_id"))  # an address in memory
            elif name.endswith(".h5"):
                arrays: list[tuple[str, Any]] = []
                with h5py.File(io.BytesIO(archive.read(name))) as weights:
                    weights.visititems(partial(_add_array, arrays))
                yield from arrays
            else:
                yield name, np.frombuffer(archive.read(name), np.uint8)


def _add_array(arrays: list[tuple[str, Any]], name: str, item: h5py.Dataset | h5py.Group) -> None:
    """Adds what is an array to the list."""
    if isinstance(item, h5py.Dataset):
        arrays.append((name, item[()]))


def _events(path: Path) -> Iterator[tuple[str, Any]]:
    """Yields what a file for TensorBoard holds, by tag, step, and number."""
    for number, record in enumerate(tf.data.TFRecordDataset(str(path))):
        event = event_pb2.Event.FromString(record.numpy())
        for value in event.summary.value:
            yield f"{number} {value.tag} at step {event.step}", value.SerializeToString()


def _flat(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the leaves of nested dictionaries and lists."""
    if isinstance(tree, dict | list) and tree:
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _flat(value, f"{name}/{key}" if name else str(key))
    else:
        yield name, tree


def is_time(key: str) -> bool:
    """Returns whether a value is a duration or a date, by the last part of its name that is no number."""
    names = [part for part in key.split("/") if not part.isdigit()]
    return bool(names) and not TIMES.isdisjoint(re.split(r"[^a-z]+", names[-1].lower()))


def _is_note(key: str) -> bool:
    """Returns whether a value may differ: the module of a class in a model file, and the length of the file."""
    return "file_bytes" in key or (key.startswith("config.json") and key.endswith("module"))


def comparable(key: str, value: Any, hide: Callable[[str], str] = _as_it_is) -> str:
    """Returns a text that is equal for equal values: of an array, its dtype, shape and a digest of its bits.

    Args:
        key: The name of the value.
        value: An array or a plain value.
        hide: Takes paths out of texts.
    """
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind not in "USO":
        value = np.ascontiguousarray(value)
        return f"{value.dtype} {np.shape(value)} {hashlib.sha256(value.tobytes()).hexdigest()}"
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if key.endswith("py_state") or key == "table":  # JSON in a checkpoint, and in the state of a search
        return repr([(name, leaf) for name, leaf in _flat(json.loads(value)) if not is_time(name)])
    return hide(value.decode(errors="replace") if isinstance(value, bytes) else repr(value))


def _difference(old: Any, new: Any) -> str:
    """Returns how two values differ, in words."""
    if not isinstance(old, np.ndarray) or not isinstance(new, np.ndarray) or old.dtype.kind not in "biuf":
        return f"{str(old)[:200]!r} -> {str(new)[:200]!r}"
    if old.shape != new.shape or old.dtype != new.dtype:
        return f"{old.dtype} {old.shape} -> {new.dtype} {new.shape}"
    apart = np.abs(old.astype(np.float64) - new.astype(np.float64))
    bits = [np.frombuffer(array.tobytes(), np.uint8).reshape(array.size, -1) for array in (old, new)]
    count = np.count_nonzero((bits[0] != bits[1]).any(axis=1))
    return f"{count} of {apart.size} values differ, by {apart.max():.3g} at most"


def _text(path: Path) -> str:
    """Returns the text of a file; of a figure, a digest."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.suffix == ".png" else path.read_text(errors="replace")


def _plain_words(text: str) -> list[str]:
    """Returns the lines of an output without durations, frames, and blanks."""
    lines = (re.sub(r"[\s\u2500-\u257f]+", " ", line).strip() for line in text.splitlines())
    times = re.compile(r"[\d.,]+ ?(ms|µs|us|s|seconds|GB|MB|kB|bytes)\b")
    lines = (re.sub(r"[\d.,]+ \[[\d.,]+\] [\d.,]+ x [\d.]+", "TIMES", line) for line in lines)  # of `tfprune benchmark`
    return [times.sub("TIME", line) for line in lines if line and not re.search("latency|faster|slower", line)]


def _first_difference(old: list[str], new: list[str]) -> str:
    """Returns the first lines that differ."""
    for one, other in zip(old, new, strict=False):
        if one != other:
            return f"{one[:150]!r} -> {other[:150]!r}"
    return f"{len(old)} -> {len(new)} lines"
