"""The page on keras.applications, written from the rows that `applications.py` measured."""

from collections.abc import Mapping
from pathlib import Path

from application_check import LARGEST_ERROR, LEAST_EFFECT, Row, failures, model_names

PAGE = """# Every model of keras.applications, pruned to {flops:.0%} of its FLOPs

Written by `python benchmarks/applications.py --table`. {passed} of {models} models{missing} pass all checks:

- the outputs keep their shape, FLOPs are at most {flops:.0%}, and every layer has a rule;
- the pruned model equals the original one with the removed channels masked (`tfprune.graph.masked`): *error* is the
  largest difference of the logits, relative to the largest logit, and below {error:.0e};
- the check would notice a mistake: *power* is the same measure between masked model and original, *response* between
  two images in the pruned model, both above {effect:.0e};
- parameters and FLOPs of the pruned model are exactly those predicted before it was built, and parameters are those
  that Keras counts;
- twice the multiply-accumulates is exactly what TensorFlow's profiler counts for convolutions and matrix products,
  before and after (*profiler*). By itself the profiler does not see inside the grouped convolutions of ConvNeXt, which
  Keras compiles with XLA on CPUs; it was also applied to these functions. FLOPs count multiply-adds, plus two
  operations per value of batch norm.

Channels are chosen at random (`tfprune.criteria.Random`) over the whole model; widths are multiples of {round_to}.
Weights are random (He), and so are scales and offsets; moving statistics are those of a batch. *build* is the time
that Keras takes to build the original, *graph* the time to find the channel groups, *slim* the time to build the
smaller model: CPU seconds on one thread. Latency is the median of {runs} calls with one image, original and pruned
model in turn, on {threads} thread of an {device}; TensorFlow {tensorflow}, Keras {keras}, no XLA except Keras' own,
models called as Keras built them, nothing folded or frozen.

{titles}
"""
BY_HAND = "<!-- Written by hand from here on, and kept when the table is rewritten. -->"
COLUMNS = {
    "model": "",
    "input": "",
    "groups": ":",
    "parameters, M": ":",
    "GFLOPs": ":",
    "FLOPs": ":",
    "profiler": "",
    "error": ":",
    "power": ":",
    "response": ":",
    "build, s": ":",
    "graph, s": ":",
    "slim, s": ":",
    "latency, ms": ":",
    "faster": ":",
}


def write_table(rows: Mapping[str, Row], path: Path) -> None:
    """Writes the page, except for its text from the line `BY_HAND` on.

    Args:
        rows: A row per model.
        path: The page.
    """
    first = next(iter(rows.values()))
    missing = len(set(model_names()) - set(rows))
    titles = [COLUMNS, [f"---{alignment}" for alignment in COLUMNS.values()]]
    page = PAGE.format(
        flops=first["flops_target"],
        round_to=first["round_to"],
        error=LARGEST_ERROR,
        effect=LEAST_EFFECT,
        passed=sum(not failures(row) for row in rows.values()),
        models=len(rows),
        missing=f" measured ({missing} are still missing)" if missing else "",
        titles="\n".join(map(_line, titles)),
        **{key: first["latency"][key] for key in ("runs", "threads", "device")},
        **first["versions"],
    )
    body = "".join(f"{_line(_cells(rows[name]))}\n" for name in sorted(rows))
    _, marker, kept = path.read_text(encoding="utf-8").partition(BY_HAND) if path.exists() else ("", "", "")
    path.write_text(page + body + (f"\n{marker}{kept}" if marker else ""), encoding="utf-8")


def _line(cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"  # type: ignore[call-overload]


def _cells(row: Row) -> list[object]:
    before, after, wrong = row["before"], row["after"], failures(row)
    milliseconds = [row["latency"][side]["median_ms"] for side in ("before", "after")]
    return [
        f"**{row['model']}: {', '.join(wrong)}**" if wrong else row["model"],
        "x".join(map(str, row["input"][:2])),
        row["groups"],
        f"{before['params'] / 1e6:.1f} → {after['params'] / 1e6:.1f}",
        f"{before['flops'] / 1e9:.2f} → {after['flops'] / 1e9:.2f}",
        f"{after['flops'] / before['flops']:.1%}",
        _agreement(row),
        f"{row['error']:.0e}",
        f"{row['power']:.2f}",
        f"{row['response']:.2f}",
        *(f"{row[f'{key}_seconds']:.2f}" for key in ("build", "graph", "slim")),
        f"{milliseconds[0]:.1f} → {milliseconds[1]:.1f}",
        f"{milliseconds[0] / milliseconds[1]:.2f}x",
    ]


def _agreement(row: Row) -> str:
    off = [row[side]["profiler"] - 2 * row[side]["macs"] for side in ("before", "after")]
    return "exact" if off == [0, 0] else f"off by {off[0]:+,} → {off[1]:+,}"
