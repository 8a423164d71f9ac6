"""Accuracy of a classifier before and after single weights of it are pruned."""

from collections.abc import Iterator

import keras
import numpy as np
from rich.text import Text

from tfprune.cli.examples import Examples
from tfprune.graph import prunable_weights
from tfprune.masks import Masks
from tfprune.recipes.training import evaluate
from tfprune.tables import Column, make_table

_BATCH = 256


class PruningAccuracy:
    """Measures the accuracy of a model with all its weights, and with those that masks keep.

    Args:
        model: A classifier, see `not_measured`.
        examples: Inputs and labels.
        words: What they are, such as `60 test images of digits`.

    Attributes:
        record: `accuracy_before`, `accuracy_after` and `accuracy_of`, in words; the second after `measure`.

    Reference:
        Su et al., Sanity-Checking Pruning Methods (NeurIPS 2020), the authors' `LT_prune.py`.
    """

    def __init__(self, model: keras.Model, examples: Examples, words: str) -> None:
        self._model = model
        self._examples = examples
        self.record: dict[str, float | str] = {"accuracy_before": self._accuracy(), "accuracy_of": words}

    def measure(self, masks: Masks) -> Text:
        """Sets the removed weights of the model to 0, measures again and returns a table; statistics stay as they are.

        Args:
            masks: Which weights are kept.
        """
        weights = prunable_weights(self._model)
        for name, mask in masks.items():
            weights[name].assign(np.where(mask, np.asarray(weights[name]), 0))
        self.record["accuracy_after"] = self._accuracy()
        before, after = (float(self.record[f"accuracy_{when}"]) for when in ("before", "after"))
        columns = [Column("", "name"), Column("before"), Column("after"), Column("change")]
        row = ("accuracy", f"{before:.2%}", f"{after:.2%}", f"{100 * (after - before):+.2f} points")
        return Text(f"{make_table(columns, [row])}\non {self.record['accuracy_of']}\n")

    def _accuracy(self) -> float:
        return evaluate(self._model, self._batches()).top1

    def _batches(self) -> Iterator[dict[str, np.ndarray]]:
        x, y = self._examples
        labels = _classes(y)
        for start in range(0, len(x), _BATCH):
            rows = slice(start, start + _BATCH)
            yield {"images": x[rows], "labels": labels[rows]}


def not_measured(model: keras.Model, examples: Examples) -> str:
    """Returns why the accuracy of a model on examples cannot be measured; empty if it can.

    Args:
        model: The model.
        examples: Inputs and labels: class numbers, or one of several classes marked by the largest number.
    """
    if examples.y is None:
        return "there are no labels"
    shapes = [tuple(output.shape) for output in model.outputs]
    if len(shapes) != 1 or len(shapes[0]) != 2 or (shapes[0][1] or 0) < 2:
        return "the model does not return one number for each of several classes"
    marked = examples.y.ndim == 2 and examples.y.shape[1] > 1
    labels = _classes(examples.y)
    if labels.ndim != 1 or (marked and examples.y.shape[1] != shapes[0][1]) or labels.dtype.kind not in "iu":
        return "the labels are no class numbers"
    if labels.min() < 0 or labels.max() >= shapes[0][1]:
        return f"the labels are not all between 0 and {shapes[0][1] - 1}"
    return ""


def _classes(y: np.ndarray | None) -> np.ndarray:
    """Returns class numbers."""
    assert y is not None, "there are labels"
    if y.ndim == 2:
        return y[:, 0] if y.shape[1] == 1 else np.argmax(y, axis=1)
    return y
