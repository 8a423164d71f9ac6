"""Prunes every backbone of KerasHub that builds at a tiny size, and writes a table of what is right, and what is not.

    python benchmarks/hub_table.py --out benchmarks/results/hub.jsonl                    # all, some minutes
    python benchmarks/hub_table.py --only BertBackbone vit --out benchmarks/results/hub.jsonl
    python benchmarks/hub_table.py --out benchmarks/results/hub.jsonl --page docs/hub.md  # writes the page, too

Weights are random; nothing is downloaded. Each backbone runs in a process of its own and adds a row to the file; rows
that are there already are kept. Half of every channel group is removed by chance. What is checked:

    error      pruned model against the original at full width in which nothing reads what was removed (relative)
    power      that reference against the original, the same measure: that there was something to get wrong
    counts     parameters are those that the costs say
    reload     Keras loads the file of the pruned model, and it computes the same
    train      a step of gradient descent changes all weights that it trains
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hub_models import TEXT_MODELS
from pages import rewrite
from program import missing, new_parser, processor_name

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
_LIMIT = 1e-5
_SECONDS = 900
_COLUMNS = ("backbone", "groups", "channels", "parameters", "error", "power", "counts", "reload", "train", "stays")
Row = dict[str, Any]


def all_models() -> dict[str, Callable[[], Any]]:
    """The backbones by name, those of text first."""
    from hub_vision_models import MODELS

    return {**TEXT_MODELS, **MODELS}


def measured(name: str) -> Row:
    """Prunes a backbone here, and returns its row."""
    import keras
    import numpy as np

    from tfprune.graph import CostModel, channel_groups, slim
    from tfprune.graph.masked import masked

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    model = all_models()[name]()
    for weight in model.weights:
        if keras.backend.is_float_dtype(weight.dtype):
            noise = rng.uniform(0.9, 1.1, weight.shape) if "var" in weight.path else rng.normal(0, 0.1, weight.shape)
            weight.assign(noise if "var" in weight.path else np.asarray(weight) + noise)
    groups = channel_groups(model)
    row: Row = {"backbone": name, "groups": len(groups), "channels": groups.width, "stays": list(groups.pinned)}
    if not len(groups):
        return row
    mask = rng.random(groups.channels) < 0.5
    for group in groups:
        mask[group.start], mask[group.start + group.size - 1] = True, group.size == 1
    small = slim(model, mask, groups)
    shapes = groups.graph.sizes or [(2, *(size or 8 for size in tensor.shape[1:])) for tensor in model.inputs]
    values = {}
    for tensor, shape in zip(model.inputs, shapes, strict=True):
        shape = tuple(size or 2 for size in shape)
        whole = not keras.backend.is_float_dtype(tensor.dtype)
        values[tensor.name] = rng.integers(0, 2, shape) if whole else rng.normal(size=shape).astype(np.float32)
        if "mask" in tensor.name:
            values[tensor.name] = np.ones(shape, np.int32 if whole else np.float32)
    x = values if isinstance(model.input, dict) else next(iter(values.values()))
    found = flat(small(x, training=False))
    reference = flat(masked(model, mask, groups)(x, training=False))
    costs = CostModel(model, groups)
    planned = costs.totals(np.ones_like(mask))[0] - costs.totals(mask)[0]
    row |= {
        "parameters": round(small.count_params() / model.count_params(), 3),
        "error": difference(found, reference),
        "power": difference(flat(model(x, training=False)), reference),
        "counts": model.count_params() - small.count_params() == planned,
        "reload": reloaded(small, x, found),
    }
    return row | {"train": trained(small, x)}


def flat(outputs: Any) -> list[Any]:
    """The outputs of a model as arrays."""
    import keras
    import numpy as np

    return [np.asarray(keras.ops.cast(each, "float32")) for each in keras.tree.flatten(outputs)]


def difference(found: Sequence[Any], expected: Sequence[Any]) -> float:
    """The largest difference, relative to the largest value of each output."""
    import numpy as np

    return max(
        float(np.abs(one - two).max() / max(np.abs(two).max(), 1e-9)) for one, two in zip(found, expected, strict=True)
    )


def reloaded(small: Any, x: Any, found: Sequence[Any]) -> str:
    """Whether Keras loads the file of a model, or what it says."""
    import keras

    with TemporaryDirectory() as folder:
        try:
            small.save(f"{folder}/small.keras")
            again = flat(keras.models.load_model(f"{folder}/small.keras")(x, training=False))
        except Exception as error:  # of Keras, or of the code of a layer
            return " ".join(str(error).split())[-120:]
    return "yes" if difference(again, found) <= _LIMIT else "other outputs"


def trained(small: Any, x: Any) -> bool:
    """Whether a step of gradient descent reaches weights, and leaves them finite."""
    import numpy as np
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = tf.add_n([tf.reduce_mean(tf.square(tf.cast(each, tf.float32))) for each in tf.nest.flatten(small(x))])
    gradients = [each for each in tape.gradient(loss, small.trainable_variables) if each is not None]
    finite = all(bool(np.isfinite(tf.convert_to_tensor(each)).all()) for each in gradients)
    return finite and len(gradients) >= len(small.trainable_variables) // 2


def row_of(name: str) -> Row:
    """The row of a backbone, from a process of its own."""
    command = [sys.executable, __file__, "--here", name]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return {"backbone": name, "failed": f"it took more than {_SECONDS} seconds"}
    if ended.returncode:
        said = [line for line in ended.stderr.splitlines() if re.match(r"[\w.]+(Error|Exception): ", line)]
        return {"backbone": name, "failed": (said or ["no message"])[-1][:200]}
    return json.loads(ended.stdout.splitlines()[-1])


def wrong(row: Row) -> bool:
    """Whether something was pruned, and is not right."""
    return "failed" not in row and "error" in row and (row["error"] > _LIMIT or not row["counts"] or not row["train"])


def table(rows: Sequence[Row]) -> str:
    """The part of the page: a summary, and a row for each backbone."""
    pruned = [row for row in rows if "error" in row]
    lines = [
        f"**{len(pruned)} of {len(rows)} backbones are pruned, {sum(map(wrong, rows))} of them wrong**; "
        f"{sum(row['reload'] == 'yes' for row in pruned)} of the pruned ones load again. {processor_name()}.",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        "|" + "---|" * len(_COLUMNS),
    ]
    for row in rows:
        if "failed" in row:
            lines.append(f"| {row['backbone']} |" + " |" * (len(_COLUMNS) - 2) + f" {row['failed']} |")
            continue
        cells = [row.get(column, "") for column in _COLUMNS[:-1]]
        shown = [
            f"{cell:.1e}" if isinstance(cell, float) and cell and column != "parameters" else f"{cell}"
            for cell, column in zip(cells, _COLUMNS, strict=False)
        ]
        stays = "; ".join(each if len(each) < 160 else f"{each[:160]}..." for each in row["stays"][:3])
        lines.append(f"| {' | '.join(shown)} | {stays.replace('|', '/')} |")
    return "\n".join(lines)


def make_parser() -> argparse.ArgumentParser:
    """The flags."""
    parser = new_parser(__doc__)
    parser.add_argument("--only", nargs="+", help="names of backbones; default: all")
    parser.add_argument("--out", type=Path, help="file of rows, JSON lines")
    parser.add_argument("--page", type=Path, help="page that the table is written into")
    parser.add_argument("--here", metavar="NAME", help="one backbone, in this process; prints its row")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the flags, and measures."""
    options = make_parser().parse_args(arguments)
    if missing("this benchmark prunes models of KerasHub", "keras-hub"):
        return 2
    if options.here:
        print(json.dumps(measured(options.here)))
        return 0
    lines = options.out.read_text(encoding="utf-8").splitlines() if options.out and options.out.exists() else []
    rows = {row["backbone"]: row for row in map(json.loads, lines)}
    for name in options.only or all_models():
        if name not in rows:
            rows[name] = row_of(name)
            print(f"{name}: {'WRONG' if wrong(rows[name]) else rows[name].get('failed', 'done')}", flush=True)
            if options.out:
                with options.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(rows[name]) + "\n")
    text = table(list(rows.values()))
    print(text)
    if options.page:
        if not options.page.exists():
            options.page.write_text("<!-- written by benchmarks/hub_table.py -->\n", encoding="utf-8")
        rewrite(options.page, "hub_table.py", text)
    return int(any(map(wrong, rows.values())))


if __name__ == "__main__":
    sys.exit(main())
