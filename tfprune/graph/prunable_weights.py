"""The weights of a model that can be pruned one by one: its kernels, by name and in order."""

from collections.abc import Iterable

import keras

from tfprune.arguments import truth
from tfprune.errors import ConfigError
from tfprune.graph.calls import (
    Call,
    Ignored,
    as_list,
    check_not_quantized,
    matching_names,
    model_calls,
    model_graph,
    no_such_layer,
)
from tfprune.graph.subclassed import functional_model
from tfprune.keras_private import numpy_operations
from tfprune.layers.held_weights import HeldWeight
from tfprune.layers.kernels import prunable_kernels, uncovered_weights

ADDITIONS = (keras.layers.Add, numpy_operations.Add)


def prunable_weights(
    model: keras.Model, *, ignore: Ignored | Iterable[Ignored] = (), embeddings: bool = False
) -> dict[str, keras.Variable]:
    """Returns the kernels of a model, those of layers within other layers included.

    These are the kernels of dense layers, of all kinds of convolutions, of recurrent layers and their wrappers, of
    attention, and of layers within one's own layers. Classes derived from Keras' layers count as these. Biases,
    normalizations and embeddings have no kernels here. A layer of one's own has those that it keeps in attributes with
    `kernel` in their name; `tfprune.layers.register_kernel_layer` says it of others.

    Args:
        model: A functional, sequential or subclassed model, built.
        ignore: One or several of: paths of layers (`outer/inner` in nested models, `outer` for all layers in it) or of
            weights (`fc/kernel`), patterns of these such as `stage1_*`, or layers.
        embeddings: Whether tables of embeddings count, too. No criterion scores them; `convert` takes masks of them.

    Returns:
        Variables by name, `<layer path>/<weight>`, in the order of the graph; a variable that several layers or calls
        share appears once. The weight is the attribute that holds it, such as `fc/kernel`, or the attributes that lead
        to it, such as `lstm/cell.recurrent_kernel`, `mha/query_dense.kernel` or `block/layers.0.kernel`.

    Raises:
        UnsupportedLayerError: The model has no graph, or Keras has quantized it.
        ConfigError: `ignore` matches nothing, or no kernel remains.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="fc")])
        >>> {name: tuple(weight.shape) for name, weight in prunable_weights(model).items()}
        {'fc/kernel': (4, 3)}
    """
    check_not_quantized(model)
    model = functional_model(model)
    embeddings = truth("embeddings", embeddings)
    calls = model_calls(model)
    out = _left_out(calls, ignore)
    found: dict[str, keras.Variable] = {}
    seen: set[int] = set()
    for call in calls:
        for path, held in _kernels(call.layer, embeddings).items():
            name = f"{call.name}/{path}"
            if id(held.variable) not in seen and name not in out and call.name not in out:
                found[name] = held.variable
            seen.add(id(held.variable))
    if not found:
        raise ConfigError(
            f"expected kernels to prune in {model.name}, found none{' but those to ignore' if seen else ''}; "
            "give a model with dense layers or convolutions"
        )
    return found


def kernels_of_copy(model: keras.Model, copy: keras.Model) -> dict[str, list[keras.Variable]]:
    """Returns the weights of a copy of a model that `prunable_weights(model)` names.

    Args:
        model: The model.
        copy: A copy whose layers have the same names, as `convert` makes it.

    Returns:
        Variables by the names of the model; several where layers of the model share a weight, such as a layer and a
        wrapper of it, which have one each in the copy.
    """
    new = {f"{call.name}/{path}": held for call in model_calls(copy) for path, held in _kernels(call.layer).items()}
    names = {id(variable): name for name, variable in prunable_weights(model).items()}
    found: dict[str, dict[int, keras.Variable]] = {}
    for call in model_calls(model):
        for path, held in _kernels(call.layer).items():
            variable = new[f"{call.name}/{path}"].variable
            found.setdefault(names[id(held.variable)], {})[id(variable)] = variable
    return {name: list(variables.values()) for name, variables in found.items()}


def unpruned_weights(model: keras.Model, *, ignore: Ignored | Iterable[Ignored] = ()) -> dict[str, keras.Variable]:
    """Returns trained matrices of a model's own layers that are not among `prunable_weights`.

    See `tfprune.layers.kernels.uncovered_weights` for what counts.

    Args:
        model: A functional or sequential model, built.
        ignore: As for `prunable_weights`.

    Returns:
        Variables by the layer's path and their own name.
    """
    calls = model_calls(model)
    out = _left_out(calls, ignore)
    found = {
        id(variable): (f"{call.name}/{variable.name}", variable)
        for call in calls
        if call.name not in out
        for variable in uncovered_weights(call.layer)
    }
    return dict(found.values())


def _left_out(calls: tuple[Call, ...], ignore: Ignored | Iterable[Ignored]) -> set[str]:
    """Returns the names of all layers and weights that are to be ignored."""
    return {name for each in as_list(ignore) for name in _meant(calls, each)}


def _meant(calls: tuple[Call, ...], ignored: Ignored) -> set[str]:
    """Returns the names of the layers and weights that are meant."""
    weights = (f"{call.name}/{attribute}" for call in calls for attribute in _kernels(call.layer))
    found = matching_names(calls, ignored, weights)
    if not found:
        shown = ignored if isinstance(ignored, str) else getattr(ignored, "name", ignored)
        raise ConfigError(no_such_layer("ignore", str(shown), [call.name for call in calls]))
    return found


def _kernels(layer: keras.Operation, embeddings: bool = False) -> dict[str, HeldWeight]:
    """Returns the prunable weights of a layer, by the attributes that lead to them."""
    kernels = prunable_kernels(layer, embeddings=embeddings)
    for each in kernels.values():
        if getattr(each.layer, "lora_enabled", False):
            raise ConfigError(
                f"expected plain kernels, received {each.layer.name} with a LoRA update; merge it into the kernel "
                "before pruning"
            )
    return kernels


def main_path_order(model: keras.Model, *, ignore: Ignored | tuple[Ignored, ...] = ()) -> dict[str, keras.Variable]:
    """Returns the weights of `prunable_weights`, with the longest path first wherever paths join.

    The order is depth first from the outputs, as in `prunable_weights`, but of the inputs of a layer, the one with the
    most kernels before it comes first. So the projection of a shortcut follows the convolutions that it bridges, as the
    modules do in PyTorch's residual models.

    Args:
        model: A functional or sequential model, built.
        ignore: See `prunable_weights`.

    Returns:
        Variables by name.

    Raises:
        UnsupportedLayerError: The model has no graph.
        ConfigError: `ignore` matches nothing, or no kernel remains.

    Example:
        >>> x = keras.Input((4,))
        >>> short = keras.layers.Dense(3, name="short")(x)
        >>> long = keras.layers.Dense(3, name="second")(keras.layers.Dense(3, name="first")(x))
        >>> list(main_path_order(keras.Model(x, keras.layers.Add()([short, long]))))
        ['first/kernel', 'second/kernel', 'short/kernel']
    """
    weights = prunable_weights(model, ignore=ignore)
    places = {name: place for place, name in enumerate(_layer_names(model))}
    return dict(sorted(weights.items(), key=lambda item: places[item[0].rpartition("/")[0]]))


def _layer_names(model: keras.Model) -> list[str]:
    """Returns the names of the layers in the order of `main_path_order`, each at its first call."""
    graph = model_graph(model)
    producer = {id(tensor): call for call in graph.calls for tensor in call.outputs}
    kernels: dict[int, int] = {}
    for call in graph.calls:
        so_far = max((kernels.get(id(tensor), 0) for tensor in call.inputs), default=0)
        kernels.update((id(tensor), so_far + len(prunable_kernels(call.layer))) for tensor in call.outputs)

    def before(call: Call) -> list[Call]:
        longest_first = sorted(call.inputs, key=lambda tensor: -kernels[id(tensor)])
        return [producer[id(tensor)] for tensor in longest_first]

    names: dict[str, None] = {}
    done: set[int] = set()
    pending = [(producer[id(tensor)], False) for tensor in reversed(graph.outputs)]
    while pending:
        call, inputs_done = pending.pop()
        if id(call) in done:
            continue
        if inputs_done:
            done.add(id(call))
            names.setdefault(call.name)
        else:
            pending.append((call, True))
            pending.extend((each, False) for each in reversed(before(call)))
    return list(names)


def adds_branches(model: keras.Model) -> bool:
    """Returns whether a model adds tensors, as residual models do.

    Args:
        model: A functional or sequential model, built.

    Raises:
        UnsupportedLayerError: The model has no graph.
    """
    return any(isinstance(call.layer, ADDITIONS) and len(call.inputs) > 1 for call in model_graph(model).calls)
