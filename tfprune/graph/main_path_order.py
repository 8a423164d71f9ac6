"""The order of kernels in which the layers of residual networks are usually numbered."""

import keras

from tfprune.graph.calls import Call, model_graph
from tfprune.graph.prunable_weights import Ignored, prunable_weights

_ADDITIONS = (keras.layers.Add, keras.src.ops.numpy.Add)


def main_path_order(model: keras.Model, *, ignore: Ignored | tuple[Ignored, ...] = ()) -> dict[str, keras.Variable]:
    """The weights of `prunable_weights`, the longest way first wherever ways meet.

    Depth first from the outputs, as in `prunable_weights`; but of the inputs of a layer, the one with the most kernels
    before it comes first, in whatever order they were written. So the projection of a shortcut follows the convolutions
    that it bridges, which is the order of the modules in PyTorch's residual networks.

    Args:
        model: A functional or sequential model, built.
        ignore: What to leave out, see `prunable_weights`.

    Returns:
        Variables by name.

    Raises:
        UnsupportedLayerError: The model has no graph.
        ConfigError: As `prunable_weights`.

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


def adds_branches(model: keras.Model) -> bool:
    """Whether a model adds tensors up, as residual networks do.

    Args:
        model: A functional or sequential model, built.

    Raises:
        UnsupportedLayerError: The model has no graph.
    """
    return any(isinstance(call.layer, _ADDITIONS) and len(call.inputs) > 1 for call in model_graph(model).calls)


def _layer_names(model: keras.Model) -> list[str]:
    """Names of the layers, as `Call` has them, each at its first call."""
    graph = model_graph(model)
    producer = {id(tensor): call for call in graph.calls for tensor in call.outputs}
    kernels: dict[int, int] = {}
    for call in graph.calls:
        so_far = max((kernels.get(id(tensor), 0) for tensor in call.inputs), default=0)
        kernels.update((id(tensor), so_far + hasattr(call.layer, "kernel")) for tensor in call.outputs)

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
