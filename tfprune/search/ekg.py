"""EKG's search on any functional Keras model, in one call."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from tfprune.arguments import instance, number, optional, truth, whole_number
from tfprune.arrays import checked_array
from tfprune.batches.source import Source
from tfprune.errors import ConfigError
from tfprune.graph import copied_layer, executable_groups, functional_model, rebuild
from tfprune.keras_private import producer
from tfprune.landscape.measure import Landscape
from tfprune.landscape.settings import LandscapeSettings
from tfprune.search.greedy import Search
from tfprune.search.state import SearchResult


def search(
    model: keras.Model,
    data: Any,
    flops: float,
    *,
    examples: int = 320,
    search_step: float = 0.2,
    batch_size: int = 256,
    dtype: str = "float32",
    landscape: LandscapeSettings | None = None,
    progress: bool = True,
) -> SearchResult:
    """Searches a classifier for its best sub-network of fewer FLOPs (multiply-adds), guided by an ensemble.

    Every channel group has a gate; each step tries one decrement of the width of many gates and keeps the one whose
    outputs agree best with the labels and with the ensemble. During the search, batch norms use batch statistics.

    Args:
        model: A functional, sequential or subclassed classifier with one input of numbers and one output
            `[batch, classes]`, logits or softmax. It is not changed.
        data: Examples and class numbers, held out from training if you can: a pair of arrays, or batches of such pairs
            (a `tf.data.Dataset`, which may be endless).
        flops: Fraction of the FLOPs to keep, between 0 and 1.
        examples: How many examples to search with, the first ones; more take longer and give more reliable results.
        search_step: Fraction of its width that a gate gives up in one step, if a single layer makes its channels.
        batch_size: Examples per batch.
        dtype: `float32`; or `bfloat16`, which is faster and runs promising candidates again in float32.
        landscape: Measure the loss landscape of every accepted sub-network, as these settings say; see
            `tfprune.landscape`. It goes to `landscapes` of the result, and takes longer than the search itself.
        progress: Show a progress bar.

    Returns:
        The finished search; its `slim()` is the smaller model, with batch norm averages measured on the examples.

    Raises:
        ConfigError: The data has another form, examples, labels or weights of the model are not finite or do not fit
            each other, or `flops` is no fraction.
        SearchError: The model has nothing to prune, or not enough for the target, or does not return logits.
        UnsupportedLayerError: The model has no graph, or several inputs or outputs.

    Reference:
        Lee & Song, Ensemble Knowledge Guided Sub-network Search and Fine-tuning for Filter Pruning (ECCV 2022).

    Example:
        `small = tfprune.ekg.search(model, (images, labels), flops=0.45).slim()`
    """
    instance("model", model, keras.Model, "a Keras model")
    model = functional_model(model)
    flops = number("flops", flops, above=0, below=1)
    examples, progress = whole_number("examples", examples), truth("progress", progress)
    optional(instance, "landscape", landscape, kind=LandscapeSettings, words="LandscapeSettings")
    values, labels = _first(data, examples)
    run = Search(_logits(model), values, labels, flops, search_step, batch_size, dtype)
    state = run.start()
    landscapes: list[Landscape] = []
    with tqdm(total=round(100 * (1 - flops), 1), desc="search", disable=None if progress else True) as bar:
        while not run.done(state):
            state, _ = run.step(state)
            if landscape is not None:
                landscapes.append(run.landscape(state, landscape))
            bar.update(round(100 * min(1 - state.flops / run.full_flops, 1 - flops), 1) - bar.n)
            bar.set_postfix_str(f"FLOPs {state.flops / run.full_flops:.1%}, accuracy {state.accuracy:.1%}")
    found = run.result(state)
    return replace(found, model=model, groups=executable_groups(model), examples=values, landscapes=tuple(landscapes))


def _first(data: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first examples, and their labels; `Search` checks what they are."""
    images, labels = [], []
    left = count
    for batch in Source(data).batches(bounded=True):
        if batch.y is None or keras.tree.is_nested(batch.x) or keras.tree.is_nested(batch.y):
            raise ConfigError("data: expected examples and labels (x, y), one array each; add the labels")
        images.append(checked_array(batch.x, "data: examples", finite=False)[:left])
        labels.append(checked_array(batch.y, "data: labels", finite=False)[:left])
        left -= batch.rows
        if left <= 0:
            break
    shapes = {each.shape[1:] for each in images}
    if len(shapes) > 1:
        raise ConfigError(f"data: expected examples of one shape, received {', '.join(map(str, sorted(shapes)))}")
    return np.concatenate(images), np.concatenate(labels)


def _logits(model: keras.Model) -> keras.Model:
    """Returns a copy that ends before the softmax, if there is one."""
    (output,) = model.outputs if len(model.outputs) == 1 else (None,)
    if output is not None and isinstance(producer(output).operation, keras.layers.Softmax):
        model = keras.Model(model.input, producer(output).input_tensors[0])
    outputs = {id(producer(each).operation) for each in model.outputs}

    def make(layer: keras.Layer) -> keras.Layer:
        ends = id(layer) in outputs and getattr(layer, "activation", None) is keras.activations.softmax
        return copied_layer(layer, {"activation": lambda _: "linear"} if ends else None)

    return rebuild(model, make)
