"""The settings of `tfprune export`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from tfprune.commands.checks import at_least_one, check_model_file, check_output
from tfprune.errors import ConfigError

_SUFFIXES = (".tflite", ".onnx", ".keras", ".mpt", "")


@dataclass(frozen=True)
class ExportConfig:
    """Writes a model for other programs to run: TFLite (LiteRT), ONNX, a SavedModel, or a plain .keras file.

    Attributes:
        model: The .keras file to export.
        out: The file to write, by its end a .tflite, .onnx, .keras or .mpt file (a sub-network, one bit per kept
            weight); a SavedModel if it has none.
        quantize: For TFLite: smaller weights (float16, dynamic), or integer arithmetic, too (int8). Default: neither.
        int8: Short for --quantize int8.
        data: Examples to measure the ranges of int8 on: CIFAR10, CIFAR100, digits, or an .npz file with an array x.
            Default: none.
        data_path: Folder that holds the TFDS data sets (its data_dir). Default: TFDS's own.
        examples: How many examples to look at.
        overwrite: Replace the file if it exists.
        format: What the file is to be: tflite, onnx, keras, packed or saved_model. Default: what its end says.
    """

    POSITIONAL: ClassVar[str] = "model out"
    GROUPS: ClassVar[Mapping[str, str]] = {
        "quantization": "quantize int8 data data_path examples",
        "output": "format overwrite",
    }

    model: str
    out: str
    quantize: Literal["float16", "dynamic", "int8"] | None = None
    int8: bool = False
    data: str | None = None
    data_path: str | None = None
    examples: int = 512
    overwrite: bool = False
    format: Literal["tflite", "onnx", "keras", "packed", "saved_model"] | None = None

    @property
    def quantization(self) -> str | None:
        """What is asked for, in either way."""
        return "int8" if self.int8 else self.quantize

    def __post_init__(self) -> None:
        at_least_one(examples=self.examples)
        if Path(self.out).suffix not in _SUFFIXES:
            raise ConfigError(
                "expected a name that ends in .tflite, .onnx, .keras or .mpt, or a folder without a suffix for a "
                f"SavedModel, received {self.out}; rename it"
            )
        if self.int8 and self.quantize not in (None, "int8"):
            raise ConfigError(f"--int8 and --quantize {self.quantize} contradict each other; give one of them")
        if self.quantization and Path(self.out).suffix != ".tflite":
            raise ConfigError(f"expected a .tflite file to quantize, received {self.out}; only TFLite is quantized")
        if self.quantization == "int8" and self.data is None:
            raise ConfigError("--int8: the ranges of the activations are measured on examples; give --data")
        if self.quantization != "int8" and self.data is not None:
            raise ConfigError("--data: only int8 looks at examples; add --int8, or drop --data")

    def check_files(self) -> None:
        """Makes sure that the model is there and the result can be written.

        Raises:
            CheckpointError: The model is not there.
            RunFolderError: The result exists and must not be overwritten, or its folder does not exist.
        """
        check_model_file(self.model)
        check_output(self.out, overwrite=self.overwrite)
