"""Reading TFLite files: what is in them, and running them by LiteRT; needs ai-edge-litert (`tfprune[litert]`).

LiteRT is C++ code that trusts its files: a damaged one can end the process. So whatever is done with a file is tried in
a process of its own before. This is no protection from a file that was made to attack LiteRT.
"""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from math import prod
from typing import Any

import numpy as np

from tfprune.arguments import truth
from tfprune.console import quiet
from tfprune.errors import ConfigError, TfpruneError, first_line
from tfprune.files import as_path
from tfprune.reading import RefusedError, open_file, reading

_OPEN = -1
_MOST_VALUES = 1 << 27  # of an input
_LONGEST = 300  # seconds that a trial may take
_REFUSED = 3  # the exit code of a trial that ended with an error of tfprune
_TRIAL = """
import json, sys
sys.path[:], given = json.loads(sys.argv[1])
from tfprune.exporting.tflite_file import try_file
try_file(*given)
"""


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
        tried: Whether this is a trial, in a process that may end.

    Raises:
        CheckpointError: It is no TFLite file, or is damaged.
        ConfigError: The package is missing.
    """

    def __init__(self, path: str | os.PathLike[str], *, tried: bool = False) -> None:
        self.path = path = as_path(path)
        self._tried = truth("tried", tried)
        reader, tools = _packages()
        with reading(path, "a TFLite file", advice="export it again"):
            open_file(path).close()
            self._try()
            with quiet():
                self._interpreter: Any = reader.Interpreter(str(path), num_threads=len(os.sched_getaffinity(0)))
                model = tools.read_model(path)
                signature = self._interpreter.get_signature_runner()
            self.inputs, self.outputs = _infos(signature.get_input_details()), _infos(signature.get_output_details())
            used = [each.opcodeIndex for graph in model.subgraphs for each in graph.operators]
            kinds = Counter(tools.opcode_to_name(model, index) for index in used)
            self.operations = {str(kind): number for kind, number in kinds.most_common()}
            tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
            self.tensors = len(tensors)
            constants = {tensor.buffer: tensor for tensor in tensors if _has_data(model.buffers[tensor.buffer])}
            self.weights = sum(0 if each.shape is None else prod(map(int, each.shape)) for each in constants.values())

    def _try(self, *call: Any) -> None:
        """Opens the file in a process of its own, and calls it if a batch size and a shape are given.

        Raises:
            RefusedError: This ends the process, or takes too long.
        """
        if self._tried:
            return
        command = [sys.executable, "-c", _TRIAL, json.dumps([sys.path, [str(self.path), *call]])]
        try:
            trial = subprocess.run(
                command, capture_output=True, stdin=subprocess.DEVNULL, timeout=_LONGEST, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise RefusedError(f"LiteRT does not end within {_LONGEST} s") from error
        if trial.returncode < 0:
            raise RefusedError(f"it ends LiteRT by {signal.Signals(-trial.returncode).name}")
        if trial.returncode not in (0, _REFUSED):
            raise RefusedError(f"a process that tries it fails: {trial.stderr.decode(errors='replace')[-200:]}")

    def caller(self, batch_size: int, input_shape: Sequence[int] | None = None) -> Callable[[], list[np.ndarray]]:
        """Returns a function that runs the file on random inputs, zeros where they are integers.

        Args:
            batch_size: Examples per call.
            input_shape: Shape of one example. Default: the file's, with 1 for open sizes.

        Raises:
            ConfigError: The file does not take such inputs.
        """
        for info in self.inputs:
            self._check_input(info, self._shape(info, batch_size, input_shape))
        try:
            self._try(batch_size, None if input_shape is None else list(input_shape))
            with quiet():
                self._prepare(batch_size, input_shape)
                self._run()
        except Exception as error:  # LiteRT raises bare RuntimeErrors
            raise ConfigError(
                f"{self.path} cannot be run with {batch_size} examples per call: {first_line(error)}; try another "
                "number, or export it again"
            ) from error
        return self._run

    def _shape(self, info: TensorInfo, batch_size: int, input_shape: Sequence[int] | None) -> tuple[int, ...]:
        """Returns the shape that an input is given."""
        return (batch_size, *((size or 1 for size in info.shape[1:]) if input_shape is None else input_shape))

    def _check_input(self, info: TensorInfo, shape: Sequence[int]) -> None:
        """Raises `ConfigError` if the file does not take an input of a shape."""
        if not info.shape:
            raise ConfigError(f"{self.path} takes single values, not batches of {shape[0]}; export it again")
        if info.shape[:1] not in ((None,), shape[:1]):
            raise ConfigError(
                f"{self.path} takes batches of {info.shape[0]}, not of {shape[0]}; give --batch_size "
                f"{info.shape[0]}, or export it with that --batch_size"
            )
        if not _takes(info.shape, shape):
            shown = ", ".join("any" if size is None else str(size) for size in info.shape)
            raise ConfigError(
                f"{self.path} takes inputs of shape [{shown}], not {list(shape)}; give an --input_shape that fits"
            )
        if prod(shape) > _MOST_VALUES:
            raise ConfigError(f"{self.path} takes inputs of {prod(shape):,} values; expected at most {_MOST_VALUES:,}")

    def _prepare(self, batch_size: int, input_shape: Sequence[int] | None) -> None:
        """Fills the inputs."""
        rng = np.random.default_rng(0)
        details = self._interpreter.get_signature_runner().get_input_details()
        for info in self.inputs:
            shape = self._shape(info, batch_size, input_shape)
            self._interpreter.resize_tensor_input(details[info.name]["index"], shape)
        self._interpreter.allocate_tensors()
        for detail in self._interpreter.get_input_details():
            whole = np.issubdtype(detail["dtype"], np.integer)
            values = np.zeros(detail["shape"]) if whole else rng.random(detail["shape"], np.float32)
            self._interpreter.set_tensor(detail["index"], values.astype(detail["dtype"]))

    def _run(self) -> list[np.ndarray]:
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(each["index"]) for each in self._interpreter.get_output_details()]


def try_file(path: str, *call: Any) -> None:
    """Does with a file what `TFLiteFile` will do, and ends the process with 0 or, after an error, another code.

    Args:
        path: The file.
        *call: A batch size and a shape, see `TFLiteFile.caller`; nothing to only open the file.
    """
    import resource  # not on Windows, as the lock of a file in `tfprune.files`

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (memory if hard == resource.RLIM_INFINITY else min(memory, hard), hard))
    try:
        file = TFLiteFile(path, tried=True)
        if call:
            file.caller(*call)
    except TfpruneError:
        sys.exit(_REFUSED)


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
