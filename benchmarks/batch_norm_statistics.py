"""What it changes that batch norms use statistics of each device, and not of all devices together.

    python benchmarks/batch_norm_statistics.py --out benchmarks/results/batch_norm_statistics.jsonl

A small ResNet is trained from scratch on two logical CPU devices, with both kinds of statistics from the same weights
and on the same batches, with several seeds. Given are loss and accuracy on the test images, mean and standard deviation
over the seeds, and the same of the differences, local minus synchronized. The fewer images a device has, the more noise
there is in its statistics.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from program import new_parser, processor_name

from tfprune.files import as_file, write_text

KINDS = ("synchronized", "local")
DEVICES = 2


def train(options: argparse.Namespace) -> None:
    """Trains here, with all seeds, numbers of images and kinds; prints a row each as JSON."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * DEVICES)

    from tfprune.optimizers import SGD
    from tfprune.recipes.data import BatchRequest, load_data
    from tfprune.recipes.models import build_model
    from tfprune.recipes.training import StepDecay, TrainingConfig, evaluate, fast_copy, train_model

    strategy = tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(DEVICES)])
    data = load_data(options.dataset, options.data_path)
    for images in options.images:
        request = BatchRequest(batch_size=images * DEVICES, epochs=options.epochs, seed=0)
        steps = data.steps_per_epoch(request.batch_size)
        for seed in range(options.seeds):
            for kind in KINDS:
                plain = build_model(options.arch, num_classes=data.num_classes, input_shape=data.input_shape, seed=seed)
                with strategy.scope():
                    model = fast_copy(plain, strategy, precision="float32", synchronized=kind == "synchronized")
                    rate = StepDecay(options.learning_rate, (0.5, 0.75), 0.1, options.epochs, steps)
                    optimizer = SGD(rate, momentum=0.9, weight_decay=1e-4)
                config = TrainingConfig(replace(request, seed=seed), log_every=0, test_each_epoch=False)
                train_model(model, optimizer, config, data=data, strategy=strategy)
                result = evaluate(model, data.test_batches(256))
                found = {"loss": result.loss, "accuracy": result.top1}
                print(json.dumps({"images": images, "seed": seed, "batch_norm": kind, **found}), flush=True)


def train_apart(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of `train`, in a process of its own, where devices can still be split."""
    flags = [f"--{name}={getattr(options, name)}" for name in ("dataset", "arch", "seeds", "epochs", "learning_rate")]
    flags += [f"--data_path={options.data_path}"] if options.data_path else []
    command = [sys.executable, __file__, *flags, "--images", *map(str, options.images), "--here"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"the training ended with exit code {done.returncode}")
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    facts = {"arch": options.arch, "dataset": options.dataset, "epochs": options.epochs, "processor": processor_name()}
    return [json.loads(line) | facts for line in lines]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Means and standard deviations over the seeds, by images of a device; and of the differences."""
    lines = ["| images of a device | | synchronized | local | local - synchronized |", "|---|---|---|---|---|"]
    for images in dict.fromkeys(row["images"] for row in rows):
        for what in ("loss", "accuracy"):
            both = [
                [row[what] for row in rows if row["images"] == images and row["batch_norm"] == kind] for kind in KINDS
            ]
            columns = [*both, [local - together for together, local in zip(*both, strict=True)]]
            lines.append(f"| {images} | {what} | " + " | ".join(spread(what, values) for values in columns) + " |")
    return "\n".join(lines)


def spread(what: str, values: Sequence[float]) -> str:
    """Mean and standard deviation; accuracies in percent."""
    scaled = [100 * value if what == "accuracy" else value for value in values]
    deviation = f" ± {statistics.stdev(scaled):.3f}" if len(scaled) > 1 else ""
    return f"{statistics.mean(scaled):.3f}{deviation}{' %' if what == 'accuracy' else ''}"


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--data_path", help="where the data set is, if it is not the digits")
    parser.add_argument("--arch", default="ResNet-8x2")
    parser.add_argument("--images", type=int, nargs="+", default=[2, 8, 32], help="per device and step")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--learning_rate", type=float, default=0.05)
    parser.add_argument("--out", type=as_file, help="file for the rows, as JSON lines")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains and prints a table."""
    options = make_parser().parse_args(arguments)
    if options.here:
        train(options)
        return
    rows = train_apart(options)
    print(f"{options.arch} on {options.dataset}, {options.epochs} epochs, {options.seeds} seeds, {processor_name()}\n")
    print(table(rows))
    if options.out is not None:
        write_text(options.out, "".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
