"""The page on public models, written from the rows that `field.py` measured."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from field_models import MODELS

Row = dict[str, Any]
LARGEST_ERROR, LARGEST_EXPORT_ERROR, LEAST_EFFECT = 1e-4, 1e-3, 1e-3
_EXPORTS = ("saved_model", "tflite", "onnx")

PAGE = """# Public models, pruned

Written by `python benchmarks/field.py --table` from the rows that `python benchmarks/field.py` measured. {summary}

Measured on {devices}. How the models are built is in `benchmarks/field_models.py`: with small inputs, or few layers.
The notes say why something is refused.

Weights are random, channels are chosen at random. *FLOPs* is the fraction kept where half was asked for; where that is
refused, another target is shown in brackets. *error* compares the pruned model with the original that has zeros in
place of what was removed, run by Keras, relative to the largest output; *power* compares that reference with the
original, so that a mistake would show. *reload*: a process without tfprune loads the file and computes the same.
*train*: a small step against the gradient lowers the loss as predicted. The exports are compared in TensorFlow, LiteRT
and ONNX Runtime.

{table}

{notes}"""
_COLUMNS = ("model", "groups", "FLOPs", "error", "power", "reload", "train", "SavedModel", "TFLite", "ONNX")


def failures(row: Row) -> list[str]:
    """Names of the checks that a model does not pass; refusals with a reason are no failure."""
    if "stopped" in row:
        return [row["stopped"]]
    if "error" not in row:
        return [] if row.get("refused") else ["refused without a reason"]
    passed = {
        "error": row["error"] < LARGEST_ERROR,
        "power": row["power"] > LEAST_EFFECT,
        "counts": row["counts"],
        "budget": bool(row.get("refused")) or row["kept_flops"] <= row["asked"],
        "reload": _below(row["reload"], LARGEST_ERROR) or isinstance(row.get("reload_original"), str),
        "train": not isinstance(row["train"], str) and 0.5 < row["train"] < 1.5,
        **{kind: isinstance(row[kind], str) or row[kind] < LARGEST_EXPORT_ERROR for kind in _EXPORTS},
    }
    return [name for name, good in passed.items() if not good]


def _below(value: Any, limit: float) -> bool:
    return not isinstance(value, str) and value < limit


def write_table(rows: Mapping[str, Row], path: Path) -> None:
    """Writes the page.

    Args:
        rows: A row per model.
        path: The page.
    """
    failed = sum(bool(failures(row)) for row in rows.values())
    refused = sum("error" not in row and not failures(row) for row in rows.values())
    of = f" of {len(MODELS)}" if len(rows) < len(MODELS) else ""
    passed = len(rows) - failed - refused
    summary = f"{len(rows)}{of} models: {passed} pass all checks, {refused} are refused, {failed} fail."
    devices = " and ".join(sorted({row["device"] for row in rows.values() if "device" in row}))
    lines = [_line(_COLUMNS), _line(["---", *["---:"] * 4, *["---"] * 5])]
    lines += [_line(_cells(row)) for row in rows.values()]
    notes = [note for row in rows.values() for note in _notes(row)]
    path.write_text(
        PAGE.format(
            summary=summary, devices=devices, table="\n".join(lines), notes="\n".join(["## Notes", "", *notes, ""])
        ),
        encoding="utf-8",
    )


def _line(cells: Any) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _cells(row: Row) -> list[str]:
    wrong = failures(row)
    name = f"**{row['model']}**" if wrong else row["model"]
    if "stopped" in row:
        return [name, *[""] * 9]
    if "error" not in row:
        return [name, str(row["groups"]), "refused", *[""] * 7]
    kept = f"{row['kept_flops']:.1%}" + (f" ({row['target']})" if row.get("refused") else "")
    exports = ["no" if isinstance(row[kind], str) else "yes" for kind in _EXPORTS]
    power = "> 10" if row["power"] > 10 else f"{row['power']:.2f}"
    good = ["no" if each in wrong or isinstance(row[each], str) else "yes" for each in ("reload", "train")]
    return [name, str(row["groups"]), kept, f"{row['error']:.0e}", power, *good, *exports]


def _notes(row: Row) -> list[str]:
    """Lines on one model: what is wrong, refused, not exported or not counted."""
    found = [f"fails: {', '.join(wrong)}"] if (wrong := failures(row)) else []
    found += [f"refused: {row['refused']}"] if row.get("refused") else []
    found += [f"no {kind}: {row[kind]}" for kind in _EXPORTS if isinstance(row.get(kind), str)]
    if isinstance(row.get("reload"), str):
        alike = isinstance(row.get("reload_original"), str)
        found.append(f"{'no file of the original loads, either' if alike else 'reload'}: {row['reload']}")
    found += [f"train: {row['train']}"] if isinstance(row.get("train"), str) else []
    return [f"- **{row['model']}** {text}" for text in found]
