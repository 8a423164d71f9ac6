"""Models of stock Keras layers only, which run without tfprune."""

import keras

from tfprune.errors import UnsupportedLayerError
from tfprune.graph import convert


def plain_model(model: keras.Model) -> keras.Model:
    """A copy of a model of stock Keras layers only.

    Args:
        model: A functional or sequential model, models within it included; our batch norm is swapped for Keras' own.

    Returns:
        The copy; float32 whatever the policy of `model`.

    Raises:
        UnsupportedLayerError: The model has masked or gated layers, which stock layers cannot stand for, or no graph.
    """
    plain = convert(model, "plain", dtype="float32")
    layers = [layer for layer in plain._flatten_layers() if not isinstance(layer, keras.Model)]
    ours = [f"{layer.name} ({type(layer).__name__})" for layer in layers if _is_ours(layer)]
    if ours:
        raise UnsupportedLayerError(
            f"expected a model that stock Keras layers can express, received {', '.join(ours)}; slim the model first"
        )
    for layer in layers:
        # Layers within layers (TimeDistributed, Bidirectional) have policies of their own.
        if layer.compute_dtype in ("bfloat16", "float16"):
            layer.dtype_policy = "float32"
    return plain


def _is_ours(layer: keras.Layer) -> bool:
    return type(layer).__module__.split(".")[0] == "tfprune"
