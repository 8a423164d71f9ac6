"""What `tfprune dpp image` does."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tfprune.console import working
from tfprune.dpp import gram, reweighted_edges, reweighted_readers
from tfprune.errors import ConfigError
from tfprune.recipes.data import ImageData, load_data
from tfprune.recipes.dpp.config import ImageConfig
from tfprune.recipes.dpp.image_masks import ImageMasks
from tfprune.recipes.dpp.repeats_table import curves, made_folder, write_rows, write_table
from tfprune.recipes.dpp.sigmoid_mlp import SigmoidMLP, train_mlp


@dataclass(frozen=True)
class Row:
    """One way of pruning one classifier.

    Attributes:
        repeat: Which classifier.
        choice: Which way.
        reweight: 1 if reweighted.
        density: Fraction of the first layer's edges that as many weights are.
        k: Nodes kept, or edges kept in each node.
        parameters: Weights left in the first two layers.
        masks: How many masks.
        accuracy: Mean accuracy on the test images over the masks.
        standard_error: Of this mean, over the masks.
        unpruned: Accuracy of the whole classifier.
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


def run(config: ImageConfig) -> list[Row]:
    """Trains classifiers, prunes their first layer in all ways, and writes the accuracies; returns the table's rows."""
    folder = made_folder(config.out)
    with working(f"reading {config.dataset}"):
        data = load_data(config.dataset, config.data_path)
        inputs, labels = _inputs(data, data.train_images, config)[: config.examples], data.train_labels
        tests = _inputs(data, data.test_images, config), data.test_labels
    moments = gram(inputs)
    rows: list[Row] = []
    for repeat in range(config.repeats):
        with working(f"training classifier {repeat + 1} of {config.repeats}"):
            model = _trained(config, inputs, labels[: len(inputs)], data.num_classes, config.seed + repeat)
        rows += _rows(config, repeat, model, moments, inputs, tests)
        write_rows(folder, [asdict(row) for row in rows])
    _summarise(config, folder, rows)
    return rows


def _inputs(data: ImageData, images: np.ndarray, config: ImageConfig) -> np.ndarray:
    """Normalised pixels, averaged over squares if so asked, `[images, inputs]`."""
    images = data.normalize(images)
    count, height, width, channels = images.shape
    side = config.pool
    if height % side or width % side:
        raise ConfigError(f"--pool: expected a side that divides images of {height}x{width}, received {side}")
    squares = images.reshape(count, height // side, side, width // side, side, channels)
    return squares.mean(axis=(2, 4)).reshape(count, -1)


def _trained(config: ImageConfig, inputs: np.ndarray, labels: np.ndarray, classes: int, seed: int) -> SigmoidMLP:
    return train_mlp(
        inputs,
        labels,
        config.widths,
        classes,
        lr=config.lr,
        epochs=config.epochs,
        batch_size=config.batch_size,
        stop_accuracy=config.stop_accuracy,
        seed=seed,
    )


def _rows(
    config: ImageConfig,
    repeat: int,
    model: SigmoidMLP,
    moments: np.ndarray,
    inputs: np.ndarray,
    tests: tuple[np.ndarray, np.ndarray],
) -> list[Row]:
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
                rows.append(Row(repeat, choice, int(reweight), density, *numbers))
    return rows


def _pruned(model: SigmoidMLP, mask: np.ndarray, choice: str, moments: np.ndarray | None) -> SigmoidMLP:
    """The network under one mask.

    Args:
        model: The whole network.
        mask: Bool `[width, inputs]`.
        choice: The way of pruning.
        moments: Second moments to reweight with, of what the first layer puts out for nodes, of what it reads for
            edges. None: do not reweight; a node without edges then puts out the sigmoid of its bias.
    """
    kernels = list(model.kernels)
    kernels[0] = (kernels[0].T * mask).T
    if moments is not None and choice.endswith("node"):
        kernels[1] = reweighted_readers(kernels[1], np.any(mask, axis=1), moments)
    elif moments is not None:
        kernels[0] = reweighted_edges(model.kernels[0].T, mask, moments).T
    return SigmoidMLP(tuple(kernels), model.biases)


def _summarise(config: ImageConfig, folder: Path, rows: list[Row]) -> None:
    from tfprune.recipes.dpp.figures import error_figure  # matplotlib takes its time

    means = curves([asdict(row) for row in rows], "accuracy", at="density", x="density")
    whole = float(np.mean([row.unpruned for row in rows]))
    figure, x_label = folder / "figure.png", "density of the first layer's edges; nodes at as many weights"
    error_figure(figure, means, unpruned=whole, x_label=x_label, y_label="test accuracy", log=False)
    table = write_table(folder, "density", [f"{density:g}" for density in sorted(config.density)], means)
    print(f"test accuracy at equal numbers of weights:\n{table}\nunpruned: {whole:.4f}")
    print(f"{folder / 'results.csv'}, {figure}, {folder / 'table.md'}")
