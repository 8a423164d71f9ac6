"""The record in a model file, in a few lines; and what `tfprune prune` adds to it."""

from collections.abc import Mapping
from dataclasses import MISSING
from typing import Any

import tfprune
from tfprune.cli.prune_config import PruneConfig
from tfprune.errors import ConfigError
from tfprune.recipes.catalog import get_method
from tfprune.settings import settings_of

_LONGEST = 120
_SHOWN_BEFORE = ("method", "arch", "dataset", "image_size")


def pruned_record(record: Mapping[str, Any], config: PruneConfig) -> dict[str, Any]:
    """Returns the record of a model that `tfprune prune` made.

    Args:
        record: The record of the model that it was made from, empty if it has none.
        config: The settings.

    Returns:
        That record without its file and its numbers, such as the accuracy, which are those of another model; and in the
        list `pruned` the settings that differ from the defaults.
    """
    kept = {name: value for name, value in record.items() if name not in ("file", "numbers")}
    before = record.get("pruned")
    values = config.portable()
    step = {name: values[name] for name in config.changed(list(values))}
    if not config.reads_plan:
        step = {name: info.name for name, info in config.criteria.items()} | step
    steps = [*(before if isinstance(before, list) else []), step]
    return kept | {"tfprune": tfprune.__version__, "pruned": steps}


def record_lines(record: Mapping[str, Any]) -> list[str]:
    """Returns what a record says, in a few lines; it may be anything, as others may have written the file."""
    lines = []
    if "method" in record or "dataset" in record:
        size = "x".join(map(str, _listed(record.get("input_shape"))))
        lines.append(
            f"from a run of {_word(record, 'method')}: {_word(record, 'file')}, {_word(record, 'arch')} trained on "
            f"{_word(record, 'dataset')}, images of {size or 'unknown size'}, {_word(record, 'num_classes')} classes"
        )
    for title, values in (
        ("numbers", _mapping(record.get("numbers"))),
        ("augmentation", _mapping(record.get("augmentation"))),
        ("settings other than the defaults", _changed(record)),
    ):
        if values:
            lines.append(f"{title}: {_values(values)}")
    lines += [f"pruned: {_values(_mapping(step))}" for step in _listed(record.get("pruned"))]
    return [_printable(line) for line in lines]


def _changed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings that differ from the defaults of the method; all of them if it is not known."""
    values = {name: value for name, value in _mapping(record.get("settings")).items() if name not in _SHOWN_BEFORE}
    try:
        method = get_method(str(record.get("method")))
    except ConfigError:
        return values
    known = settings_of(method.imagenet_config if "resize_size" in values else method.config)
    return {name: value for name, value in values.items() if name not in known or value != _plain(known[name].default)}


def _plain(default: Any) -> Any:
    """Returns a default as a record has it."""
    return list(default) if isinstance(default, tuple) else None if default is MISSING else default


def _values(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_short(value)}" for name, value in values.items())


def _short(value: Any) -> str:
    """Returns a value as a command line would have it, not too long."""
    if isinstance(value, list):
        text = " ".join(map(_short, value))
    else:
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _word(record: Mapping[str, Any], name: str) -> str:
    return _short(record.get(name, "unknown"))


def _printable(line: str) -> str:
    """Returns a line without characters that would control a terminal."""
    return "".join(each if each.isprintable() else "?" for each in line)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
