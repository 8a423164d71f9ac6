"""What ResNet-50 on ImageNet takes: time, memory and disk of each method on 1, 8 and 64 GPUs.

    python benchmarks/scale_plan.py
    python benchmarks/scale_plan.py --images_per_second 900 --efficiency 1 0.9 0.6   # with figures of your machines

Work is counted or measured here: the images that each stage of a run trains on or looks at, the candidates of a whole
EKG search of a ResNet-50 (of small random images, as a stand-in), the sizes of what is kept in memory and on the disk,
the CPU time of reading an image (`benchmarks/input_pipeline.py`), the price of PSG and of scores (`psg_step.py`,
`subnet_step.py`). What a GPU makes of it is assumed: the images per second of a training step, the share of it that is
left on many GPUs, a forward pass for a third of the price of a step.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from program import new_parser, use_threads

from tfprune.graph import complexity
from tfprune.recipes.ekg.memory_bank import BankSize
from tfprune.recipes.models import build_model
from tfprune.search.greedy import Search

TRAINING, CLASSES, TEACHERS, DENSITY = 1_281_167, 1000, 5, 0.55
GPUS = (1, 8, 64)
READING_MS = 0.94  # CPU time of an image of 80 kB, benchmarks/input_pipeline.py


@dataclass(frozen=True)
class Stage:
    """A stage of a run.

    Attributes:
        name: What it does.
        images: Images that pass through.
        price: Of one image, in training steps of the whole network.
        spread: Whether several GPUs share the work; else one of them does it.
    """

    name: str
    images: float
    price: float
    spread: bool = True


def search_work(examples: int, arch: str, density: float) -> tuple[int, int, float]:
    """Steps and candidates of a whole search, and the mean cost of a candidate relative to the full network's."""
    model = build_model(arch, num_classes=CLASSES, input_shape=(64, 64, 3), seed=0)
    random = np.random.default_rng(0)
    images = random.normal(size=(examples, 64, 64, 3)).astype(np.float32)
    search = Search(model, images, random.integers(0, CLASSES, examples), density)
    state, steps, tried, costs = search.start(), 0, 0, 0.0
    while not search.done(state):
        state, step = search.step(state)
        steps += 1
        tried += len(step.candidates)
        costs += sum(each.flops for each in step.candidates) / search.full_flops
    return steps, tried, costs / tried


def stages(steps: int, tried: int, cost: float, validation: int, density: float) -> dict[str, list[Stage]]:
    """The stages of each method, with the published or default schedules."""
    searching = validation * (tried * cost / 3 + steps)
    epochs = float(TRAINING)
    return {
        "EKG": [
            Stage("baseline, 90 epochs", 90 * epochs, 1),
            Stage(f"search: {steps} steps, {tried} candidates on {validation:,} images", searching, 1, spread=False),
            Stage(f"memory bank, {TEACHERS} teachers", TEACHERS * epochs, 0.8 / 3, spread=False),
            Stage("fine-tuning, 100 epochs, two views", 2 * 100 * epochs, density),
        ],
        "Peek-a-Boo": [
            Stage("SynFlow, 100 rounds", 100, 1, spread=False),
            Stage("training, 100 epochs, PSG", 100 * epochs, 1.14),
        ],
        "multi-prize tickets": [Stage("training of scores, 100 epochs", 100 * epochs, 1.06)],
        "dense, tickets": [Stage("training, 90 epochs", 90 * epochs, 1)],
    }


def activations(model: keras.Model, batch_size: int, bytes_each: int) -> int:
    """Bytes of all layers' outputs, which a training step keeps for the gradients."""
    sizes = [np.prod(tensor.shape[1:]) for layer in model.layers for tensor in keras.tree.flatten(layer.output)]
    return int(sum(sizes)) * batch_size * bytes_each


def hours(stage: Stage, gpus: int, rate: float, efficiency: float) -> float:
    """Hours of a stage."""
    shared = rate * gpus * efficiency if stage.spread else rate
    return stage.images * stage.price / shared / 3600


def print_times(plan: dict[str, list[Stage]], rate: float, efficiencies: Sequence[float]) -> None:
    """A table of hours, a row for each stage and a sum for each method."""
    print(f"| | {' | '.join(f'{gpus} GPU' for gpus in GPUS)} |\n|---|{'---|' * len(GPUS)}")
    for method, work in plan.items():
        rows = [[hours(stage, *pair) for pair in _machines(rate, efficiencies)] for stage in work]
        for stage, row in zip(work, rows, strict=True):
            print(f"| {method}: {stage.name} | {' | '.join(f'{value:,.1f} h' for value in row)} |")
        if len(work) > 1:
            print(f"| **{method}** | {' | '.join(f'**{sum(each):,.1f} h**' for each in zip(*rows, strict=True))} |")


def _machines(rate: float, efficiencies: Sequence[float]) -> list[tuple[int, float, float]]:
    return [(gpus, rate, efficiency) for gpus, efficiency in zip(GPUS, efficiencies, strict=True)]


def print_room(batch_size: int, rate: float) -> None:
    """Memory, disk and cores."""
    model = build_model("ResNet-50", num_classes=CLASSES, input_shape=(224, 224, 3), seed=0)
    cost = complexity(model)
    states = {
        "weights and SGD's momentum": 2,
        "weights, momentum, gradients": 3,
        "weights, scores, momentum, gradients": 4,
    }
    print(f"\nResNet-50: {cost.flops / 1e9:.2f} G multiply-adds, {cost.params / 1e6:.1f} M parameters")
    for name, copies in states.items():
        print(f"- {name}, float32: {4e-9 * copies * cost.params:.2f} GB")
    for name, size in (("float32", 4), ("mixed precision", 2)):
        kept = 1e-9 * activations(model, batch_size, size)
        print(f"- outputs of all layers, batch {batch_size} per GPU, {name}: {kept:.1f} GB")
    for dtype in ("float16", "float32"):
        print(f"- {BankSize(TRAINING, CLASSES, TEACHERS, dtype)}")
    print(f"- a checkpoint (two are kept): {8e-9 * cost.params:.2f} GB; a .keras file: {4e-9 * cost.params:.2f} GB")
    print(f"- reading images: {READING_MS * rate / 1e3:.1f} CPU cores per GPU")


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--images_per_second", type=float, default=2000, help="of a training step on one GPU: assumed")
    parser.add_argument("--efficiency", type=float, nargs=3, default=[1, 0.95, 0.85], help="on 1, 8, 64 GPUs: assumed")
    parser.add_argument("--batch_size", type=int, default=128, help="per GPU")
    parser.add_argument("--validation", type=int, default=1000, help="images of the search, as configs/ekg says")
    parser.add_argument(
        "--examples", type=int, default=8, help="images of the search that is run here to count its work"
    )
    parser.add_argument("--search_arch", default="ResNet-50", help="network of that search")
    parser.add_argument("--search_target", type=float, default=DENSITY, help="fraction of the FLOPs that it ends at")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the plan."""
    options = make_parser().parse_args(arguments)
    use_threads(1)
    target = options.search_target
    steps, tried, cost = search_work(options.examples, options.search_arch, target)
    print(f"a search to {target:.0%} of the FLOPs: {steps} steps, {tried} candidates of {cost:.2f} full FLOPs\n")
    plan = stages(steps, tried, cost, options.validation, target)
    print_times(plan, options.images_per_second, options.efficiency)
    print_room(options.batch_size, options.images_per_second)


if __name__ == "__main__":
    main()
