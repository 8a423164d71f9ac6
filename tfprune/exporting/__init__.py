"""Writing models to files that run without tfprune: Keras, SavedModel, TFLite (LiteRT), ONNX."""

from tfprune.exporting.export import export
from tfprune.exporting.export_onnx import export_onnx
from tfprune.exporting.export_saved_model import export_saved_model
from tfprune.exporting.export_tflite import QUANTIZATIONS, export_tflite
from tfprune.exporting.packed_model import PackedSize, export_packed, load_packed
from tfprune.exporting.plain_model import plain_model
from tfprune.exporting.save_model import save_model

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
