"""Cutting channels out of a model, and out of the state of its optimizer."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from tfprune.arguments import truth
from tfprune.batches.inputs import input_batches
from tfprune.errors import PruningError
from tfprune.graph import ChannelGroups, Slot, slim
from tfprune.graph.cutter import cut_weight
from tfprune.graph.labels import weight_at
from tfprune.graph.rebuild import variable_copies
from tfprune.pruning.reweighting import ReweightingWarning, reweight


def cut(
    model: keras.Model,
    mask: np.ndarray,
    groups: ChannelGroups,
    *,
    keep_optimizer: bool,
    data: Any = None,
    stacklevel: int = 1,
) -> keras.Model:
    """Copies a model without the masked channels.

    Args:
        model: The model. It is not changed.
        mask: Bool `[channels]`, True for what is kept.
        groups: The model's channel groups.
        keep_optimizer: Carry the state of its optimizer over.
        data: Let the kernels that read cut channels compensate for them on this data, see `reweight`. None: do not.
        stacklevel: Whose line a warning names, as for `warnings.warn`; 1 is the line that calls this function.

    Returns:
        A new model, compiled like the old one.

    Raises:
        ConfigError: The data cannot be used.
        PruningError: The optimizer's state cannot be carried over.
    """
    keep_optimizer = truth("keep_optimizer", keep_optimizer)
    small = slim(model, mask, groups)
    skipped = reweight(small, model, mask, groups, input_batches(model, data, "reweight")) if data is not None else {}
    if skipped:
        warnings.warn(ReweightingWarning(skipped), stacklevel=stacklevel + 1)
    if keep_optimizer:
        carry_optimizer(model, small, mask, groups)
    return small


def carry_optimizer(model: keras.Model, small: keras.Model, mask: np.ndarray, groups: ChannelGroups) -> None:
    """Gives a slimmed model's optimizer the state of the whole model's optimizer.

    Momenta and the like are cut like the weights, counters are copied. The state of attention's query kernels, which
    slimming scales as well as cuts, is only cut.

    Args:
        model: A compiled model. It is not changed.
        small: The slimmed model, compiled alike; the state of its optimizer is set.
        mask: Bool `[channels]`, True for the channels that were kept.
        groups: The channel groups of `model`.

    Raises:
        PruningError: The model is not compiled, its trainable variables are not those that its optimizer was built
            for, or the optimizer has state that belongs to no single variable.
    """
    slots = _slots(groups)

    def small_array(variable: keras.Variable, array: np.ndarray) -> np.ndarray:
        return cut_weight(array, slots.get(id(variable), ()), mask)

    move_optimizer(model, small, variable_copies(model, small), small_array)


def move_optimizer(
    model: keras.Model,
    small: keras.Model,
    copies: Mapping[int, keras.Variable],
    small_array: Callable[[keras.Variable, np.ndarray], np.ndarray] = lambda _, array: array,
) -> None:
    """Gives the optimizer of a copy of a model the state that the model's optimizer has for what is left.

    Args:
        model: A compiled model. It is not changed.
        small: The copy, compiled alike; the state of its optimizer is set.
        copies: The variable of the copy for each of the model's that is left, by its `id`.
        small_array: Makes an array of the size of the copy's variable from one of the size of the model's.

    Raises:
        PruningError: See `carry_optimizer`.
    """
    if not (model.compiled and getattr(model, "optimizer", None)):
        raise PruningError("keep_optimizer: expected a compiled model, received one without an optimizer")
    old, new = model.optimizer, small.optimizer
    if not old.built:
        return
    if not new.built:
        new.build(small.trainable_variables)
    targets = {(id(of), number): variable for of, number, variable in _state(new, small)}
    for of, number, variable in _state(old, model):
        array = np.asarray(variable)
        if of is not None and id(of) not in copies:
            continue
        if of is not None:
            array = small_array(of, array)
        elif array.ndim:
            raise PruningError(
                f"keep_optimizer: {type(old).__name__} holds {variable.path} of shape {tuple(array.shape)}, which "
                "belongs to no single weight and cannot be cut; leave keep_optimizer out"
            )
        targets[id(None if of is None else copies[id(of)]), number].assign(array)


def _state(optimizer: Any, model: keras.Model) -> Iterator[tuple[keras.Variable | None, int, keras.Variable]]:
    """Yields the variables of an optimizer, each with the model's variable that it belongs to, and its number there."""
    references = _references(optimizer, model)
    counts: dict[int, int] = {}
    for index, variable in enumerate(optimizer.variables):
        of = references.get(index)
        counts[id(of)] = counts.get(id(of), 0) + 1
        yield of, counts[id(of)], variable


def _references(optimizer: Any, model: keras.Model) -> dict[int, keras.Variable]:
    """Returns to which of the model's variables each of the optimizer's belongs, by its position.

    Optimizers do not record this. A twin is built for the same variables, and observed while it creates its own.
    """
    twin = type(optimizer).from_config(optimizer.get_config())
    created: list[tuple[Any, keras.Variable]] = []
    _record_creation(twin, created)
    twin.build(model.trainable_variables)
    if _kinds(twin) != _kinds(optimizer):
        raise PruningError(
            "keep_optimizer: expected an optimizer built for the model's trainable variables as they are now, received "
            "one built for others; compile the model again, or leave keep_optimizer out"
        )
    belongs = {id(variable): reference for variable, reference in created}
    return {i: belongs[id(variable)] for i, variable in enumerate(twin.variables) if id(variable) in belongs}


def _kinds(optimizer: Any) -> list[tuple[str, tuple[int, ...]]]:
    return [(variable.path.rpartition("/")[2], tuple(variable.shape)) for variable in optimizer.variables]


def _record_creation(optimizer: Any, created: list[tuple[Any, keras.Variable]]) -> None:
    """Records each variable that the optimizer, or one inside it, creates for one of the model's."""
    for part in ("inner_optimizer", "companion"):
        if hasattr(optimizer, part):
            _record_creation(getattr(optimizer, part), created)
    create = optimizer.add_variable_from_reference

    def recorded(reference_variable: keras.Variable, *args: Any, **kwargs: Any) -> Any:
        variable = create(reference_variable, *args, **kwargs)
        created.append((variable, reference_variable))
        return variable

    optimizer.add_variable_from_reference = recorded


def _slots(groups: ChannelGroups) -> dict[int, list[Slot]]:
    """Returns the axes that run over channels, by the variable."""
    found: dict[int, list[Slot]] = {}
    for name, slots in groups.slots.items():
        for slot in slots:
            found.setdefault(id(weight_at(groups.layers[name], slot.weight)), []).append(slot)
    return found
