"""Reading TFLite files: what is in them, and running them by LiteRT; needs ai-edge-litert (`tfprune[litert]`)."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.console import quiet
from tfprune.errors import CheckpointError, ConfigError

_OPEN = -1


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a TFLite file.

    Attributes:
        name: Its name in the signature.
        shape: Its sizes, batch axis first; None where any size is taken.
        dtype: Its type, such as `float32`.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str


class TFLiteFile:
    """A TFLite file that is open for reading.

    Attributes:
        inputs: The inputs.
        outputs: The outputs.
        operations: How often each operation occurs, by LiteRT's name, the most frequent first.
        tensors: Number of tensors.
        weights: Number of values of constant tensors.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is no TFLite file, or is damaged.
        ConfigError: The package is missing.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        reader, tools = _packages()
        try:
            with quiet():
                self._interpreter: Any = reader.Interpreter(str(path), num_threads=len(os.sched_getaffinity(0)))
                model = tools.read_model(path)
        except Exception as error:  # a damaged file can raise anything
            raise CheckpointError(f"{path} is damaged or not a TFLite file; export it again") from error
        signature = self._interpreter.get_signature_runner()
        self.inputs, self.outputs = _infos(signature.get_input_details()), _infos(signature.get_output_details())
        used = [each.opcodeIndex for graph in model.subgraphs for each in graph.operators]
        kinds = Counter(tools.opcode_to_name(model, index) for index in used)
        self.operations = {str(kind): number for kind, number in kinds.most_common()}
        tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
        self.tensors = len(tensors)
        constants = {tensor.buffer: tensor for tensor in tensors if _has_data(model.buffers[tensor.buffer])}
        self.weights = sum(
            int(np.prod([] if each.shape is None else each.shape, dtype=np.int64)) for each in constants.values()
        )

    def caller(self, batch_size: int, input_shape: Sequence[int] | None = None) -> Callable[[], list[np.ndarray]]:
        """Returns a function that runs the file on random inputs, zeros where they are integers.

        Args:
            batch_size: Examples per call.
            input_shape: Shape of one example. Default: the file's, with 1 for open sizes.

        Raises:
            ConfigError: The file does not take such inputs.
        """
        rng = np.random.default_rng(0)
        details = self._interpreter.get_signature_runner().get_input_details()
        for info in self.inputs:
            sizes = tuple(size or 1 for size in info.shape[1:]) if input_shape is None else tuple(input_shape)
            shape = (batch_size, *sizes)
            if info.shape[:1] not in ((None,), (batch_size,)):
                raise ConfigError(
                    f"{self.path} takes batches of {info.shape[0]}, not of {batch_size}; give --batch_size "
                    f"{info.shape[0]}, or export it with that --batch_size"
                )
            if not _takes(info.shape, shape):
                shown = ", ".join("any" if size is None else str(size) for size in info.shape)
                raise ConfigError(
                    f"{self.path} takes inputs of shape [{shown}], not {list(shape)}; give an --input_shape that fits"
                )
            self._interpreter.resize_tensor_input(details[info.name]["index"], shape)
        try:
            with quiet():
                self._interpreter.allocate_tensors()
        except Exception as error:  # LiteRT raises bare RuntimeErrors
            raise ConfigError(f"{self.path} cannot be run with {batch_size} examples per call; try another") from error
        for detail in self._interpreter.get_input_details():
            whole = np.issubdtype(detail["dtype"], np.integer)
            values = np.zeros(detail["shape"]) if whole else rng.random(detail["shape"], np.float32)
            self._interpreter.set_tensor(detail["index"], values.astype(detail["dtype"]))

        def run() -> list[np.ndarray]:
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(each["index"]) for each in self._interpreter.get_output_details()]

        return run


def _packages() -> tuple[Any, Any]:
    """Returns LiteRT's interpreter and its tools for files; raises `ConfigError` if the package is missing."""
    try:
        with quiet():
            package = "ai_edge_litert"
            return import_module(f"{package}.interpreter"), import_module(f"{package}.tools.flatbuffer_utils")
    except ImportError as error:
        raise ConfigError(
            f"expected the package ai-edge-litert, received {error}; run: pip install 'tfprune[litert]'"
        ) from error


def _infos(details: Mapping[str, dict[str, Any]]) -> tuple[TensorInfo, ...]:
    return tuple(
        TensorInfo(
            name,
            tuple(None if size == _OPEN else int(size) for size in each["shape_signature"]),
            np.dtype(each["dtype"]).name,
        )
        for name, each in details.items()
    )


def _has_data(buffer: Any) -> bool:
    return buffer.data is not None and len(buffer.data) > 0


def _takes(expected: Sequence[int | None], shape: Sequence[int]) -> bool:
    return len(expected) == len(shape) and all(a in (None, b) for a, b in zip(expected, shape, strict=True))
