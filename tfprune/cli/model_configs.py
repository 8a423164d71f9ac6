"""The settings of the commands that read models and leave them: `inspect`, `benchmark`, `landscape` and `export`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from tfprune.cli.plugins import plugin_setting
from tfprune.errors import ConfigError
from tfprune.exporting.formats import FORMATS, suffixes_in_words
from tfprune.files import check_output
from tfprune.landscape.settings import LandscapeSettings
from tfprune.settings import Settings, check_model_file, require, setting

_FORMATS = tuple(each.name for each in FORMATS)
_READ = (".keras", ".tflite")
LANDSCAPE_FILES = ("landscape.json", "landscape.csv", "sections.csv", "landscape.png")
"""What `tfprune landscape` writes."""


@dataclass(frozen=True)
class InspectConfig(Settings):
    """Shows what a model costs layer by layer, and which of its channels can be pruned together."""

    model: str = setting(help="A .keras file; or a .tflite file, whose operations are shown.", positional=True)
    small: str | None = setting(
        None, "The same model after pruning, to be shown beside it, a .keras file.", if_none="none", positional=True
    )
    ignore: tuple[str, ...] = setting(
        (), "Layers that keep all their channels: names, or patterns such as stage1_*.", group="model"
    )
    input_shape: tuple[int, ...] | None = setting(
        None,
        "Shape of one example, such as 224 224 3, for models that take inputs of any size.",
        if_none="the model's",
        group="model",
        nonempty=True,
        at_least=1,
    )
    latency: bool = setting(True, "Measure how long each layer and the whole model take.", group="latency")
    batch_size: int = setting(1, "Examples per call when the latency is measured.", group="latency", at_least=1)
    plugin: tuple[str, ...] = plugin_setting("model")

    def check_files(self) -> None:
        """Checks that the models exist.

        Raises:
            CheckpointError: One does not.
            ConfigError: A TFLite file is to be compared, or its layers are to be ignored.
        """
        check_model_file(self.model, suffixes=_READ)
        check_model_file(self.small)
        if Path(self.model).suffix == ".tflite" and (self.small is not None or self.ignore):
            raise ConfigError(f"{self.model} has no layers to compare or to ignore; give .keras files for that")


@dataclass(frozen=True)
class BenchmarkConfig(Settings):
    """Compares the latencies of models, which take turns call by call."""

    models: tuple[str, ...] = setting(
        help="The .keras and .tflite files; the others are compared to the first.", positional=True
    )
    batch_size: tuple[int, ...] = setting(
        (1, 32), "Examples per call, one or several numbers.", group="measurement", nonempty=True, at_least=1
    )
    runs: int = setting(50, "Timed calls of each model.", group="measurement", at_least=1)
    warm_up: int = setting(5, "Calls of each before them.", group="measurement", at_least=1)
    input_shape: tuple[int, ...] | None = setting(
        None,
        "Shape of one example, such as 224 224 3, for models that take inputs of any size.",
        if_none="the models'",
        group="measurement",
        nonempty=True,
        at_least=1,
    )
    json: str | None = setting(None, "File to write the numbers to as well.", if_none="none", group="output")
    overwrite: bool = setting(False, "Replace the file if it exists.", group="output")
    plugin: tuple[str, ...] = plugin_setting("models")

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_different(self.models)

    def check_files(self) -> None:
        """Checks that the models exist and the numbers can be written.

        Raises:
            CheckpointError: A model does not exist.
            RunFolderError: The file exists and must not be overwritten, or its folder cannot be created.
        """
        for path in self.models:
            check_model_file(path, suffixes=_READ)
        check_output(self.json, overwrite=self.overwrite)


@dataclass(frozen=True)
class LandscapeConfig(LandscapeSettings):
    """Measures the loss around the weights of models: sections along random directions, and the Hessian's ends."""

    HELP_ORDER: ClassVar[tuple[str, ...]] = ("settings", "data", "sections")

    models: tuple[str, ...] = setting(help="The .keras files, to be compared.", positional=True, kw_only=True)
    data: str = setting(
        help="Examples and labels that the loss is taken on: training images of CIFAR10, CIFAR100 or digits, or arrays "
        "x and y of an .npz file.",
        group="data",
        kw_only=True,
    )
    data_path: str | None = setting(
        None, "Folder that holds the TFDS data sets (its data_dir).", if_none="TFDS's own", group="data"
    )
    examples: int = setting(512, "How many examples to use.", group="data", at_least=1)
    batch_size: int = setting(
        128, "Examples per batch; batch norms use the statistics of each batch.", group="data", at_least=1
    )
    loss: str | None = setting(
        None,
        "The loss, by its name in Keras, such as mean_squared_error; of cross-entropies, that of logits if the model "
        "ends without an activation.",
        if_none="cross-entropy",
        group="data",
    )
    out: str | None = setting(
        None,
        "Folder to write the numbers to (landscape.json, landscape.csv, sections.csv), and a figure (landscape.png).",
        if_none="none",
        group="output",
    )
    overwrite: bool = setting(False, "Replace the files if they exist.", group="output")
    plugin: tuple[str, ...] = plugin_setting("data")

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_different(self.models)

    def check_files(self) -> None:
        """Checks that the models exist and the results can be written.

        Raises:
            CheckpointError: A model does not exist.
            RunFolderError: A result exists and must not be overwritten, or the folder is a file.
        """
        for path in self.models:
            check_model_file(path)
        check_output(self.out, overwrite=True, folder=True)
        for name in LANDSCAPE_FILES if self.out is not None else ():
            check_output(f"{self.out}/{name}", overwrite=self.overwrite)


def _check_different(models: Sequence[str]) -> None:
    if len(set(models)) < len(models):
        raise ConfigError("expected different models, received one of them twice; name each once")


@dataclass(frozen=True)
class ExportConfig(Settings):
    """Writes a model for other programs to run: TFLite (LiteRT), ONNX, a SavedModel, or a plain .keras file."""

    model: str = setting(help="The .keras file to export.", positional=True)
    out: str = setting(
        help="The file to write: by its suffix a .tflite, .onnx, .keras or .mpt file (a sub-network, one bit per kept "
        "weight); a SavedModel if it has none.",
        positional=True,
    )
    quantize: Literal["float16", "dynamic", "int8"] | None = setting(
        None,
        "For TFLite: smaller weights (float16, dynamic), or also integer arithmetic (int8).",
        if_none="neither",
        group="quantization",
    )
    int8: bool = setting(False, "Short for --quantize int8.", group="quantization")
    data: str | None = setting(
        None,
        "Examples to measure the ranges of int8 on: CIFAR10, CIFAR100, digits, or an .npz file with an array x.",
        if_none="none",
        group="quantization",
    )
    data_path: str | None = setting(
        None, "Folder that holds the TFDS data sets (its data_dir).", if_none="TFDS's own", group="quantization"
    )
    examples: int = setting(512, "How many examples to use.", group="quantization", at_least=1)
    float_io: bool = setting(
        True,
        "Inputs and outputs of an int8 file are float32; --no_float_io makes them int8, as some processors need.",
        group="quantization",
    )
    batch_size: int | None = setting(
        None,
        "For TFLite: examples per call of the file.",
        if_none="any number where LiteRT can, 1 for recurrent layers and many U-Nets",
        group="output",
        at_least=1,
    )
    overwrite: bool = setting(False, "Replace the file if it exists.", group="output")
    format: str | None = setting(
        None,
        f"Format of the file: {', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}.",
        if_none="the one that its suffix names",
        group="output",
    )
    plugin: tuple[str, ...] = plugin_setting("model")

    @property
    def quantization(self) -> str | None:
        """The quantization, given in either way."""
        return "int8" if self.int8 else self.quantize

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.format in (None, *_FORMATS), "format", f"{', '.join(_FORMATS)} or None", self.format)
        if Path(self.out).suffix not in [each.suffix for each in FORMATS]:
            raise ConfigError(
                f"expected a name that ends in {suffixes_in_words()}, or a folder without a suffix for a SavedModel, "
                f"received {self.out}; rename it"
            )
        if self.int8 and self.quantize not in (None, "int8"):
            raise ConfigError(f"--int8 and --quantize {self.quantize} contradict each other; give one of them")
        if self.quantization and Path(self.out).suffix != ".tflite":
            raise ConfigError(f"expected a .tflite file to quantize, received {self.out}; only TFLite is quantized")
        if self.batch_size is not None and Path(self.out).suffix != ".tflite":
            raise ConfigError(f"--batch_size: expected a .tflite file, received {self.out}; others take any number")
        if not self.float_io and self.quantization != "int8":
            raise ConfigError("--no_float_io: only an int8 file can have int8 inputs and outputs; add --int8")
        if self.quantization == "int8" and self.data is None:
            raise ConfigError("--int8: the ranges of the activations are measured on examples; give --data")
        if self.quantization != "int8" and self.data is not None:
            raise ConfigError("--data: only int8 uses examples; add --int8, or drop --data")

    def check_files(self) -> None:
        """Checks that the model exists and the result can be written.

        Raises:
            CheckpointError: The model does not exist.
            RunFolderError: The result exists and must not be overwritten, or its folder cannot be created.
        """
        check_model_file(self.model)
        check_output(self.out, overwrite=self.overwrite, folder=not Path(self.out).suffix)
