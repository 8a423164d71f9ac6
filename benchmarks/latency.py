"""How much of a pruned model's saving in FLOPs arrives as latency.

    python benchmarks/latency.py                                  # ResNet50 at half its FLOPs, batches of 1 and 32
    python benchmarks/latency.py --round_to 1 8 16 32 --scope global local --frozen --profile

Models have random weights; channels are chosen at random. The original and all pruned models take turns, call by call.
A ratio of latencies as large as that of FLOPs is 100 %. `--frozen` measures with weights as constants too, as exported
models have them: TensorFlow then folds batch norm into the convolutions. `--profile` shows where the time goes.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf
from operation_times import operation_times
from program import new_parser, use_threads
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from tfprune.criteria import Random
from tfprune.graph import complexity
from tfprune.pruning import plan_channels

Calls = Mapping[str, Callable[[], Any]]


def pruned_models(model: keras.Model, options: argparse.Namespace) -> dict[str, keras.Model]:
    """The original, and a pruned model per choice of widths."""
    models = {"original": model}
    for scope in options.scope:
        for round_to in options.round_to:
            plan = plan_channels(model, Random(0), flops=options.flops, scope=scope, round_to=round_to)
            models[f"{scope}, round_to={round_to}"] = plan.apply()
    return models


def traced(model: keras.Model, batch_size: int, frozen: bool) -> Callable[[], Any]:
    """A call of a traced model on images, whose answer is fetched; XLA is off."""
    images = tf.zeros([batch_size, *model.input_shape[1:]])
    function = tf.function(lambda images: model(images, training=False), jit_compile=False)
    concrete = function.get_concrete_function(images)
    if frozen:
        concrete = convert_variables_to_constants_v2(concrete)
    return lambda: keras.tree.flatten(concrete(images))[0].numpy()


def measure(calls: Calls, runs: int, clock: Callable[[], float], warm_up: int = 3) -> dict[str, float]:
    """Median milliseconds per call, the calls taking turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for run in range(warm_up + runs):
        for name, call in calls.items():
            start = clock()
            call()
            if run >= warm_up:
                times[name].append(1e3 * (clock() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def print_shares(milliseconds: Mapping[str, float], flops: Mapping[str, int]) -> None:
    """A row per model: latency, its ratio, the ratio of FLOPs, and the share of it that arrived."""
    whole, flops_whole = milliseconds["original"], flops["original"]
    print(f"{'':<24}{'ms':>9}{'faster':>9}{'FLOPs':>9}{'arrives':>10}")
    for name, value in milliseconds.items():
        faster, ideal = whole / value, flops_whole / flops[name]
        share = f"{faster / ideal:>10.0%}" if name != "original" else ""
        print(f"{name:<24}{value:>9.1f}{faster:>8.2f}x{ideal:>8.2f}x{share}", flush=True)


def print_profile(calls: Calls, rounds: int) -> None:
    """A row per kind of operation, a column per model; in brackets how many times less than the original."""
    times = operation_times(calls, rounds)
    whole = times["original"]
    print(f"\n{'ms in operations':<40}" + "".join(f"{name:>24}" for name in times))
    for kind, value in [*whole.most_common(), ("all", sum(whole.values()))]:
        cells = [each[kind] if kind != "all" else sum(each.values()) for each in times.values()]
        texts = (f"{cell:.2f} ({value / max(cell, 1e-6):.2f}x)" for cell in cells)
        print(f"{kind:<40}" + "".join(f"{text:>24}" for text in texts), flush=True)


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--model", default="ResNet50", help="a constructor of keras.applications")
    parser.add_argument("--flops", type=float, default=0.5, help="fraction of the FLOPs to keep")
    parser.add_argument("--round_to", type=int, nargs="+", default=[8], help="widths are multiples of this")
    parser.add_argument("--scope", nargs="+", choices=["global", "local"], default=["global"])
    parser.add_argument("--batch_size", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--runs", type=int, default=10, help="timed calls of each model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: CPU time, for a busy machine")
    parser.add_argument("--frozen", action="store_true", help="also with weights as constants")
    parser.add_argument("--profile", action="store_true", help="also time per kind of operation")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a table per batch size."""
    options = make_parser().parse_args(arguments)
    use_threads(options.threads)
    clock = {"wall": time.perf_counter, "cpu": time.process_time}[options.clock]
    models = pruned_models(getattr(keras.applications, options.model)(weights=None), options)
    flops = {name: complexity(model).flops for name, model in models.items()}
    for frozen in (False, True)[: 1 + options.frozen]:
        for batch_size in options.batch_size:
            calls = {name: traced(model, batch_size, frozen) for name, model in models.items()}
            kind = "weights as constants" if frozen else "as Keras calls it"
            print(f"\n{options.model}, {kind}, batch of {batch_size}, {options.threads} thread, {options.clock} time")
            print_shares(measure(calls, options.runs, clock), flops)
            if options.profile:
                print_profile(calls, options.runs)


if __name__ == "__main__":
    main()
