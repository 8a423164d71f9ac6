"""Accuracy of a pretrained CIFAR-10 network pruned by each criterion, one table.

    python benchmarks/criteria.py --data_path DIR --trained_param res56_cifar10.pkl --flops 0.5
    python benchmarks/criteria.py --data_path DIR --trained_param res56_cifar10.pkl --flops 0.45 --warm_up --rounds 10 \
        --criteria taylor l2 ekg --no_training --out benchmarks/results/criteria_warm_up.jsonl

Three columns for each criterion: right after pruning, with batch norm averages measured again, and after one epoch of
training. Criteria that look at data look at 10 batches of 128 training images. With `--warm_up` they have what EKG's
search has: the network after its ten training steps, and the 320 images that it searches on. With several rounds the
remaining channels are scored again in each, after batch norm averages were measured again on these images. Rows are
appended to a file of JSON lines as they are done; a row that is there is not measured again.
"""

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from program import new_parser

from tfprune.criteria import get
from tfprune.graph import complexity, convert
from tfprune.optimizers import SGD
from tfprune.pruning import prune_channels
from tfprune.pruning.recalibration import recalibrate_batch_norm
from tfprune.recipes.data import BatchRequest, ImageData, fixed_batches, load_data, search_subsets
from tfprune.recipes.ekg import EKGConfig
from tfprune.recipes.ekg.stages import warm_up
from tfprune.recipes.models import load_checkpoint
from tfprune.recipes.training import CrossEntropy, Loop, evaluate

BATCH = 128
CRITERIA = ("random", "l1", "l2", "bn_scale", "fpgm", "taylor", "ekg")


def scoring_data(data: ImageData, batches: int) -> tf.data.Dataset:
    """Pairs of images and labels, the first ones of the training set."""
    count = batches * BATCH
    images, labels = data.normalize(data.train_images[:count]), data.train_labels[:count]
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(BATCH)


def search_data(data: ImageData, subset: np.ndarray) -> tf.data.Dataset:
    """Pairs of images and labels, those that EKG's search evaluates its candidates on."""
    images, labels = data.normalize(data.train_images[subset]), data.train_labels[subset]
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(BATCH)


def tested(model: keras.Model, data: ImageData) -> float:
    """Top-1 accuracy on the test set."""
    return evaluate(model, fixed_batches(data.test_images, data.test_labels, data, 500)).top1


def one_epoch(
    model: keras.Model, data: ImageData, seed: int, *, rate: float = 0.02, batch: int = BATCH, dtype: str | None = None
) -> keras.Model:
    """The network after one epoch of SGD with augmentation, its learning rate falling to zero along a cosine."""
    steps = len(data.train_labels) // batch
    trained = convert(model, "fused", dtype=dtype)
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    optimizer = SGD(schedule, momentum=0.9, nesterov=True, weight_decay=5e-4)
    loop = Loop(trained, optimizer, CrossEntropy(), global_batch_size=batch)

    def batches(start: int) -> tf.data.Dataset:
        return data.training_batches(BatchRequest(batch_size=batch, epochs=1, seed=seed, start_step=start))

    loop.fit(batches, steps_per_epoch=steps, epochs=1, name="epoch")
    return trained


def measure(
    criterion: str, model: keras.Model, data: ImageData, images: tf.data.Dataset, args: argparse.Namespace
) -> dict[str, Any]:
    """One row of the table."""
    started = time.process_time()
    small = prune_channels(
        model,
        criterion,
        flops=args.flops,
        data=images if get(criterion).uses_data != "never" else None,
        scope=args.scope,
        steps=args.rounds,
        recalibrate=images if args.rounds > 1 else None,
    )
    seconds = time.process_time() - started
    cost = complexity(small)
    row = {"criterion": criterion, "scope": args.scope, "flops": cost.flops, "params": cost.params}
    row |= {"rounds": args.rounds, "warm_up": args.warm_up}
    row |= {"prune_cpu_s": round(seconds, 1), "pruned": tested(small, data)}
    first = data.train_images[: 20 * 500], data.train_labels[: 20 * 500]
    recalibrate_batch_norm(small, fixed_batches(*first, data, 500))
    row["recalibrated"] = tested(small, data)
    if not args.no_training:
        row["one_epoch"] = tested(one_epoch(small, data, args.seed), data)
    return row


def show(rows: list[Mapping[str, Any]]) -> None:
    """Prints the table in Markdown."""
    titles = ("criterion", "ranking", "rounds", "FLOPs", "parameters", "pruned", "averages again", "one epoch")
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for row in rows:
        accuracies = " | ".join(
            f"{row[key]:.2%}" if key in row else "" for key in ("pruned", "recalibrated", "one_epoch")
        )
        sizes = f"{row['flops'] / 1e6:.1f} M | {row['params']:,}"
        print(f"| {row['criterion']} | {row['scope']} | {row['rounds']} | {sizes} | {accuracies} |")


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--arch", default="ResNet-56")
    parser.add_argument("--dataset", default="CIFAR10")
    parser.add_argument("--data_path")
    parser.add_argument("--trained_param", required=True)
    parser.add_argument("--flops", type=float, default=0.5)
    parser.add_argument("--scope", default="global", choices=("global", "local"))
    parser.add_argument("--rounds", type=int, default=1, help="of scoring and pruning")
    parser.add_argument("--warm_up", action="store_true", help="train and look at images as EKG's search does")
    parser.add_argument("--criteria", nargs="+", default=CRITERIA)
    parser.add_argument("--no_training", action="store_true", help="leave out the column of one epoch")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/criteria.jsonl"))
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures what is not measured yet, and prints the table."""
    args = make_parser().parse_args(arguments)
    data = load_data(args.dataset, args.data_path)
    shape = {"num_classes": data.num_classes, "input_shape": data.input_shape}
    model = load_checkpoint(args.trained_param, arch=args.arch, **shape)
    images = scoring_data(data, 10)
    if args.warm_up:
        subsets = search_subsets(data)
        model, _ = warm_up(EKGConfig(arch=args.arch), model, data, subsets.training)
        images = search_data(data, subsets.validation)
    print(f"whole network: {tested(model, data):.2%}, {complexity(model).flops / 1e6:.1f} M FLOPs", flush=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    done = {(row["criterion"], row["scope"], row["rounds"], row["warm_up"]) for row in rows}
    for criterion in args.criteria:
        if (criterion, args.scope, args.rounds, args.warm_up) not in done:
            rows.append(measure(criterion, model, data, images, args))
            with args.out.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
            print(rows[-1], flush=True)
    show(rows)


if __name__ == "__main__":
    main()
