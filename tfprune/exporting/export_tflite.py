"""Models as TFLite files, for LiteRT on phones and boards."""

import os
import re
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfprune.errors import ConfigError, UnsupportedLayerError
from tfprune.exporting.calibration import calibration_batches
from tfprune.exporting.plain_model import plain_model
from tfprune.exporting.quiet import quiet
from tfprune.exporting.replacement import replaced_file

QUANTIZATIONS = ("float16", "dynamic", "int8")
"""Weights in float16; weights in int8 and activations in float32; weights and activations in int8."""

_NO_KERNEL = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op|not yet supported for op: '(\w+)'")


def export_tflite(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    quantize: str | None = None,
    data: Any = None,
    float_io: bool = True,
) -> None:
    """Writes a model as a TFLite file, which LiteRT runs by its signature: inputs by name, outputs `output_0`, ...

    The operations are LiteRT's own; TensorFlow's ("Flex") are not needed to run the file.

    Args:
        model: A functional or sequential model without masks and gates.
        path: The file, ending in `.tflite`; an older one is replaced, a missing folder made.
        quantize: `None` for float32, or one of `QUANTIZATIONS`. The converter's `dynamic` leaves kernels of fewer than
            1024 values in float32.
        data: For `int8`: examples such as the model is trained on, see `calibration_batches`.
        float_io: For `int8`: inputs and outputs are float32, not int8 with the scale noted in the file.

    Raises:
        ConfigError: A setting is wrong, or `data` do not fit the model.
        UnsupportedLayerError: See `plain_model`; or LiteRT lacks an operation of the model (in int8, if asked for).
    """
    path = Path(path)
    if path.suffix != ".tflite":
        raise ConfigError(f"expected a file name that ends in .tflite, received {path}; rename it")
    if quantize not in (None, *QUANTIZATIONS):
        raise ConfigError(f"expected quantize out of {', '.join(QUANTIZATIONS)}; received {quantize!r}")
    if quantize != "int8" and not (data is None and float_io):
        raise ConfigError(
            f"expected data and float_io=False only with quantize='int8', received {quantize=}; drop them"
        )
    plain = plain_model(model)
    options = _int8(plain, data, float_io) if quantize == "int8" else _float(quantize)
    with replaced_file(path) as partial:
        _convert(plain, partial, options)


def _float(quantize: str | None) -> dict[str, Any]:
    target: dict[str, Any] = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    if quantize == "float16":
        target["supported_types"] = [tf.float16]
    return {"target_spec": target, "optimizations": [tf.lite.Optimize.DEFAULT] if quantize else []}


def _int8(plain: keras.Model, data: Any, float_io: bool) -> dict[str, Any]:
    batches = calibration_batches(plain, data)
    outside = tf.float32 if float_io else tf.int8
    return {
        "target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]},
        "optimizations": [tf.lite.Optimize.DEFAULT],
        "representative_dataset": lambda: iter(batches),
        "inference_input_type": outside,
        "inference_output_type": outside,
    }


def _convert(plain: keras.Model, path: Path, options: dict[str, Any]) -> None:
    try:
        with quiet():
            plain.export(path, format="litert", verbose=False, **options)
    except Exception as error:  # ConverterError is not public, and quantization raises bare RuntimeErrors
        missing = sorted({first or second for first, second in _NO_KERNEL.findall(str(error))})
        if not missing:
            raise
        raise UnsupportedLayerError(
            f"expected operations that LiteRT has{' in int8' if 'representative_dataset' in options else ''}, received "
            f"{', '.join(missing)}; export to another format or without int8"
        ) from error
