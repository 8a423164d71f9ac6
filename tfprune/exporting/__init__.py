"""Writing models to files that run without tfprune: Keras, SavedModel, TFLite (LiteRT), ONNX."""

from tfprune.exporting.export import export, export_saved_model, save_model
from tfprune.exporting.onnx import export_onnx
from tfprune.exporting.packed import PackedSize, export_packed, load_packed
from tfprune.exporting.plain import plain_model
from tfprune.exporting.tflite import QUANTIZATIONS, export_tflite

__all__ = [
    "QUANTIZATIONS",
    "PackedSize",
    "export",
    "export_onnx",
    "export_packed",
    "export_saved_model",
    "export_tflite",
    "load_packed",
    "plain_model",
    "save_model",
]
