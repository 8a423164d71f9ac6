"""The settings of `tfprune inspect`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tfprune.commands.checks import at_least_one, check_model_file


@dataclass(frozen=True)
class InspectConfig:
    """Shows what a model costs layer by layer, and which of its channels can be pruned together.

    Attributes:
        model: A .keras file.
        small: The same model after pruning, to be shown beside it. Default: none.
        ignore: Layers that keep all their channels: names, or patterns such as stage1_*.
        input_shape: Shape of one example, such as 224 224 3, for models that take inputs of any size. Default: the
            model's.
        latency: Measure how long each layer and the whole model take.
        batch_size: Examples per call when the latency is measured.
    """

    POSITIONAL: ClassVar[str] = "model small"
    GROUPS: ClassVar[Mapping[str, str]] = {"model": "ignore input_shape", "latency": "latency batch_size"}

    model: str
    small: str | None = None
    ignore: tuple[str, ...] = ()
    input_shape: tuple[int, ...] | None = None
    latency: bool = True
    batch_size: int = 1

    def __post_init__(self) -> None:
        at_least_one(batch_size=self.batch_size, input_shape=self.input_shape)

    def check_files(self) -> None:
        """Makes sure that the models are there; `CheckpointError` if not."""
        check_model_file(self.model)
        check_model_file(self.small)
