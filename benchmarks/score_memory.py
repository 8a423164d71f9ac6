"""The memory that SNIP and GraSP take, by the number of images whose gradients are computed at the same time.

    python benchmarks/score_memory.py --out benchmarks/results/score_memory.jsonl
    python benchmarks/score_memory.py --arch ResNet-50 --image_size 224 --classes 1000 --batch_size default

The model is pruned once, on random images, each time in a process of its own. Given are gigabytes (10^9 bytes) of
resident memory: before the scoring, with TensorFlow, model and images, and the most that there were. `default` is
`tfprune.criteria.examples_at_once`. GraSP halves its batches, and SNIP uses the statistics of batches, both as for
tickets.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from program import new_parser, processor_name

from tfprune.files import as_file, make_folder

CRITERIA = ("snip", "grasp")
PRECISIONS = ("float64", "float32")


def gigabytes() -> float:
    """The most memory that this process has taken so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def score(options: argparse.Namespace) -> dict[str, Any]:
    """Prunes here, by one criterion; the batch size, and the memory before and at most."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import numpy as np

    from tfprune.criteria import examples_at_once, weight_criterion
    from tfprune.recipes.models import build_model

    (name,), (precision,), (size,) = options.criterion, options.precision, options.batch_size
    shape = (options.image_size, options.image_size, 3)
    model = build_model(options.arch, num_classes=options.classes, input_shape=shape, zero_gamma=False, seed=0)
    batch_size = size or examples_at_once(model)
    settings: dict[str, Any] = {"precision": precision, "batch_size": batch_size}
    if name == "snip":
        settings["batch_statistics"] = True
    count = options.images or batch_size
    images = np.random.default_rng(0).normal(size=(count, *shape)).astype(np.float32)
    before = gigabytes()
    weight_criterion(name, **settings)(model, 0.1, [(images, np.arange(count) % options.classes)])
    return {"images": count, "batch_size": batch_size, "before": round(before, 2), "most": round(gigabytes(), 2)}


def score_apart(name: str, precision: str, size: int, options: argparse.Namespace) -> dict[str, Any]:
    """A row: what `score` returns, in a process of its own."""
    facts = {"arch": options.arch, "image_size": options.image_size, "classes": options.classes}
    flags = [f"--{key}={value}" for key, value in {**facts, "images": options.images}.items()]
    flags += ["--criterion", name, "--precision", precision, "--batch_size", str(size), "--here"]
    done = subprocess.run([sys.executable, __file__, *flags], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"scoring by {name} ended with exit code {done.returncode}")
    return {"criterion": name, "precision": precision, **json.loads(done.stdout.splitlines()[-1]), **facts}


def batch_sizes(text: str) -> int:
    """A batch size; 0 for `default`."""
    return 0 if text == "default" else int(text)


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--arch", default="ResNet-32x2")
    parser.add_argument("--image_size", type=int, default=64)
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--images", type=int, default=0, help="0 for one batch")
    parser.add_argument("--batch_size", type=batch_sizes, nargs="+", default=[8, 16, 32, 0])
    parser.add_argument("--criterion", nargs="+", choices=CRITERIA, default=CRITERIA)
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--out", type=as_file, help="file that rows are added to, as JSON lines")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints a table."""
    options = make_parser().parse_args(arguments)
    if options.here:
        print(json.dumps(score(options)))
        return
    print(f"{options.arch}, {options.image_size} x {options.image_size}, {processor_name()}\n")
    print("| criterion | precision | images | at the same time | GB before | GB at most |\n|---|---|---|---|---|---|")
    for name in options.criterion:
        for precision in options.precision:
            for size in options.batch_size:
                row = score_apart(name, precision, size, options)
                print("| " + " | ".join(map(str, list(row.values())[:6])) + " |", flush=True)
                if options.out is not None:
                    make_folder(options.out.parent)
                    with options.out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps({**row, "processor": processor_name()}) + "\n")


if __name__ == "__main__":
    main()
