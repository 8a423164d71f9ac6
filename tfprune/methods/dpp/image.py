"""What `tfprune dpp image` does."""

import csv
import io
import math
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tfprune.commands.working import working
from tfprune.data import ImageData, load_data
from tfprune.dpp import KDPP, rbf_edge_kernel, rbf_node_kernel, reweighted_edges, reweighted_readers
from tfprune.methods.dpp.image_config import ImageConfig
from tfprune.methods.dpp.sigmoid_mlp import SigmoidMLP, train_mlp
from tfprune.training.atomic import write_text

_FIELDS = ("choice", "reweight", "density", "k", "masks", "accuracy", "standard_error")


def run(config: ImageConfig) -> list[dict[str, object]]:
    """Trains a classifier, prunes its first layer in all ways, and writes the accuracies; returns the table's rows."""
    data = load_data(config.dataset, config.data_path)
    inputs, tests = _flat(data, data.train_images), _flat(data, data.test_images)
    with working("training the classifier"):
        model = train_mlp(
            inputs,
            data.train_labels,
            config.widths,
            data.num_classes,
            lr=config.lr,
            epochs=config.epochs,
            batch_size=config.batch_size,
            stop_accuracy=config.stop_accuracy,
            seed=config.seed,
        )
    whole = model.accuracy(tests, data.test_labels)
    print(f"unpruned: accuracy {whole:.4f} on {len(tests):,} test images")
    rows: list[dict[str, object]] = [dict(zip(_FIELDS, ("unpruned", 0, 1.0, "", 1, whole, 0.0), strict=True))]
    pruner = _Pruner(config, model, inputs)
    for choice in tqdm(config.choices, desc="pruning", disable=None):
        for density in config.density:
            k = pruner.size(choice, density)
            masks = pruner.masks(choice, k)
            for reweight in (0, 1):
                pruned = (pruner.pruned(mask, choice.endswith("node"), bool(reweight)) for mask in masks)
                found = np.array([each.accuracy(tests, data.test_labels) for each in pruned])
                spread = float(found.std(ddof=1) / np.sqrt(len(found))) if len(found) > 1 else 0.0
                row = (choice, reweight, density, k, len(found), float(found.mean()), spread)
                rows.append(dict(zip(_FIELDS, row, strict=True)))
    _write(config.out, rows)
    return rows


def _flat(data: ImageData, images: np.ndarray) -> np.ndarray:
    return data.normalize(images).reshape(len(images), -1)


class _Pruner:
    """Masks of the first layer, `[width, inputs]`, and networks under them."""

    def __init__(self, config: ImageConfig, model: SigmoidMLP, inputs: np.ndarray) -> None:
        self._config, self._model = config, model
        self._weights = model.kernels[0].T
        self._moments = inputs.astype(np.float64).T @ inputs / len(inputs)
        signals = model.signals(inputs)
        self._signals = signals.T @ signals / len(signals)
        self._rng = np.random.default_rng(config.seed)

    def size(self, choice: str, density: float) -> int:
        """How many edges of each node, or how many nodes, are so many weights of the first two layers."""
        width, features = self._weights.shape
        edges = max(1, int(density * features))
        readers = self._model.kernels[1].shape[1]
        nodes = math.ceil(width * (edges + readers) / (features + readers))
        return min(nodes, width) if choice.endswith("node") else edges

    def masks(self, choice: str, k: int) -> np.ndarray:
        """Bool `[masks, width, inputs]`."""
        way, kind = choice.rsplit("_", 1)
        count = 1 if way == "importance" else self._config.num_masks
        width, features = self._weights.shape
        if kind == "node":
            chosen = self._nodes(way, k, count)
            return np.repeat(_as_mask(chosen, width)[:, :, None], features, axis=2)
        if way == "dpp":
            drawn = np.stack([self._edges(row, k, count) for row in self._weights], axis=1)
            return _as_mask(drawn, features)
        shape = (count, width, features)
        ranks = np.abs(self._weights)[None] if way == "importance" else self._rng.random(shape)
        return _as_mask(np.argsort(-ranks, axis=2)[:, :, :k], features)

    def pruned(self, mask: np.ndarray, nodes: bool, reweight: bool) -> SigmoidMLP:
        """The network under one mask; a node without edges puts out the sigmoid of its bias, unless reweighted."""
        kernels = list(self._model.kernels)
        kernels[0] = (self._weights * mask).T
        if reweight and nodes:
            kernels[1] = reweighted_readers(kernels[1], np.any(mask, axis=1), self._signals)
        elif reweight:
            kernels[0] = reweighted_edges(self._weights, mask, self._moments).T
        return SigmoidMLP(tuple(kernels), self._model.biases)

    def _nodes(self, way: str, k: int, count: int) -> np.ndarray:
        if way == "dpp":
            kernel = rbf_node_kernel(self._weights, self._moments, self._config.beta)
            return KDPP(kernel, k).sample(count, seed=int(self._rng.integers(2**31)))[0]
        outgoing = np.abs(self._model.kernels[1]).sum(axis=1)[None]
        ranks = outgoing if way == "importance" else self._rng.random((count, len(self._weights)))
        return np.argsort(-ranks, axis=1)[:, :k]

    def _edges(self, row: np.ndarray, k: int, count: int) -> np.ndarray:
        kernel = rbf_edge_kernel(row, self._moments, self._config.beta)
        return KDPP(kernel, k).sample(count, seed=int(self._rng.integers(2**31)))[0]


def _as_mask(chosen: np.ndarray, size: int) -> np.ndarray:
    mask = np.zeros((*chosen.shape[:-1], size), bool)
    np.put_along_axis(mask, chosen, True, axis=-1)
    return mask


def _write(path: str, rows: list[dict[str, object]]) -> None:
    from tfprune.methods.dpp.figures import error_figure  # matplotlib takes its time

    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, _FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(Path(path), buffer.getvalue())
    curves: dict[str, list[tuple[float, float, float, float]]] = {}
    for row in rows[1:]:
        label = f"{row['choice']}{' reweighted' if row['reweight'] else ''}"
        values = [float(str(row[name])) for name in ("density", "accuracy", "standard_error")]
        curves.setdefault(label, []).append((values[0], values[1], values[2], math.nan))
    for label, points in curves.items():
        print(f"{label:28s} " + "  ".join(f"{x:g}: {y:.3f} +- {spread:.3f}" for x, y, spread, _ in points))
    figure = str(Path(path).with_suffix(".png"))
    whole = float(str(rows[0]["accuracy"]))
    error_figure(
        figure, curves, unpruned=whole, x_label="density of the first layer's edges", y_label="test accuracy", log=False
    )
    print(f"{path}, {figure}")
