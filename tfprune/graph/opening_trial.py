"""Trials of openings: whether what was seen of a layer's code is what the layer computes.

Code on symbolic tensors may take another way than on numbers: a branch on a size that is not known, a number drawn by
NumPy that becomes a constant.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tfprune.graph.layer_copies import alike, random_state_kept
from tfprune.graph.opening import Opening, OpeningError, run_opening
from tfprune.graph.random_inputs import definite_shape, random_tensor
from tfprune.keras_private import inference_arguments, tensors_in

_SIZES = ((2, 6), (1, 3))
"""Numbers of examples, and sizes of other open axes, of the trials."""


def check_opening(node: Any, opening: Opening) -> None:
    """Checks on random inputs that the recorded calls compute what the layer computes in inference.

    Inputs that the layer itself does not take are no trial. The layer keeps its state.

    Args:
        node: Keras' record of the call of the layer.
        opening: What was seen of its code.

    Raises:
        OpeningError: They compute something else.
    """
    shapes = {tuple(definite_shape(tensor.shape, *sizes) for tensor in opening.inputs): None for sizes in _SIZES}
    rng = np.random.default_rng(0)
    for each in shapes:
        inputs = [random_tensor(shape, tensor.dtype, rng) for shape, tensor in zip(each, opening.inputs, strict=True)]
        with random_state_kept():
            try:
                expected = _run_layer(node, inputs)
                again = _run_layer(node, inputs)
            except Exception:  # of the layer's own code: these sizes or values may mean nothing to it
                continue
            try:
                with keras.StatelessScope():
                    found = run_opening(opening, inputs, _run_call, lambda variable: variable.value)
            except Exception as error:  # of code that was recorded for other sizes
                raise OpeningError("its code takes another way where the sizes of its inputs are known") from error
        dtype = node.operation.compute_dtype
        if not _same(again, expected, dtype):
            raise OpeningError("it computes something else each time")
        if not _same(found, expected, dtype):
            shown = ", ".join(map(str, each))
            raise OpeningError(f"for inputs of shape {shown} its code takes another way than on symbolic tensors")


def _run_layer(node: Any, inputs: list[Any]) -> list[Any]:
    values = {id(tensor): value for tensor, value in zip(node.input_tensors, inputs, strict=True)}
    with keras.StatelessScope():
        return _run_call(node, values)


def _run_call(node: Any, values: Mapping[int, Any]) -> list[Any]:
    arguments, named = inference_arguments(node, values)
    return tensors_in(node.operation(*arguments, **named))


def _same(found: list[Any], expected: list[Any], dtype: str) -> bool:
    finite = [bool(np.isfinite(np.asarray(keras.ops.cast(each, "float64"))).any()) for each in expected]
    pairs = zip(found, expected, finite, strict=True)
    return all(alike(one, other, dtype) for one, other, known in pairs if known)
