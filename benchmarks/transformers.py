"""Perplexity of a small GPT-2 and accuracy of a small ViT of KerasHub over what pruning keeps, by criterion.

    OMP_NUM_THREADS=1 python benchmarks/transformers.py --data_path DIR  # DIR holds CIFAR-10 of TensorFlow Datasets
    python benchmarks/transformers.py --page_only                        # writes page and figure from the results

GPT-2 reads the texts that Python comes with, character by character: the topics of `help()` and the docstrings of the
standard library. Each seed trains another network. Every MLP, and in ViT the heads of every block, keeps the same
fraction, so criteria differ in what they keep, not in how much; all networks then get the same short training.
"""

import argparse
import ast
import csv
import itertools
import os
import pydoc_data.topics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from matplotlib.figure import Figure
from pages import DOCS, rewrite
from program import missing, new_parser, processor_name, use_threads, write_rows

from tfprune import criteria
from tfprune.files import as_file, make_folder
from tfprune.pruning import plan_channels
from tfprune.recipes.data import load_data

LENGTH = 64
CHARACTERS = 128
WAYS = ("random", "l2", "taylor", "flap", "ziplm", "ziplm, reweighted")
PAGE = DOCS / "results_transformers.md"
ROWS = Path(__file__).resolve().parent / "results" / "transformers.csv"

Data = tuple[Any, np.ndarray]
Row = dict[str, Any]


@dataclass(frozen=True)
class Study:
    """A network, what it learns, and how good it is.

    Attributes:
        build: Makes a new network.
        train: Inputs and labels.
        test: Inputs and labels.
        value: The measure that `SHOWN` names, of loss and accuracy on `test`.
        batch_size: Examples of a training step.
        ignore: Groups of channels that are left alone.
    """

    build: Callable[[], keras.Model]
    train: Data
    test: Data
    value: Callable[[float, float], float]
    batch_size: int
    ignore: tuple[str, ...] = ()


def python_texts() -> list[str]:
    """Texts that Python comes with, in a fixed order: topics of `help()`, and the docstrings of each module."""
    found = [text for _, text in sorted(pydoc_data.topics.topics.items())]
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for file in sorted(Path(ast.__file__).parent.glob("*.py")):
        nodes = [node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, kinds)]
        found.append("\n\n".join(filter(None, map(ast.get_docstring, nodes))))
    return found


def windows(texts: Sequence[str]) -> Data:
    """Cuts texts into `[examples, LENGTH]` characters, and the next character at each position."""
    characters = np.frombuffer("\n\n".join(texts).encode("ascii", "ignore"), np.uint8).astype("int32")
    count = (len(characters) - 1) // LENGTH
    inputs, labels = (characters[start : start + count * LENGTH].reshape(count, LENGTH) for start in (0, 1))
    return {"token_ids": inputs, "padding_mask": np.ones_like(inputs)}, labels


def gpt2(options: argparse.Namespace) -> Study:
    """A GPT-2 of 2 blocks; every tenth text is for testing."""
    import keras_hub

    def build() -> keras.Model:
        backbone = keras_hub.models.GPT2Backbone(
            vocabulary_size=CHARACTERS,
            num_layers=2,
            num_heads=4,
            hidden_dim=64,
            intermediate_dim=256,
            dropout=0.0,
            max_sequence_length=LENGTH,
        )
        return keras_hub.models.GPT2CausalLM(backbone, preprocessor=None)

    texts = python_texts()
    train = windows([text for index, text in enumerate(texts) if index % 10])
    test = part(windows(texts[::10]), slice(None, options.tests))
    return Study(build, train, test, lambda loss, _: float(np.exp(loss)), 32)


def vit(options: argparse.Namespace) -> Study:
    """A ViT of 2 blocks that sees an image as 4 x 4 patches."""
    import keras_hub

    images = load_data(options.dataset, options.data_path)
    size = images.input_shape[0]

    def build() -> keras.Model:
        backbone = keras_hub.models.ViTBackbone(
            image_shape=images.input_shape, patch_size=size // 4, num_layers=2, num_heads=8, hidden_dim=64, mlp_dim=256
        )
        return keras_hub.models.ViTImageClassifier(
            backbone=backbone, num_classes=images.num_classes, preprocessor=None, pooling="token"
        )

    train = images.normalize(images.train_images[: options.images]), images.train_labels[: options.images]
    test = images.normalize(images.test_images[: options.tests]), images.test_labels[: options.tests]
    ignore = ("*.keys", "*.values", "*/vit_patching_and_embedding")  # widths of heads, and between blocks
    return Study(build, train, test, lambda _, accuracy: 100 * accuracy, 64, ignore)


STUDIES = {"gpt2": gpt2, "vit": vit}
SHOWN = {
    "gpt2": ("GPT-2, texts of Python", "perplexity per character"),
    "vit": ("ViT, CIFAR-10", "accuracy on test images, %"),
}


def part(data: Data, which: Any) -> Data:
    """Some examples."""
    return keras.tree.map_structure(lambda array: array[which], data)


class Trainer:
    """Trains networks of the same widths through one traced step: weights go in, and come back.

    Args:
        study: What is learned.
        steps: Steps of a training.
        rate: Adam's largest learning rate; it rises from 0 over a tenth of the steps, then falls along a cosine.
    """

    def __init__(self, study: Study, steps: int, rate: float) -> None:
        self._study, self._steps, self._rate = study, steps, rate
        self._networks: dict[Any, keras.Model] = {}

    def __call__(self, network: keras.Model, seed: int) -> tuple[float, float]:
        """Trains; returns the measure before and after."""
        shared = self._networks.setdefault(tuple(weight.shape for weight in network.weights), network)
        if shared is network:
            warm_up = max(1, self._steps // 10)
            rate = keras.optimizers.schedules.CosineDecay(
                0.0, max(1, self._steps - warm_up), warmup_target=self._rate, warmup_steps=warm_up
            )
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            shared.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"], jit_compile=False)
        else:
            shared.set_weights(network.get_weights())
            for variable in shared.optimizer.variables:
                variable.assign(keras.ops.zeros_like(variable))
        before = self._measure(shared)
        data, generator = self._study.train, np.random.default_rng(seed)
        count, needed = len(data[1]), self._steps * self._study.batch_size
        orders = [generator.permutation(count) for _ in range(-(-needed // count))]
        inputs, labels = part(data, np.concatenate(orders)[:needed])
        shared.fit(inputs, labels, batch_size=self._study.batch_size, shuffle=False, verbose=0)
        return before, self._measure(shared)

    def _measure(self, network: keras.Model) -> float:
        found = network.evaluate(*self._study.test, batch_size=256, verbose=0, return_dict=True)
        return self._study.value(found["loss"], found["accuracy"])


def rows_of(name: str, study: Study, options: argparse.Namespace, seed: int) -> Iterator[Row]:
    """Trains a network, then prunes it in all ways, and trains what is left."""
    keras.utils.set_random_seed(seed)
    whole = study.build()
    _, value = Trainer(study, options.steps, options.rate)(whole, seed)
    yield row_of(name, seed, "whole", 1.0, 1.0, value, value)
    generator = np.random.default_rng(seed)
    examples = part(study.train, generator.permutation(len(study.train[1]))[: options.examples])
    tune = Trainer(study, options.tune_steps, options.tune_rate)
    for density in options.density:
        for way in WAYS:
            small = prune(whole, study, way, density, examples, seed)
            kept = small.count_params() / whole.count_params()
            yield row_of(name, seed, way, density, kept, *tune(small, seed))


def prune(whole: keras.Model, study: Study, way: str, density: float, examples: Data, seed: int) -> keras.Model:
    """A smaller network, before any training."""
    name, _, reweighted = way.partition(", ")
    criterion = criteria.Random(seed=seed) if name == "random" else criteria.criterion(name, kind="channels")
    data = examples if criterion.uses_data == "always" else None
    plan = plan_channels(whole, criterion, density=density, scope="local", data=data, ignore=study.ignore)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the class of the copy, and attention whose kernels are not fitted
        return plan.apply(reweight=examples if reweighted else None)


def row_of(network: str, seed: int, way: str, density: float, kept: float, before: float, after: float) -> Row:
    """A row of the results."""
    row = {"network": network, "seed": seed, "way": way, "density": density, "parameters": round(kept, 4)}
    return row | {"pruned": round(before, 4), "fine_tuned": round(after, 4)}


def read_rows(path: Path) -> list[Row]:
    """The rows that a file has."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {key: text if key in ("network", "way") else float(text) for key, text in row.items()}
            for row in csv.DictReader(file)
        ]


def summary(rows: Sequence[Row], network: str, way: str, density: float, stage: str) -> tuple[float, float]:
    """Mean over the seeds, and the standard error of the mean (0 for one seed)."""
    values = [row[stage] for row in rows if (row["network"], row["way"], row["density"]) == (network, way, density)]
    return float(np.mean(values)), float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0


def densities(rows: Sequence[Row], network: str) -> list[float]:
    """The fractions that are kept, the largest first, without that of the whole network."""
    return sorted({row["density"] for row in rows if row["network"] == network and row["way"] != "whole"}, reverse=True)


def table(rows: Sequence[Row]) -> str:
    """A table for each network."""
    parts = []
    for network in sorted({row["network"] for row in rows}):
        kept = densities(rows, network)
        shares = [summary(rows, network, WAYS[0], density, "parameters")[0] for density in kept]
        value, error = summary(rows, network, "whole", 1.0, "fine_tuned")
        title, measure = SHOWN[network]
        lines = [f"**{title}**: {measure}; whole network: {value:.2f} ± {error:.2f}.", ""]
        titles = [
            f"{density:.0%} of the channels, {share:.0%} of the parameters"
            for density, share in zip(kept, shares, strict=True)
        ]
        lines += [
            f"| | {' | '.join(f'{title} | trained again' for title in titles)} |",
            f"|---{'|---' * 2 * len(kept)}|",
        ]
        for way in WAYS:
            cells = [
                summary(rows, network, way, density, stage) for density in kept for stage in ("pruned", "fine_tuned")
            ]
            lines.append(f"| {way} | {' | '.join(f'{mean:.2f} ± {error:.2f}' for mean, error in cells)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def plot(rows: Sequence[Row], file: Path) -> None:
    """Draws the measure over kept parameters: dashed right after pruning, solid after the short training."""
    networks = sorted({row["network"] for row in rows})
    figure = Figure(figsize=(5.5 * len(networks), 4.5), layout="constrained", dpi=110)
    for axes, network in zip(np.ravel(figure.subplots(1, len(networks))), networks, strict=True):
        for color, way in enumerate(WAYS):
            points = [("whole", 1.0), *((way, density) for density in densities(rows, network))]
            shares = [summary(rows, network, *point, "parameters")[0] for point in points]
            for stage, style in (("pruned", "--"), ("fine_tuned", "-")):
                values, errors = zip(*(summary(rows, network, *point, stage) for point in points), strict=True)
                label = way if stage == "fine_tuned" else None
                axes.errorbar(shares, values, errors, fmt=f"o{style}", color=f"C{color}", ms=3, capsize=2, label=label)
        title, measure = SHOWN[network]
        axes.set(xlabel="fraction of the parameters kept", ylabel=measure, title=title)
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right", fontsize=8)
    make_folder(file.parent)
    figure.savefig(file)


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--network", nargs="+", choices=STUDIES, default=list(STUDIES))
    parser.add_argument("--data_path", type=Path, help="folder with the images, as TensorFlow Datasets keeps them")
    parser.add_argument("--dataset", default="CIFAR10", help="digits needs no files")
    parser.add_argument("--images", type=int, default=20000, help="for training")
    parser.add_argument("--tests", type=int, default=2000, help="images, or pieces of text, for testing")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--density", type=float, nargs="+", default=(0.5, 0.25))
    parser.add_argument("--steps", type=int, default=1000, help="of the training of whole networks")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--examples", type=int, default=512, help="that criteria and reweighting see")
    parser.add_argument("--tune_steps", type=int, default=60)
    parser.add_argument("--tune_rate", type=float, default=1e-3)
    parser.add_argument("--out", type=as_file, default=ROWS, help="seeds that are there are not measured again")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--figure", type=Path, default=DOCS / "figures" / "transformers.png")
    parser.add_argument("--page_only", action="store_true")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures the seeds that are not measured yet, and writes results, table and figure."""
    options = make_parser().parse_args(arguments)
    if missing("transformers.py prunes networks of KerasHub", "keras-hub"):
        return 2
    use_threads(1)
    rows = read_rows(options.out)
    measured = {(row["network"], row["seed"]) for row in rows}
    studies = {} if options.page_only else {name: STUDIES[name](options) for name in options.network}
    for seed, (name, study) in itertools.product(range(options.seeds), studies.items()):
        if (name, seed) not in measured:
            start = time.process_time()
            rows += rows_of(name, study, options, seed)
            make_folder(options.out.parent)
            write_rows(options.out, rows)
            print(f"{name}, seed {seed}: {time.process_time() - start:.0f} CPU seconds, {processor_name()}", flush=True)
    print(table(rows))
    rewrite(options.page, "transformers.py", table(rows))
    plot(rows, options.figure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
