"""The base of all methods: devices, data, run folder, cached stages, training, the best model, report and result."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import keras
import numpy as np
import tensorflow as tf

from tfprune.arguments import instance, optional
from tfprune.cluster import Cluster
from tfprune.errors import ConfigError, RunFolderError
from tfprune.exporting import export_saved_model, read_record, save_model
from tfprune.files import write_text
from tfprune.graph import convert
from tfprune.masks import Masks
from tfprune.recipes.data import BatchRequest, ImageData, ImageDataset, data_fraction, load_data, open_data
from tfprune.recipes.data.dataset import IMAGES
from tfprune.recipes.models import BEST_MODEL, TRAINED_MODEL, build_model, load_checkpoint
from tfprune.recipes.record import run_record
from tfprune.recipes.run_config import ImageNetConfig, RunConfig
from tfprune.recipes.training import (
    EpochRates,
    Evaluation,
    RunFolder,
    ScoreEvents,
    StageTimes,
    StepDecay,
    TrainingConfig,
    Workers,
    check_parts,
    evaluate,
    fast_copy,
    loss_scaled,
    make_strategy,
    missed_drops,
    train_model,
)
from tfprune.recipes.training.run_folder import Row, WorkerFolder
from tfprune.reprs import short_repr

_BEST_NUMBERS = "best.json"

Config = TypeVar("Config", bound=RunConfig)
T = TypeVar("T")


@dataclass(frozen=True)
class Result:
    """The result of a run.

    Attributes:
        model: The final model. Multi-prize tickets return it with the layers that it was trained with, other methods
            with built-in Keras layers only.
        folder: The run folder; None if the run writes no files.
        numbers: The columns of `results.csv`; empty on all workers but the first.
        masks: The kept weights, for methods that prune single weights.
    """

    model: keras.Model
    folder: Path | None
    numbers: dict[str, object]
    masks: Masks | None = None

    __repr__ = short_repr


class Method(Generic[Config]):
    """Base class of the methods: a method overrides what differs, at least `stages`.

    `__init__` opens devices and data and calls `setup`, which raises all errors that the user can fix; `run` creates
    the run folder, runs the stages and reports. A stage whose result is `cached` is skipped when a run is resumed, and
    `train` continues from its latest checkpoint, so a resumed run ends with the weights of an uninterrupted one.

    Of several workers, all run the same stages; only the first one, the chief, writes files.

    Args:
        config: The settings of the run. They name an architecture, `arch`.
        data: The data set. Default: the one that the settings name.

    Attributes:
        config: The settings of the run.
        arch: Name of the architecture.
        strategy: The devices.
        workers: The processes that train together.
        data: The data set, after `prepare_data`.
        folder: The run folder, once `run` was called.
        times: Seconds per stage, once `run` was called.

    Raises:
        TfpruneError: The settings, the data or a file cannot be used.

    Example:
        ```python
        class Random(Method[RandomConfig]):
            def setup(self):
                self.model = self.build_model(seed=self.config.seed)

            def stages(self):
                masks = self.cached("masks.npz", self.draw_masks, Masks.load, Masks.save)
                model, sgd = self.trainable(self.model, lambda fast: convert(fast, "masked", masks), make_optimizer)
                self.train(model, sgd, epochs=self.config.epochs)
                return plain(model), masks
        ```
    """

    makes: tuple[str, ...] = ()
    """Names or patterns of files in the run folder besides those of tfprune's methods, for `RunFolder.create`."""

    folder: RunFolder
    times: StageTimes
    _score_events: ScoreEvents | None = None

    def __init__(self, config: Config, data: ImageDataset | None = None) -> None:
        self.config = config
        self.arch: str = config.arch  # type: ignore[attr-defined]  # the settings of every method have it
        optional(instance, "data", data, kind=ImageDataset, words=IMAGES)
        self.strategy = open_strategy(config)  # first, because workers connect before TensorFlow does anything else
        self.workers = Workers(self.strategy)
        self.data = self.prepare_data(open_images(config) if data is None else data)
        self.data.steps_per_epoch(config.batch_size)  # raises an error if the batch size is too large
        self.setup()

    # What a method overrides

    def prepare_data(self, data: ImageDataset) -> ImageDataset:
        """Returns the data to train and test with; default: the fraction of the training images in the settings."""
        return subset(data, self.config.fraction, self.config.seed)

    def setup(self) -> None:
        """Builds or loads models and checks all that depends on them, before the run folder exists."""

    def stages(self) -> tuple[keras.Model, Masks | None]:
        """Runs the method; returns the final model and, if single weights were pruned, its masks."""
        raise NotImplementedError

    def numbers(self, tested: Evaluation, model: keras.Model, masks: Masks | None) -> dict[str, object]:
        """Returns the columns of `results.csv`, without the seconds of the stages."""
        numbers: dict[str, object] = {"accuracy": tested.top1, "top5": tested.top5, "loss": tested.loss}
        if masks is not None:
            numbers |= {"density": masks.density, "kept": masks.kept, "prunable": masks.total}
            numbers["collapsed_layers"] = len(masks.collapsed)
        return numbers

    def write_model(self, model: keras.Model, path: Path, record: Mapping[str, Any]) -> None:
        """Writes a model to a `.keras` file, all or nothing; default: with built-in Keras layers."""
        save_model(model, path, record=record)

    def augmentation(self, file: str) -> dict[str, Any]:
        """Returns how images are changed to train the model of a file, besides what the data set does."""
        return {}

    @property
    def default_path(self) -> str:
        """Path of the run folder if the settings name none."""
        return f"runs/{type(self).__name__.lower()}/{self.arch}-{self.config.dataset}"

    # A run

    def run(self) -> Result:
        """Creates or opens the run folder, runs all stages, writes and prints the result.

        Raises:
            TfpruneError: Something that the user can fix, such as a folder that holds another run.
            KeyboardInterrupt: After Ctrl-C, when everything done so far was saved.
        """
        with self.open_folder() as self.folder:
            self.times = StageTimes(self.folder.file("seconds.json"), resumed=self.folder.resumed)
            if self.folder.resumed and (best := self.best):
                self._write_best(best)
            return self.report(*self.stages())

    def open_folder(self) -> RunFolder:
        """Creates or opens the run folder."""
        return open_run(self.config, self.config.train_path or self.default_path, self.workers, self.makes)

    def report(self, model: keras.Model, masks: Masks | None) -> Result:
        """Saves, exports, measures and prints the final model, on the chief."""
        if not self.workers.is_chief:
            return Result(model, self.folder.path, {}, masks)
        tested = self.test(model)
        self.save_result(model, tested)
        if self.config.export:
            record = self.record("saved_model", **tested_numbers(tested))
            export_saved_model(model, self.folder.file("saved_model"), record=record)
        numbers = self.numbers(tested, model, masks)
        if masks is not None:
            self.write_densities(masks.counts)
        numbers |= {f"{stage}_seconds": round(seconds, 1) for stage, seconds in self.times.seconds.items()}
        self.write_numbers(numbers)
        self.print_result(tested, numbers)
        print(*self.data.notes(), f"results in {self.folder.path}", sep="\n")
        return Result(model, self.folder.path, numbers, masks)

    def save_result(self, model: keras.Model, tested: Evaluation) -> None:
        """Saves the final model in the run folder, as `trained.keras`, with its evaluation."""
        self.save(model, TRAINED_MODEL, **tested_numbers(tested))

    def write_numbers(self, numbers: Mapping[str, object]) -> None:
        """Writes `results.csv` and `results.json`."""
        self.folder.write_result(numbers)

    def write_densities(self, counts: Mapping[str, tuple[float, int]]) -> None:
        """Writes `density.csv`, a row for each weight.

        Args:
            counts: Kept and all weights by name, such as `Masks.counts`.
        """
        rows = [f"{name},{kept},{size},{kept / size}\n" for name, (kept, size) in counts.items()]
        write_text(self.folder.file("density.csv"), "".join(["weight,kept,of,density\n", *rows]))

    def write_scores(self, step: int, scores: Mapping[str, Any]) -> None:
        """Writes on the chief how the scores of weights are distributed, for TensorBoard in `events/scores`.

        Args:
            step: When they decided, such as an epoch or a round.
            scores: Arrays by the name of the weight.
        """
        if self.workers.is_chief:
            if self._score_events is None:
                self._score_events = ScoreEvents(self.folder.folder("events") / "scores")
            self._score_events.write(step, scores)

    def print_result(self, tested: Evaluation, numbers: Mapping[str, Any]) -> None:
        """Prints the result for the user."""
        print(summary_line(self.arch, tested, numbers))

    # Models

    def build_model(self, **options: Any) -> keras.Model:
        """Builds the architecture with new weights, for the images and classes of the data."""
        shape: dict[str, Any] = {"num_classes": self.data.num_classes, "input_shape": self.data.input_shape}
        return build_model(self.arch, **shape, stem=self.config.stem, **options)

    def load_model(self, file: str | Path) -> keras.Model:
        """Loads a model of the architecture and checks that it fits the data."""
        shape: dict[str, Any] = {"num_classes": self.data.num_classes, "input_shape": self.data.input_shape}
        return load_checkpoint(file, arch=self.arch, **shape)

    def save_initial(self, model: keras.Model) -> None:
        """Saves the model before pruning and training as `initial.keras`, unless it is there."""
        if not self.folder.file("initial.keras").exists():
            self.save(model, "initial.keras")

    def save(self, model: keras.Model, name: str, **numbers: Any) -> None:
        """Writes a model to a `.keras` file in the run folder, with a record of what it is.

        Args:
            model: The model.
            name: Name of the file.
            **numbers: What is known of this model, such as `epoch` and `test_accuracy`.
        """
        self.write_model(model, self.folder.file(name), self.record(name, **numbers))

    def record(self, file: str, **numbers: Any) -> dict[str, Any]:
        """Returns what a file of the run records about its model, see `run_record`."""
        return run_record(self.config, self.data, file, augmentation=self.augmentation(file), numbers=numbers)

    def cached(self, name: str, make: Callable[[], T], load: Callable[[Path], T], save: Callable[[T, Path], None]) -> T:
        """Returns the result of a stage: the chief makes and saves it if its file is missing, all workers load it.

        Args:
            name: Name of the file in the run folder.
            make: Computes the result.
            load: Reads it from the file.
            save: Writes it to the file, all or nothing.
        """
        with self.workers.chief_first():
            file = self.folder.file(name)
            if not file.exists():
                save(make(), file)
            return load(file)

    # Training

    def fast_model(self, model: keras.Model) -> keras.Model:
        """Returns a copy for training: number format of the settings, fused batch norm with PyTorch's averages."""
        config = self.config
        return fast_copy(model, self.strategy, precision=config.precision, synchronized=config.sync_batch_norm)

    def trainable(
        self,
        model: keras.Model,
        swap: Callable[[keras.Model], keras.Model],
        optimizer: Callable[[keras.Model], keras.optimizers.Optimizer],
    ) -> tuple[keras.Model, keras.optimizers.Optimizer]:
        """Returns a copy of a plain model for `train`, on all devices, and its optimizer.

        Args:
            model: A plain model that returns logits. It is not changed.
            swap: Replaces layers of the copy, for example by masked ones.
            optimizer: Returns the optimizer of the copy; with `mixed_float16` its loss is scaled.
        """
        with self.workers.scope():
            copy = swap(self.fast_model(model))
            return copy, loss_scaled(optimizer(copy), self.config.precision)

    def train(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        *,
        epochs: int,
        data: ImageDataset | None = None,
        batches: Mapping[str, Any] | None = None,
        test_each_epoch: bool = True,
        **options: Any,
    ) -> list[Row]:
        """Trains a model in place, with metrics and checkpoints in the run folder.

        Args:
            model: From `trainable`, or built in `workers.scope()`.
            optimizer: Its optimizer.
            epochs: Epochs of the schedule.
            data: The data set. Default: that of the run.
            batches: More fields of `tfprune.recipes.data.BatchRequest`, such as `views`.
            test_each_epoch: Whether to evaluate after each epoch.
            **options: More options of `tfprune.recipes.training.train_model`, such as `objective`.

        Returns:
            One row of metrics per epoch.
        """
        return train_model(
            model,
            optimizer,
            make_training_config(self.config, epochs=epochs, test_each_epoch=test_each_epoch, **(batches or {})),
            data=self.data if data is None else data,
            strategy=self.strategy,
            run=self.folder,
            resume=self.config.resume,
            **options,
        )

    def tell_missed_drops(self, rate: StepDecay | EpochRates, epochs: int, flag: str) -> None:
        """Prints a line if the learning rate would drop after the end of the training.

        Args:
            rate: The learning rate.
            epochs: Epochs of the training.
            flag: The flag that says when it drops.
        """
        missed = missed_drops(rate, epochs)
        if epochs and missed and self.workers.is_chief:
            where = f"epoch{'s' if len(missed) > 1 else ''} {', '.join(map(str, missed))}"
            print(f"warning: --{flag}: the learning rate does not drop in {where}: the training has {epochs}")

    def test(self, model: keras.Model, *, batch_statistics: bool = False) -> Evaluation:
        """Evaluates a model on the test images."""
        batches = self.data.test_batches(self.config.val_batch_size)
        return evaluate(model, batches, batch_statistics=batch_statistics, compile=self.config.compile)

    @property
    def tested_epoch(self) -> int:
        """The number, from 1, of the epoch that was trained last and is being tested, on the chief.

        It follows from the rows of the epochs before, as a resumed run may start in the middle of an epoch.
        """
        rows = self.folder.path / "metrics" / "training.jsonl"
        return 1 + (len(rows.read_text(encoding="utf-8").splitlines()) if rows.exists() else 0)

    @property
    def best(self) -> dict[str, Any] | None:
        """The numbers of the best model so far, as its file `best.keras` records them.

        If that file is damaged or lost, this is said, and there is no best model.
        """
        file, copy = self.folder.path / BEST_MODEL, self.folder.path / _BEST_NUMBERS
        if not file.exists() and not copy.exists():
            return None
        numbers = read_record(file).get("numbers")
        if isinstance(numbers, dict) and isinstance(numbers.get("test_accuracy"), float | int):
            return numbers
        print(f"{file} is damaged or lost: the best model is that of the epochs from here on")
        return None

    def keep_best(self, numbers: Mapping[str, Any], model: Callable[[], keras.Model]) -> None:
        """Saves a model as `best.keras` if its accuracy on the test images is above that of all before it.

        Its numbers go into `best.json`, too, which a resumed run writes again. An epoch that is repeated after a crash
        has the same accuracy and leaves the same files.

        Args:
            numbers: What is known of the model; `test_accuracy` decides.
            model: Returns the model.
        """
        if not self.workers.is_chief or ((best := self.best) and best["test_accuracy"] >= numbers["test_accuracy"]):
            return
        self.save(model(), BEST_MODEL, **numbers)
        self._write_best(numbers)

    def _write_best(self, numbers: Mapping[str, Any]) -> None:
        write_text(self.folder.file(_BEST_NUMBERS), json.dumps(dict(numbers)) + "\n")


def densities(counts: Mapping[str, tuple[float, int]]) -> dict[str, dict[str, float]]:
    """Returns the density of each weight, as `train` writes the numbers of weights.

    Args:
        counts: Kept and all weights by name, such as `Masks.counts`.
    """
    return {name: {"density": kept / size} for name, (kept, size) in counts.items()}


def tested_numbers(tested: Evaluation) -> dict[str, float]:
    """Returns the evaluation of a model, as its file records it."""
    return {"test_accuracy": tested.top1, "test_top5": tested.top5, "test_loss": tested.loss}


def plain(model: keras.Model) -> keras.Model:
    """Returns a trained model with built-in Keras layers in float32."""
    return convert(model, "plain", dtype="float32")


def summary_line(arch: str, tested: Evaluation, numbers: Mapping[str, Any]) -> str:
    """Returns the accuracy and, if weights were pruned, how many are kept, in one line of text."""
    kept = ""
    if "kept" in numbers:
        kept = f"{numbers['kept']:,} of {numbers['prunable']:,} weights kept ({numbers['density']:.2%}), "
    return f"{arch}: {kept}accuracy {tested.top1:.2%} on {tested.examples} test images"


def make_training_config(
    config: RunConfig, *, epochs: int, test_each_epoch: bool = True, **batches: Any
) -> TrainingConfig:
    """Returns how to train: the settings that all methods share, and more fields of the `BatchRequest`."""
    return TrainingConfig(
        BatchRequest(config.batch_size, epochs, config.seed, **batches),
        val_batch_size=config.val_batch_size,
        compile=config.compile,
        accumulate=config.accum,
        log_every=config.do_log,
        test_each_epoch=test_each_epoch,
    )


def open_strategy(config: RunConfig) -> tf.distribute.Strategy:
    """Returns the devices to train on; to be called before TensorFlow does anything else, see `make_strategy`.

    Args:
        config: Which GPUs of which processes; batch size and chunks, which they must divide.

    Raises:
        ConfigError: They do not exist, do not divide the batch, or `TF_CONFIG` is wrong.
        WorkerError: Other workers cannot be reached.
    """
    cluster = Cluster.from_environment() if config.strategy == "auto" else None
    if cluster is not None and len(cluster.addresses) > 1:
        raise ConfigError(
            f"TF_CONFIG names {len(cluster.addresses)} workers, which would all do the same with --strategy auto: add "
            "--strategy multi_worker, or unset it"
        )
    strategy = make_strategy(config.gpu_id, config.strategy)
    check_parts(config.batch_size, chunks=config.accum, replicas=strategy.num_replicas_in_sync)
    return strategy


def open_images(config: RunConfig) -> ImageDataset:
    """Opens the data set of a run: in memory, or on disk for settings that are an `ImageNetConfig`, too.

    Raises:
        DataUnavailableError: It does not exist.
        ConfigError: It cannot be used.
    """
    if isinstance(config, ImageNetConfig):
        return open_data(config.data_path, config.dataset, image_size=config.image_size, resize_size=config.resize_size)
    return load_data(config.dataset, config.data_path)


def subset(data: ImageDataset, fraction: float, seed: int) -> ImageDataset:
    """Returns a fraction of the training images of each class; all of a data set on disk."""
    if fraction == 1 or not isinstance(data, ImageData):
        return data
    return data_fraction(data, fraction, seed)


def open_run(config: RunConfig, path: str | Path, workers: Workers, makes: Iterable[str] = ()) -> RunFolder:
    """Creates or opens a run folder on the chief, see `RunFolder.create`; returns a view of it on other workers.

    Args:
        config: The settings of the run.
        path: The folder.
        workers: The processes that train together.
        makes: See `RunFolder.create`.

    Raises:
        RunFolderError: It cannot be created, holds something else, or is not visible to all workers.
        WorkerError: Another worker was lost.
    """
    if workers.is_chief:
        flags = {"resume": config.resume, "overwrite": config.overwrite}
        folder = RunFolder.create(path, config.settings(), **flags, seed=config.seed, makes=makes)
    workers.wait()
    seen = (Path(path) / "settings.yaml").exists()
    if workers.total(np.array([not seen], np.int32))[0]:
        raise RunFolderError(
            f"{path}: expected a folder that all workers see, received one that some do not; put --train_path on a "
            "file system that they share"
        )
    return folder if workers.is_chief else WorkerFolder(Path(path))
