"""Image classifiers of dense sigmoid layers, whose first layer is pruned by DPPs with RBF kernels.

`train_mlp` trains a classifier, `ImageMasks` draws masks of its first layer, and `run`, which is `tfprune dpp image`,
compares the accuracies of all ways of pruning at equal numbers of weights.

Reference:
    Zhang et al., Statistical mechanical analysis of neural network pruning (UAI 2021), image classifiers.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from scipy.special import expit
from tqdm import tqdm

from tfprune.console import working
from tfprune.dpp import (
    KDPP,
    Committee,
    Spectrum,
    gram,
    rbf_edge_kernel,
    rbf_node_kernel,
    reweighted_edges,
    reweighted_readers,
)
from tfprune.errors import ConfigError
from tfprune.recipes.data import ImageData, load_data
from tfprune.recipes.dpp.config import ImageConfig
from tfprune.recipes.dpp.files import draw_curves, locked_folder, mean_curves, write_rows, write_table
from tfprune.recipes.dpp.pruning import as_mask, draw_masks

_BYTES = 128 * 2**20  # for the kernels of edges that are decomposed together


@dataclass(frozen=True)
class ImageRow:
    """One way of pruning one classifier.

    Attributes:
        repeat: Number of the classifier.
        choice: What was pruned and how it was chosen.
        reweight: 1 if reweighted.
        density: Fraction of the first layer's edges with as many weights.
        k: Nodes kept, or edges kept in each node.
        parameters: Weights left in the first two layers.
        masks: Number of masks.
        accuracy: Mean accuracy on the test images over the masks.
        standard_error: Standard error of this mean over the masks.
        unpruned: Accuracy of the unpruned classifier.
    """

    repeat: int
    choice: str
    reweight: int
    density: float
    k: int
    parameters: int
    masks: int
    accuracy: float
    standard_error: float
    unpruned: float


def run(config: ImageConfig) -> list[ImageRow]:
    """Trains classifiers, prunes their first layer in all ways, and writes `results.csv`, `table.md` and `figure.png`.

    Args:
        config: The settings.

    Returns:
        The rows of `results.csv`.

    Raises:
        TfpruneError: An error the user can fix.
    """
    with working(f"reading {config.dataset}"):
        data = load_data(config.dataset, config.data_path)
        inputs = _inputs(data, data.train_images, config.pool)[: config.examples]
        labels = data.train_labels[: len(inputs)]
        tests = _inputs(data, data.test_images, config.pool), data.test_labels
    with locked_folder(config.out) as folder:
        moments = gram(inputs)
        rows: list[ImageRow] = []
        for repeat in range(config.repeats):
            with working(f"training classifier {repeat + 1} of {config.repeats}"):
                model = train_mlp(
                    inputs,
                    labels,
                    config.widths,
                    data.num_classes,
                    lr=config.lr,
                    epochs=config.epochs,
                    batch_size=config.batch_size,
                    stop_accuracy=config.stop_accuracy,
                    seed=config.seed + repeat,
                )
            rows += _prune_in_all_ways(config, repeat, model, moments, inputs, tests)
            write_rows(folder / "results.csv", [asdict(row) for row in rows])
        _summarize(config.density, folder, rows)
    return rows


def _inputs(data: ImageData, images: np.ndarray, side: int) -> np.ndarray:
    """Returns normalized pixels, averaged over squares of this side, `[images, inputs]`."""
    images = data.normalize(images)
    count, height, width, channels = images.shape
    if height % side or width % side:
        raise ConfigError(f"--pool: expected a side that divides images of {height}x{width}, received {side}")
    squares = images.reshape(count, height // side, side, width // side, side, channels)
    return squares.mean(axis=(2, 4)).reshape(count, -1)


class SigmoidMLP(NamedTuple):
    """Weights of dense layers with sigmoid activations.

    Attributes:
        kernels: `[inputs, outputs]` of each layer.
        biases: `[outputs]` of each layer.
    """

    kernels: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]

    def signals(self, inputs: np.ndarray) -> np.ndarray:
        """Returns the outputs of the first hidden layer, `[examples, width]`."""
        return expit(inputs @ self.kernels[0] + self.biases[0])

    def accuracy(self, inputs: np.ndarray, labels: np.ndarray) -> float:
        """Returns the fraction of the examples that are classified correctly."""
        values = self.signals(inputs)
        for kernel, bias in zip(self.kernels[1:-1], self.biases[1:-1], strict=True):
            values = expit(values @ kernel + bias)
        return float(np.mean(np.argmax(values @ self.kernels[-1] + self.biases[-1], axis=1) == labels))


def train_mlp(
    inputs: np.ndarray,
    labels: np.ndarray,
    widths: Sequence[int],
    classes: int,
    *,
    lr: float,
    epochs: int,
    batch_size: int,
    stop_accuracy: float,
    seed: int,
) -> SigmoidMLP:
    """Trains a classifier by SGD with momentum 0.9, until it reaches an accuracy on the training set.

    Args:
        inputs: Float32 `[examples, inputs]`.
        labels: `[examples]`.
        widths: Hidden widths.
        classes: Number of classes.
        lr: Learning rate.
        epochs: Largest number of passes over the data.
        batch_size: Examples per step.
        stop_accuracy: Accuracy at which to stop.
        seed: Seed of weights and order.

    Returns:
        The weights.
    """
    keras.utils.set_random_seed(seed)
    hidden = [keras.layers.Dense(width, activation="sigmoid") for width in widths]
    model = keras.Sequential([keras.Input(inputs.shape[1:]), *hidden, keras.layers.Dense(classes)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(lr, momentum=0.9), loss, metrics=["accuracy"], jit_compile=False)
    stop = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: _stop(model, logs, stop_accuracy))
    model.fit(inputs, labels, batch_size=batch_size, epochs=epochs, verbose=0, callbacks=[stop])
    arrays = [np.asarray(variable, np.float64) for variable in model.weights]
    return SigmoidMLP(tuple(arrays[::2]), tuple(arrays[1::2]))


def _stop(model: keras.Model, logs: dict[str, float], stop_accuracy: float) -> None:
    model.stop_training = logs["accuracy"] >= stop_accuracy


class ImageMasks:
    """Draws masks of a classifier's first layer; each kernel is decomposed once for all numbers of edges.

    Args:
        model: The classifier.
        moments: Second moments of its inputs, mean over the examples, `[inputs, inputs]`.
        beta: Parameter of the RBF kernels.
        seed: The same seed gives the same masks.
    """

    def __init__(self, model: SigmoidMLP, moments: np.ndarray, beta: float, seed: int) -> None:
        self._weights = model.kernels[0].T
        self._readers = model.kernels[1].shape[1]
        # The importance of a node is the sum of its outgoing weights; of an edge, its own weight.
        self._ranked = Committee(self._weights, np.abs(model.kernels[1]).sum(axis=1), "sigmoid")
        self._moments, self._beta = moments, beta
        self._seeds = np.random.default_rng(seed)

    def size(self, choice: str, density: float) -> int:
        """Returns how many edges of each node to keep, or how many nodes with as many weights of the first two layers.

        Args:
            choice: What is pruned and how it is chosen.
            density: Fraction of the edges.
        """
        width, features = self._weights.shape
        edges = max(1, int(density * features))
        nodes = math.ceil(width * (edges + self._readers) / (features + self._readers))
        return min(nodes, width) if choice.endswith("node") else edges

    def parameters(self, choice: str, k: int) -> int:
        """Returns how many weights of the first two layers k nodes, or k edges of each node, have."""
        width, features = self._weights.shape
        return k * (features + self._readers) if choice.endswith("node") else width * (k + self._readers)

    def draw(self, choice: str, sizes: Sequence[int], count: int) -> list[np.ndarray]:
        """Draws masks for several numbers of nodes or edges.

        Args:
            choice: What is pruned and how it is chosen.
            sizes: The numbers.
            count: Number of masks for each; choices by importance have one.

        Returns:
            Bool `[masks, width, inputs]` for each number.
        """
        if choice == "dpp_edge":
            return self._edges(sizes, count)
        if choice == "dpp_node":
            spectrum = Spectrum.from_kernels(rbf_node_kernel(self._weights, self._moments, self._beta))
            nodes = [as_mask(KDPP(spectrum, k).sample(count, seed=self._seed())[0], len(self._weights)) for k in sizes]
            return [np.repeat(each[:, :, None], self._weights.shape[1], axis=2) for each in nodes]
        return [draw_masks(choice, self._ranked, self._moments, k, count, seed=self._seed()) for k in sizes]

    def _edges(self, sizes: Sequence[int], count: int) -> list[np.ndarray]:
        """Draws masks of edges from DPPs, for as many nodes at a time as fit into memory."""
        width, features = self._weights.shape
        masks = [np.zeros((count, width, features), bool) for _ in sizes]
        at_once = max(1, _BYTES // (8 * features**2))
        for start in tqdm(range(0, width, at_once), desc="kernels of edges", disable=None, leave=False):
            rows = self._weights[start : start + at_once]
            spectrum = Spectrum.from_kernels(
                np.stack([rbf_edge_kernel(row, self._moments, self._beta) for row in rows])
            )
            for k, mask in zip(sizes, masks, strict=True):
                drawn = KDPP(spectrum, k).sample(count, seed=self._seed())
                mask[:, start : start + at_once] = as_mask(drawn.transpose(1, 0, 2), features)
        return masks

    def _seed(self) -> int:
        return int(self._seeds.integers(2**31))


def _prune_in_all_ways(
    config: ImageConfig,
    repeat: int,
    model: SigmoidMLP,
    moments: np.ndarray,
    inputs: np.ndarray,
    tests: tuple[np.ndarray, np.ndarray],
) -> list[ImageRow]:
    """Returns a row for each choice, density, and with and without reweighting."""
    whole = model.accuracy(*tests)
    print(f"classifier {repeat + 1}: accuracy {whole:.4f} on {len(tests[0]):,} test images")
    masks = ImageMasks(model, moments, config.beta, config.seed + repeat)
    signals = gram(model.signals(inputs))
    rows = []
    for choice in tqdm(config.choices, desc=f"pruning classifier {repeat + 1}", disable=None):
        sizes = [masks.size(choice, density) for density in config.density]
        drawn = masks.draw(choice, sizes, config.num_masks)
        for density, k, found in zip(config.density, sizes, drawn, strict=True):
            for reweight in (False, True):
                second = (signals if choice.endswith("node") else moments) if reweight else None
                accuracies = [_pruned(model, mask, choice, second).accuracy(*tests) for mask in found]
                spread = float(np.std(accuracies, ddof=1) / np.sqrt(len(found))) if len(found) > 1 else 0.0
                left = masks.parameters(choice, k)
                numbers = (k, left, len(found), float(np.mean(accuracies)), spread, whole)
                rows.append(ImageRow(repeat, choice, int(reweight), density, *numbers))
    return rows


def _pruned(model: SigmoidMLP, mask: np.ndarray, choice: str, moments: np.ndarray | None) -> SigmoidMLP:
    """Prunes the first layer by one mask, bool `[width, inputs]`.

    The moments to reweight with are those of the first layer's outputs for nodes, of its inputs for edges. None: do not
    reweight; the output of a node without edges is then the sigmoid of its bias.
    """
    kernels = list(model.kernels)
    kernels[0] = (kernels[0].T * mask).T
    if moments is not None and choice.endswith("node"):
        kernels[1] = reweighted_readers(kernels[1], np.any(mask, axis=1), moments)
    elif moments is not None:
        kernels[0] = reweighted_edges(model.kernels[0].T, mask, moments).T
    return SigmoidMLP(tuple(kernels), model.biases)


def _summarize(densities: Sequence[float], folder: Path, rows: Sequence[ImageRow]) -> None:
    """Draws the figure, writes the table, and prints it."""
    means = mean_curves([asdict(row) for row in rows], "accuracy", at="density", x="density")
    whole = float(np.mean([row.unpruned for row in rows]))
    figure, x_label = folder / "figure.png", "density of the first layer's edges; nodes at as many weights"
    draw_curves(figure, means, unpruned=whole, x_label=x_label, y_label="test accuracy", log=False)
    table = write_table(folder, "density", [f"{density:g}" for density in sorted(densities)], means)
    print(f"test accuracy at equal numbers of weights:\n{table}\nunpruned: {whole:.4f}")
    print(f"{folder / 'results.csv'}, {figure}, {folder / 'table.md'}")
