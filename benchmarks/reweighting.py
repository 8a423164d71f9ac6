"""Accuracy of a small residual network right after pruning, with and without reweighting, and of masks of its weights.

The network (four convolutions, two dense layers, batch norms, one sum) is trained on the digits; each seed is another
network. Channels are cut at equal densities of each group, kernels then fitted on 128 or 1,024 training images; weights
are masked at equal densities of each kernel. No training follows.

    OMP_NUM_THREADS=1 python benchmarks/reweighting.py --out benchmarks/results/reweighting.jsonl
"""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from program import new_parser, use_threads

from tfprune import criteria
from tfprune.files import write_text
from tfprune.graph import convert
from tfprune.pruning import plan_channels
from tfprune.recipes.data import ImageData, load_data

layers = keras.layers


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--density", type=float, nargs="+", default=(0.75, 0.5, 0.3))
    parser.add_argument("--epochs", type=int, default=8, help="of the networks' training")
    parser.add_argument("--out")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints a table of means over the seeds, and writes."""
    given = make_parser().parse_args(arguments)
    use_threads(1)
    data = load_data("digits")
    rows = []
    for seed in range(given.seeds):
        rows += list(_rows(data, seed, given.density, given.epochs))
        print(f"network {seed + 1}: accuracy {rows[-1]['unpruned']:.4f}", flush=True)
    for name in dict.fromkeys(row["way"] for row in rows):
        cells = []
        for density in given.density:
            found = [row["accuracy"] for row in rows if (row["way"], row["density"]) == (name, density)]
            error = f" ± {np.std(found, ddof=1) / np.sqrt(len(found)):.3f}" if len(found) > 1 else ""
            cells.append(f"{np.mean(found):.3f}{error}")
        print(f"| {name} | " + " | ".join(cells) + " |")
    if given.out is not None:
        write_text(Path(given.out), "".join(json.dumps(row) + "\n" for row in rows))


def _rows(data: ImageData, seed: int, densities: Sequence[float], epochs: int) -> Iterator[dict[str, Any]]:
    images, labels = data.normalize(data.train_images), data.train_labels
    tests = data.normalize(data.test_images)
    model = trained_network(images, labels, seed, epochs)

    def row(way: str, density: float, network: keras.Model) -> dict[str, Any]:
        return {"seed": seed, "way": way, "density": density, "accuracy": accuracy(network), "unpruned": whole}

    def accuracy(network: keras.Model) -> float:
        return float(np.mean(np.argmax(network.predict(tests, verbose=0), axis=1) == data.test_labels))

    whole = accuracy(model)
    chosen = np.random.default_rng(seed).permutation(len(images))
    for density in densities:
        for criterion in (criteria.DPPNode(density=density, seed=seed), criteria.Random(seed=seed), "l2"):
            plan = plan_channels(model, criterion, density=density, scope="local")
            yield row(f"channels by {plan.criterion}", density, plan.apply())
            for count in (128, 1024):
                small = plan.apply(reweight=images[chosen[:count]])
                yield row(f"channels by {plan.criterion}, reweighted on {count}", density, small)
        for name, settings in (("dpp_edge", {"seed": seed}), ("random", {"seed": seed}), ("magnitude", {})):
            examples = (images[chosen[:1024]], labels[chosen[:1024]]) if name == "dpp_edge" else None
            masks = criteria.weight_criterion(name, scope="local", **settings)(model, density, examples)
            yield row(f"weights by {name}", density, convert(model, "masked", masks))


def trained_network(images: np.ndarray, labels: np.ndarray, seed: int, epochs: int = 8) -> keras.Model:
    """The small residual network, trained on images of shape `[examples, height, width, channels]`."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input(images.shape[1:])
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)))
    y = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same", use_bias=False)(x)))
    y = layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same", use_bias=False)(y))
    x = layers.MaxPooling2D()(layers.ReLU()(layers.Add()([x, y])))
    x = layers.MaxPooling2D()(layers.Conv2D(32, 3, padding="same", activation="relu")(x))
    x = layers.Dense(32, "relu")(layers.Flatten()(x))
    model = keras.Model(inputs, layers.Dense(10)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, jit_compile=False)
    model.fit(images, labels, epochs=epochs, batch_size=32, verbose=0)
    return model


if __name__ == "__main__":
    main()
