"""TFLite files, for LiteRT on phones and boards, in float32, with smaller weights, or with integer arithmetic.

LiteRT's loops, among others, need to know how many examples a call has. A model that needs this gets a batch size of 1.
"""

import os
import re
import warnings
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfprune.console import quiet
from tfprune.errors import ConfigError, UnsupportedLayerError
from tfprune.exporting.calibration import Batch, batches_of_size, calibration_batches
from tfprune.exporting.keras import plain_model
from tfprune.exporting.output import output_file, output_path
from tfprune.exporting.record import Record, add_record
from tfprune.exporting.serving import conversion_error, has_open_sizes, input_signature, serving_function, way_out
from tfprune.keras_private import flat_layers

QUANTIZATIONS = ("float16", "dynamic", "int8")
"""Weights in float16; weights in int8 and activations in float32; weights and activations in int8."""

_NO_FLOAT_KERNEL = re.compile(r"\[\"\w+:\", \"([^\"@]+)@.*'tf\.(\w+)' op is neither a custom op nor a flex op")
_NO_INT8_KERNEL = re.compile(r"not yet supported for op: '(\w+)'")
_AFTER_PLACE = re.compile(r"\"\]\)*: ([^\n]+)")


def export_tflite(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    quantize: str | None = None,
    data: Any = None,
    float_io: bool = True,
    batch_size: int | None = None,
    record: Record | None = None,
) -> None:
    """Writes a model as a TFLite file, which LiteRT runs by its signature: inputs by name, outputs `output_0`, ...

    All operations are LiteRT's own; those of TensorFlow ("Flex") are not needed to run the file.

    Args:
        model: A functional or sequential model without masks and gates.
        path: The file, ending in `.tflite`; an older one is replaced, a missing folder created.
        quantize: `None` for float32, or one of `QUANTIZATIONS`. The converter's `dynamic` leaves kernels of fewer than
            1024 values in float32.
        data: For `int8`: examples like those the model is trained on, see `calibration_batches`.
        float_io: For `int8`: inputs and outputs are float32, not int8 with the scale recorded in the file.
        batch_size: Examples per call of the file. Default: what the inputs of the model are made for, or any number;
            where LiteRT needs to know it, as for recurrent layers and many U-Nets, it is 1, and a warning says so.
        record: What to store in the file about the model, see `tfprune.exporting.record_text`. Default: nothing.

    Raises:
        ConfigError: A setting is wrong, or `data` do not fit the model.
        UnsupportedLayerError: See `plain_model`; or LiteRT lacks an operation of the model (in int8, if asked for).
        WriteError: The file cannot be written.
    """
    path = output_path(path, ".tflite")
    if quantize not in (None, *QUANTIZATIONS):
        raise ConfigError(f"expected quantize out of {', '.join(QUANTIZATIONS)}; received {quantize!r}")
    if quantize != "int8" and not (data is None and float_io):
        raise ConfigError(
            f"expected data and float_io=False only with quantize='int8', received {quantize=}; drop them"
        )
    if batch_size is not None and not (isinstance(batch_size, int) and batch_size > 0):
        raise ConfigError(f"expected a batch_size of at least 1, received {batch_size!r}")
    plain = plain_model(model)
    batches = calibration_batches(plain, data) if quantize == "int8" else None
    options = _float_options(quantize) if batches is None else _int8_options(float_io)
    fixed = batch_size or plain.inputs[0].shape[0]
    # LiteRT's default delegate refuses to run unrolled layers with masks on an open batch.
    falls_back = batches is not None and _unroll(plain) and fixed is None
    with output_file(path) as partial:
        error = _convert(plain, partial, options, batches, 1 if falls_back else fixed)
        if error is not None and fixed is None and not falls_back:
            falls_back = True
            error = _convert(plain, partial, options, batches, 1)
        if error is not None:
            raise _unsupported(error, plain, int8=batches is not None) from error
        add_record(partial, record)
    if falls_back:
        warnings.warn(
            f"{path.name} takes batches of 1, as LiteRT cannot leave their size open here; batch_size=8, or "
            "--batch_size 8, makes it eight",
            stacklevel=3,
        )


def _unroll(plain: keras.Model) -> bool:
    """Makes recurrent layers repeat their step as often as there are steps; changes the model.

    TensorFlow's calibrator ends the process with a segmentation fault when it measures the ranges within a loop.

    Returns:
        Whether there are such layers.

    Raises:
        UnsupportedLayerError: There is another loop.
    """
    recurrent = [layer for layer in flat_layers(plain) if hasattr(layer, "unroll")]
    for layer in recurrent:
        layer.unroll = True
    signature = keras.tree.map_structure(lambda spec: tf.TensorSpec(spec.shape, spec.dtype), input_signature(plain))
    try:
        graph = tf.function(serving_function(plain), autograph=False).get_concrete_function(*signature).graph
    except Exception as error:  # layers raise anything
        raise conversion_error("LiteRT in int8", plain, error) from error
    definition = graph.as_graph_def()
    nodes = [*definition.node, *(node for each in definition.library.function for node in each.node_def)]
    if any(node.op in ("While", "StatelessWhile") for node in nodes):
        raise UnsupportedLayerError(
            "expected a model without loops other than recurrent layers for int8, received one; export it without int8"
        )
    return bool(recurrent)


def _float_options(quantize: str | None) -> dict[str, Any]:
    """Returns options of the converter for float arithmetic."""
    target: dict[str, Any] = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    if quantize == "float16":
        target["supported_types"] = [tf.float16]
    return {"target_spec": target, "optimizations": [tf.lite.Optimize.DEFAULT] if quantize else []}


def _int8_options(float_io: bool) -> dict[str, Any]:
    """Returns options of the converter for integer arithmetic."""
    outside = tf.float32 if float_io else tf.int8
    return {
        "target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]},
        "optimizations": [tf.lite.Optimize.DEFAULT],
        "inference_input_type": outside,
        "inference_output_type": outside,
    }


def _convert(
    plain: keras.Model, path: Path, options: dict[str, Any], batches: list[Batch] | None, batch_size: int | None
) -> Exception | None:
    """Writes the file for a batch size, or for any; returns what the converter raised."""
    if batches is not None:
        sized = batches if batch_size is None else list(batches_of_size(batches, batch_size))
        options = options | {"representative_dataset": lambda: iter(sized)}
    signature = input_signature(plain, batch_size)
    try:
        with quiet():
            plain.export(path, format="litert", verbose=False, input_signature=signature, **options)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # ConverterError is not public, and quantization raises bare RuntimeErrors
        return error
    return None


def _unsupported(error: Exception, plain: keras.Model, *, int8: bool) -> UnsupportedLayerError:
    """Returns the error that says in one line what LiteRT lacks, and in which layers."""
    text = str(error)
    missing = {_operation(plain, place, kind) for place, kind in _NO_FLOAT_KERNEL.findall(text)}
    missing |= set(_NO_INT8_KERNEL.findall(text))
    if not missing:
        reason = _AFTER_PLACE.search(text)
        return conversion_error("LiteRT", plain, error if reason is None else RuntimeError(reason[1]))
    received = f"{', '.join(sorted(missing))}{', of open sizes' if has_open_sizes(plain) else ''}"
    return UnsupportedLayerError(
        f"expected operations that LiteRT has{' in int8' if int8 else ''}, received {received}; {way_out(plain)}"
        f"{', or without int8' if int8 else ''}"
    )


def _operation(plain: keras.Model, place: str, kind: str) -> str:
    """Returns the name of a TensorFlow operation, with the layer that a place such as `model/layer_1/Sinh` is in."""
    names = {layer.name for layer in flat_layers(plain)}
    scopes = [each if each in names else re.sub(r"_\d+$", "", each) for each in place.split("/")[1:]]
    layer = next((each for each in reversed(scopes) if each in names), None)
    return kind if layer is None else f"{kind} (in {layer})"
