"""The settings of `tfprune benchmark`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tfprune.commands.checks import at_least_one, check_model_file, check_output
from tfprune.errors import ConfigError


@dataclass(frozen=True)
class BenchmarkConfig:
    """Times models against each other, call by call in turn.

    Attributes:
        models: The .keras files; the others are compared to the first.
        batch_size: Examples per call, one or several numbers.
        runs: Timed calls of each model.
        warm_up: Calls of each before them.
        input_shape: Shape of one example, such as 224 224 3, for models that take inputs of any size. Default: the
            models'.
        json: File to write the numbers to as well. Default: none.
        overwrite: Replace the file if it exists.
    """

    POSITIONAL: ClassVar[str] = "models"
    GROUPS: ClassVar[Mapping[str, str]] = {
        "measurement": "batch_size runs warm_up input_shape",
        "output": "json overwrite",
    }

    models: tuple[str, ...]
    batch_size: tuple[int, ...] = (1, 32)
    runs: int = 50
    warm_up: int = 5
    input_shape: tuple[int, ...] | None = None
    json: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        at_least_one(batch_size=self.batch_size, runs=self.runs, warm_up=self.warm_up, input_shape=self.input_shape)
        if len(set(self.models)) < len(self.models):
            raise ConfigError("expected different models, received one of them twice; name each once")

    def check_files(self) -> None:
        """Makes sure that the models are there and the numbers can be written.

        Raises:
            CheckpointError: A model is not there.
            RunFolderError: The file exists and must not be overwritten, or its folder does not exist.
        """
        for path in self.models:
            check_model_file(path)
        check_output(self.json, overwrite=self.overwrite)
