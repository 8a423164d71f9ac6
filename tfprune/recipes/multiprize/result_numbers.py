"""How good and how sparse a network of a run is, in numbers and words."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tfprune.keras_private import flat_layers
from tfprune.layers import Subnet, collapsed_layers, subnet_layers
from tfprune.recipes.data import ImageData, ImageDataset, StreamedData
from tfprune.recipes.multiprize.config import MultiPrizeConfig
from tfprune.recipes.training import Evaluation, evaluate


def test_network(config: MultiPrizeConfig, network: keras.Model, data: ImageDataset) -> Evaluation:
    """Evaluates a network on the test images."""
    return evaluate(network, data.test_batches(config.val_batch_size), compile=config.compile)


def network_numbers(network: keras.Model) -> dict[str, object]:
    """How many of the weights that are picked from take part: `density`, `kept`, `prunable`, `collapsed_layers`.

    Of a sampled sub-network `kept` is what is to be expected.
    """
    layers = subnet_layers(network) or [layer for layer in flat_layers(network) if hasattr(layer, "kernel")]
    total = sum(int(np.prod(layer.kernel.shape)) for layer in layers)
    kept = round(sum(_kept(layer) for layer in layers))
    return {
        "density": kept / total,
        "kept": kept,
        "prunable": total,
        "collapsed_layers": len(collapsed_layers(network)),
    }


def _kept(layer: keras.layers.Layer) -> float:
    """How many weights of a layer take part."""
    if not isinstance(layer, Subnet):
        return int(np.prod(layer.kernel.shape))
    if layer.selection == "sampled":
        return float(np.sum(1 / (1 + np.exp(-np.asarray(layer.scores, np.float64)))))
    return int(np.count_nonzero(layer.mask))


def file_notes(config: MultiPrizeConfig, data: ImageDataset) -> dict[str, Any]:
    """What a `.keras` file of a run says of itself: enough to evaluate it, here or elsewhere."""
    return {
        "method": config.method,
        "arch": config.arch,
        "dataset": data.name,
        "num_classes": data.num_classes,
        "input_shape": list(data.input_shape),
        **_normalization(data),
        "width_multiplier": config.width_multiplier,
        "binary_activations": config.binary_activations,
        "density": config.kept,
        "scope": "dense" if config.dense else config.scope,
        "seed": config.seed,
    }


def print_result(
    config: MultiPrizeConfig, network: keras.Model, numbers: Mapping[str, Any], tested: Evaluation
) -> None:
    """Prints how good and how sparse a network is, and names the layers that keep nothing."""
    print(
        f"{config.arch}: {numbers['kept']:,} of {numbers['prunable']:,} weights kept ({numbers['density']:.2%}), "
        f"accuracy {tested.top1:.2%} on {tested.examples} test images"
    )
    if names := collapsed_layers(network):
        print(f"no weight is left in {', '.join(names)}; what they gave is 0 now")


def _normalization(data: ImageDataset) -> dict[str, list[float]]:
    """What is subtracted from pixels of 0 .. 255, and what they are divided by then."""
    if isinstance(data, StreamedData):  # it counts from 0 to 1
        return {name: [255 * value for value in values] for name, values in (("mean", data.mean), ("std", data.std))}
    return {"mean": list(data.mean), "std": list(data.std)} if isinstance(data, ImageData) else {}
