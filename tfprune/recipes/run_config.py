"""The settings that the runs of all methods share."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Literal, get_args, get_origin, get_type_hints

from tfprune.errors import ConfigError

Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]
Strategy = Literal["auto", "multi_worker"]
Compile = Literal["auto", "on", "off"]
Stem = Literal["auto", "small", "large"]


@dataclass(frozen=True)
class RunConfig:
    """Where a run writes, what it runs on, which images it reads.

    A method's settings derive from these; a field is a flag and a YAML key, its text under Attributes the help.

    Attributes:
        train_path: Folder of the run: settings, metrics, checkpoints, models, results.
        resume: Continue the run in `train_path` where it stopped.
        overwrite: Start anew in a `train_path` that already holds a run.
        seed: Seed of initial weights, data order and augmentation.
        gpu_id: GPUs to use, by index; several train in data parallel.
        strategy: auto: the GPUs of `gpu_id` in this process; multi_worker: the processes that the environment variable
            `TF_CONFIG` names, each with its GPUs of `gpu_id`.
        do_log: Steps between two log lines.
        compile: XLA: on, off, or auto (on where all devices are GPUs: on CPUs XLA is slower).
        precision: Number format of training: float32, mixed_bfloat16 or mixed_float16 (with a scaled loss).
        sync_batch_norm: With several devices, take batch statistics over all of them.
        accum: Chunks that a training batch is cut into; their gradients are accumulated. Devices times chunks must
            divide the batch size.
        export: Also write the result as a SavedModel.
        dataset: Data set: CIFAR10, CIFAR100 or digits (embedded, no download).
        data_path: Folder that holds the TFDS data sets (its `data_dir`). Default: TFDS's own.
        stem: First layers of a ResNet: large (7x7 convolution of stride 2, pooling), small (3x3) or auto (large with
            1000 classes).
        batch_size: Batch size of training, over all devices.
        val_batch_size: Batch size of evaluation.
    """

    GROUPS: ClassVar[Mapping[str, str]] = {
        "run": "method train_path resume overwrite seed gpu_id strategy do_log compile precision sync_batch_norm accum "
        "export"
    }
    POSITIVE: ClassVar[str] = "do_log accum batch_size val_batch_size"
    NOT_NEGATIVE: ClassVar[str] = "seed"

    train_path: str | None = None
    resume: bool = False
    overwrite: bool = False
    seed: int = 0
    gpu_id: tuple[int, ...] = (0,)
    strategy: Strategy = "auto"
    do_log: int = 200
    compile: Compile = "auto"
    precision: Precision = "float32"
    sync_batch_norm: bool = True
    accum: int = 1
    export: bool = True
    dataset: str = "CIFAR10"
    data_path: str | None = None
    stem: Stem = "auto"
    batch_size: int = 128
    val_batch_size: int = 256

    def __post_init__(self) -> None:
        for name in self.POSITIVE.split():
            self._require(getattr(self, name) > 0, name, "a value above 0")
        for name in self.NOT_NEGATIVE.split():
            self._require(getattr(self, name) >= 0, name, "a value of at least 0")
        for name, kind in get_type_hints(type(self)).items():
            if get_origin(kind) is Literal:
                choices = get_args(kind)
                self._require(getattr(self, name) in choices, name, f"one of {', '.join(map(str, choices))}")
        self._require(self.batch_size >= self.accum, "accum", f"at most the batch size, {self.batch_size}")
        self._require(len(self.gpu_id) > 0, "gpu_id", "at least one index")
        if self.resume and self.overwrite:
            raise ConfigError("--resume continues a run and --overwrite removes it: give one of them")

    def settings(self) -> dict[str, object]:
        """The fields that decide the result, as plain values for a YAML file."""
        decided_elsewhere = {"resume", "overwrite", "train_path"}
        values = {
            field.name: getattr(self, field.name) for field in fields(self) if field.name not in decided_elsewhere
        }
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def _require(self, holds: bool, name: str, expected: str) -> None:
        if not holds:
            raise ConfigError(f"--{name}: expected {expected}, received {getattr(self, name)}")
