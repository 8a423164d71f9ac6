"""Labels of a batch, held against the loss that is computed with them."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfprune.arrays import Place, array_shape, checked_array
from tfprune.batches.inputs import batch_shape, check_range
from tfprune.errors import ConfigError
from tfprune.graph.calls import functional_graph
from tfprune.keras_private import compiled_loss, loss_settings, output_structure

_OF_CLASSES = "sparse_categorical_crossentropy"
_OF_OTHER_SHAPES = ("ctc",)


class LabelCheck:
    """Checks the labels of batches.

    All labels must be finite numbers. Labels of a loss of Keras must have a shape that it takes, and those of
    `sparse_categorical_crossentropy` must be class numbers. A loss of the user may take any numbers.

    Args:
        model: A functional or sequential model.
        loss: What `compile(loss=...)` takes. None: the loss that the model is compiled with; if it is not compiled,
            cross-entropy, see `tfprune.criteria.loss.data_loss`.
        setting: The setting that the data were given for, for messages.
    """

    def __init__(self, model: keras.Model, loss: Any, setting: str = "data") -> None:
        self._setting = setting
        self._default = loss is None and compiled_loss(model) is None
        if loss is None and not self._default:
            loss, _ = compiled_loss(model) or (None, None)
        graph = functional_graph(model)
        self._outputs: list[Any] = [] if graph is None else list(graph.outputs)
        structure = None if graph is None else output_structure(graph)
        self._names = (
            [str(name) for name in structure]
            if isinstance(structure, Mapping)
            else list(getattr(graph, "output_names", ()))
        )
        self._losses = self._by_output(loss)

    def __call__(self, y: Any, place: Place | None = None) -> Any:
        """Returns labels as tensors, in the structure that they came in; raises `ConfigError` if they do not fit.

        Args:
            y: Arrays `[rows, ...]`.
            place: Says where a value is, for messages.
        """
        flat = self._ordered(y)
        if len(flat) == len(self._outputs):
            for leaf, output, loss in zip(flat, self._outputs, self._losses, strict=True):
                if leaf is not None:
                    self._check(leaf, output, loss, place)
        return keras.tree.map_structure(lambda leaf: self._numbers(leaf, place), y)

    def _by_output(self, loss: Any) -> list[Any]:
        """Returns the loss of each output; None where it is not known."""
        if isinstance(loss, Mapping):
            return [loss.get(name) for name in self._names]
        if isinstance(loss, list | tuple):
            return list(loss) if len(loss) == len(self._outputs) else [None] * len(self._outputs)
        return [loss] * len(self._outputs)

    def _ordered(self, y: Any) -> Sequence[Any]:
        if isinstance(y, Mapping):
            return [y.get(name) for name in self._names]
        return keras.tree.flatten(y)

    def _check(self, leaf: Any, output: Any, loss: Any, place: Place | None) -> None:
        """Checks the labels of one output."""
        name, settings = _known(loss)
        shape, returned = array_shape(leaf) or (), tuple(output.shape)
        if name == _OF_CLASSES or (self._default and self._are_numbers(leaf, shape, returned)):
            if settings.get("axis", -1) in (-1, len(returned) - 1) and returned[-1] is not None:
                check = self._numbers(leaf, place)
                ignored = settings.get("ignore_class")
                array = np.asarray(check)
                array = array if ignored is None else np.where(array == ignored, 0, array)
                class_numbers(array, returned, f"{self._setting}: labels", place)
            return
        if name is None or name in _OF_OTHER_SHAPES:
            return
        # Keras adds or drops an axis of size 1 at the end.
        fits = len(shape) == len(returned) or (len(shape) == len(returned) + 1 and shape[-1] == 1)
        if not fits and not (len(shape) == len(returned) - 1 and returned[-1] == 1):
            raise ConfigError(
                f"{self._setting}: expected labels of shape {batch_shape(returned)} for the loss {name}, received "
                f"{list(shape)}; give labels like the outputs of the model, or another loss"
            )

    def _are_numbers(self, leaf: Any, shape: Sequence[int | None], returned: Sequence[int | None]) -> bool:
        """Returns whether `data_loss` takes labels as class numbers, if no loss is given or compiled."""
        single = len(self._outputs) == 1 and (len(shape) == len(returned) - 1 or shape[-1:] == (1,))
        return single and np.asarray(leaf).dtype.kind in "iu"

    def _numbers(self, leaf: Any, place: Place | None) -> tf.Tensor | None:
        if leaf is None:
            return None
        array = checked_array(leaf, f"{self._setting}: labels", place=place)
        return tf.convert_to_tensor(leaf if tf.is_tensor(leaf) else array)


def class_numbers(
    y: Any, outputs: Sequence[int | None], name: str = "data: labels", place: Place | None = None
) -> np.ndarray:
    """Returns labels as class numbers.

    Args:
        y: Labels, whole numbers of any number format, `[rows, ...]` or `[rows, ..., 1]`.
        outputs: The shape of the outputs, `[rows, ..., classes]`.
        name: What the labels are, for messages.
        place: Says where a value is.

    Returns:
        Int64 `[rows, ...]`.

    Raises:
        ConfigError: They have another shape, or are not all from 0 to below the number of classes.
    """
    array = checked_array(y, name, place=place)
    while array.ndim >= len(outputs) and array.shape[-1] == 1:  # Keras drops such axes, too
        array = array[..., 0]
    fits = array.ndim == len(outputs) - 1 and all(
        size in (None, given) for size, given in zip(outputs[1:-1], array.shape[1:], strict=True)
    )
    if not fits:
        raise ConfigError(
            f"{name}: expected class numbers of shape {batch_shape(outputs[:-1])}, one for each example or position, "
            f"received shape {list(array.shape)} ({array.dtype.name}); give np.argmax(labels, -1) of classes that are "
            "marked"
        )
    if outputs[-1] is not None:
        check_range(array, int(outputs[-1]), name, place, whole=True)
    return array.astype(np.int64)


def _known(loss: Any) -> tuple[str | None, dict[str, Any]]:
    """Returns the name of a loss function of Keras, and its settings; None if it is of the user."""
    try:
        found = keras.losses.get(loss)
    except (ValueError, TypeError):
        return None, {}
    return (None, {}) if found is None else loss_settings(found)
