"""What pruning at initialisation costs: SynFlow, SNIP and GraSP on ResNet-18, in CPU seconds of one thread.

Ways to run 100 iterations of SynFlow are compared, in one run:
- ours: one compiled step of scoring and exact selection, called 100 times; copying and tracing included;
- plain: the scoring model built again in every iteration, run eagerly, selection by `np.partition`, as a first version
  in Keras would have it (a few iterations are timed);
- torch (with --torch, ResNet-18): the published procedure in PyTorch, see `torch_synflow.py`.
Ours and the others take turns, as the machine may be busy.

    python benchmarks/prune_at_init.py --out benchmarks/results/prune_at_init.json

Matrix products of float64 are timed in the same run, as a yardstick to compare machines by.
"""

import argparse
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from program import missing, new_parser, use_threads

from tfprune.criteria import LayerCollapseWarning, weight_criterion
from tfprune.files import as_file, write_text
from tfprune.graph import prunable_weights
from tfprune.masks import Masks
from tfprune.recipes.models import build_model

DENSITY = 0.3


def cpu_seconds(function: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of a call, and what it returned."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def yardstick(size: int) -> float:
    """CPU seconds of one product of square float64 matrices in NumPy, the least of five."""
    matrix = np.random.default_rng(0).random((size, size))
    return min(cpu_seconds(lambda: matrix @ matrix)[0] for _ in range(5))


def network(arch: str) -> keras.Model:
    """A network as Peek-a-Boo prunes it."""
    return build_model(
        arch, num_classes=10, input_shape=(32, 32, 3), init="kaiming_normal", padding="symmetric", seed=0
    )


def pruned(model: keras.Model, name: str, data: Any = None, **settings: Any) -> tuple[float, Masks]:
    """CPU seconds of a criterion, all in, and the masks."""
    criterion = weight_criterion(name, ignore="fc", **settings)
    return cpu_seconds(lambda: criterion(model, DENSITY, data))


def synflow(model: keras.Model, iterations: int, precision: str) -> tuple[dict[str, float], Masks]:
    """All of our iterations, and one alone, both with copying the model and tracing."""
    whole, masks = pruned(model, "synflow", iterations=iterations, precision=precision)
    once, _ = pruned(model, "synflow", iterations=1, precision=precision)
    return {"seconds": whole, "seconds of one iteration": once}, masks


def plain_iteration(model: keras.Model, masks: Masks, density: float) -> Masks:
    """An iteration the plain way: a copy in float64, its gradient, and a threshold by `np.partition`."""
    scores = weight_criterion("synflow", ignore="fc").weight_scores(model, None, masks=masks)
    flat = np.concatenate([score.ravel() for score in scores.values()])
    count = int((1 - density) * flat.size)
    threshold = np.partition(flat, count - 1)[count - 1]
    return Masks({name: score > threshold for name, score in scores.items()})


def plain(model: keras.Model, iterations: int, of: int) -> tuple[float, Masks]:
    """CPU seconds per iteration the plain way, and the masks after the first so many `of` all."""
    masks = Masks.full(prunable_weights(model, ignore="fc"))

    def run() -> Masks:
        found = masks
        for step in range(iterations):
            found = plain_iteration(model, found, DENSITY ** ((step + 1) / of))
        return found

    seconds, found = cpu_seconds(run)
    return seconds / iterations, found


def selections(size: int) -> dict[str, float]:
    """CPU seconds to choose among so many float64 scores: ours, and by sorting."""
    from tfprune.ops.top_k import exact_top

    scores = tf.constant(np.random.default_rng(0).exponential(size=size) ** 6)
    kept = int(DENSITY * size)
    ways = {
        "ours": tf.function(lambda values: exact_top(values, kept)),
        "tf.sort": tf.function(lambda values: values >= tf.sort(values)[size - kept]),
        "np.partition": lambda values: values.numpy() >= np.partition(values.numpy(), size - kept)[size - kept],
    }
    result = {}
    for name, way in ways.items():
        way(scores)
        result[name] = min(cpu_seconds(lambda way=way: way(scores))[0] for _ in range(3))
    return result


def others(model: keras.Model, ours: dict[str, float], options: argparse.Namespace) -> dict[str, float]:
    """What the other ways cost per iteration, and the ratio to ours, tracing included."""
    share = ours["seconds"] / options.iterations
    found = {"plain iteration": plain(model, options.plain_iterations, options.iterations)[0]}
    found["plain / ours"] = found["plain iteration"] / share
    if options.torch and model.name == "ResNet-18":
        from torch_synflow import seconds_per_iteration

        found["torch iteration"] = seconds_per_iteration(options.plain_iterations, DENSITY, options.iterations)
        found["torch / ours"] = found["torch iteration"] / share
    return found


def measure(arch: str, options: argparse.Namespace) -> dict[str, Any]:
    """Everything about one network."""
    model = network(arch)
    size = sum(int(np.prod(weight.shape)) for weight in prunable_weights(model, ignore="fc").values())
    random = np.random.RandomState(8)
    images = random.randn(options.images, 32, 32, 3).astype(np.float32)
    data = [(images, random.randint(0, 10, options.images))]
    rows: dict[str, Any] = {"arch": arch, "prunable": size, "yardstick": yardstick(options.yardstick_size)}
    reference = None
    for precision in ("float64", "float32"):
        rows[f"synflow {precision}"], masks = synflow(model, options.iterations, precision)
        reference = masks if reference is None else reference
        differ = sum(int((masks[name] != reference[name]).sum()) for name in masks)
        rows[f"synflow {precision}"]["differs"] = differ
        rows[f"synflow {precision}"].update(others(model, rows[f"synflow {precision}"], options))
    rows["selection"] = selections(size)
    rows["magnitude"] = pruned(model, "magnitude")[0]
    rows["snip"] = pruned(model, "snip", data)[0]
    rows["grasp"] = pruned(model, "grasp", data, variant="peekaboo")[0]
    return rows


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--arch", nargs="+", default=["ResNet-20", "ResNet-18"])
    parser.add_argument("--iterations", type=int, default=100, help="of SynFlow")
    parser.add_argument("--plain_iterations", type=int, default=3, help="of the other ways")
    parser.add_argument("--images", type=int, default=100, help="that SNIP and GraSP look at")
    parser.add_argument("--yardstick_size", type=int, default=2000, help="rows and columns of its matrices")
    parser.add_argument("--torch", action="store_true", help="time the published procedure in PyTorch, too")
    parser.add_argument("--out", type=as_file)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; writes a file if asked to."""
    options = make_parser().parse_args(arguments)
    if options.torch and missing("prune_at_init.py --torch times PyTorch, too", "torch"):
        return 2
    use_threads(1)
    warnings.simplefilter("ignore", LayerCollapseWarning)
    found = {
        "unit": "CPU seconds, one thread",
        "tensorflow": tf.__version__,
        "processor": platform.processor() or platform.machine(),
        "density": DENSITY,
        "iterations": options.iterations,
        "images": options.images,
        "networks": [measure(arch, options) for arch in options.arch],
    }
    print(json.dumps(found, indent=1))
    if options.out is not None:
        write_text(options.out, json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
