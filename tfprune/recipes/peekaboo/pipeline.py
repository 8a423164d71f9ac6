"""Peek-a-Boo from beginning to end: initial weights, pruning, training of signs, evaluation, export."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.exporting import export_saved_model, save_model
from tfprune.files import write_text
from tfprune.graph import complexity, convert, masks_of, prunable_weights
from tfprune.masks import Masks, Ticket
from tfprune.recipes.data import ImageDataset
from tfprune.recipes.models import build_model, load_checkpoint
from tfprune.recipes.open_images import asked_part, open_images
from tfprune.recipes.open_run import open_run
from tfprune.recipes.open_strategy import open_strategy
from tfprune.recipes.peekaboo.config import PeekabooConfig
from tfprune.recipes.peekaboo.pruning_stage import all_weights, find_masks, make_criterion, unpruned
from tfprune.recipes.peekaboo.shots import shots
from tfprune.recipes.peekaboo.training_stage import test, train
from tfprune.recipes.training import StageTimes, Workers


@dataclass(frozen=True)
class PeekabooResult:
    """What a run of Peek-a-Boo gives.

    Attributes:
        model: The trained network, stock Keras layers; pruned weights are 0.
        masks: Which weights were kept.
        folder: The run's folder.
        numbers: What stands in `results.csv`.
    """

    model: keras.Model
    masks: Masks
    folder: Path
    numbers: dict[str, object]


def run(config: PeekabooConfig) -> PeekabooResult:
    """Runs Peek-a-Boo with these settings.

    Args:
        config: The settings.

    Returns:
        The trained sparse network and the run's numbers.

    Raises:
        TfpruneError: Something the user can mend: settings, data, files, folder.
        KeyboardInterrupt: After Ctrl-C, when everything done so far was kept.
    """
    return _Run(config).whole()


class _Run:
    """The stages of one run; each keeps its result in the run folder and is skipped if it is there."""

    def __init__(self, config: PeekabooConfig) -> None:
        self.config = config
        # Workers have to find each other before TensorFlow does anything. All that can be wrong with
        # settings, data and files is found before the folder is made.
        self.strategy: tf.distribute.Strategy = open_strategy(config)
        self.workers = Workers(self.strategy)
        self.data = asked_part(config, open_images(config))
        self.data.steps_per_epoch(config.batch_size)
        self.model = initial_model(config, self.data)
        self.given = given_masks(config, self.model, self.data)
        self.shots = shots(config)
        if self.shots:
            make_criterion(config, self.model)  # or it is found out later that there is no such one
        self.folder = open_run(config, config.train_path or _default_path(config), self.workers)
        self.times = StageTimes(self.folder.file("seconds.json"))

    def whole(self) -> PeekabooResult:
        """All stages."""
        save_model(self.model, self.folder.file("initial.keras"))
        masks = self.given
        if 0 in self.shots:
            with self.times.stage("pruning"):
                masks = self._pruned(0, self.model, masks, name="masks.npz")
        if not self.config.epochs:
            masks.save(self.folder.file("masks.npz"))
            return self._report(convert(convert(self.model, "masked", masks), "plain"), masks)
        with self.times.stage("training"):
            sparse = train(
                self.config,
                self.model,
                masks,
                data=self.data,
                strategy=self.strategy,
                run=self.folder,
                prune=self._prune,
                keep_best=self._keep_best,
            )
        masks = masks_of(sparse)
        masks.save(self.folder.file("masks.npz"))
        return self._report(convert(sparse, "plain", dtype="float32"), masks)

    def _prune(self, epoch: int, model: keras.Model, masks: Masks) -> Masks | None:
        if epoch == 0 or epoch not in self.shots:
            return None
        return self._pruned(epoch, model, masks, name=f"masks_epoch{epoch}.npz")

    def _pruned(self, epoch: int, model: keras.Model, masks: Masks, *, name: str) -> Masks:
        """The masks that pruning before an epoch gives, from the run's folder if it was done before."""
        with self.workers.chief_first():
            file = self.folder.file(name)
            if not file.exists():
                find_masks(self.config, model, self.data, self.shots[epoch], masks=masks).save(file)
            found = Masks.load(file)
        print(found.table())
        return found

    def _keep_best(self, sparse: keras.Model, accuracy: float) -> None:
        """Keeps the network as `best.keras` if no earlier epoch's was as accurate on the test images."""
        if not self.workers.is_chief:
            return
        record = self.folder.file("best.json")
        if record.exists() and json.loads(record.read_text(encoding="utf-8"))["test_accuracy"] >= accuracy:
            return
        save_model(convert(sparse, "plain", dtype="float32"), self.folder.file("best.keras"))
        write_text(record, json.dumps({"test_accuracy": accuracy}) + "\n")

    def _report(self, model: keras.Model, masks: Masks) -> PeekabooResult:
        """Measures the result, writes it, prints it: on the chief."""
        if not self.workers.is_chief:
            return PeekabooResult(model, masks, self.folder.path, {})
        save_model(model, self.folder.file("trained.keras"))
        if self.config.export:
            export_saved_model(model, self.folder.file("saved_model"))
        masks.plot(self.folder.file("masks.png"))
        tested, cost = test(self.config, model, self.data), complexity(model)
        numbers: dict[str, object] = {
            "accuracy": tested.top1,
            "top5": tested.top5,
            "loss": tested.loss,
            "density": masks.density,
            "kept": masks.kept,
            "prunable": masks.total,
            "params": cost.params,
            "flops": cost.flops,
            "collapsed_layers": len(masks.collapsed),
        }
        best = self.folder.file("best.json")
        if best.exists():
            numbers["best_accuracy"] = json.loads(best.read_text(encoding="utf-8"))["test_accuracy"]
        numbers |= {f"{stage}_seconds": round(seconds, 1) for stage, seconds in self.times.seconds.items()}
        self.folder.write_result(numbers)
        print(
            f"{self.config.arch}: {masks.kept:,} of {masks.total:,} weights kept ({masks.density:.2%}), "
            f"accuracy {tested.top1:.2%} on {tested.examples} test images"
        )
        for note in self.data.notes():
            print(note)
        print(f"results in {self.folder.path}")
        return PeekabooResult(model, masks, self.folder.path, numbers)


def initial_model(config: PeekabooConfig, data: ImageDataset) -> keras.Model:
    """The network before pruning: a plain model that gives logits.

    Raises:
        ConfigError: There is no such architecture or initialisation.
        CheckpointError: The given network cannot be used.
    """
    shape: dict[str, Any] = {"num_classes": data.num_classes, "input_shape": data.input_shape}
    if config.trained_param is not None:
        return load_checkpoint(config.trained_param, arch=config.arch, **shape)
    return build_model(
        config.arch, **shape, seed=config.seed, init=config.init_method, stem=config.stem, padding="symmetric"
    )


def origin(config: PeekabooConfig, data: ImageDataset) -> dict[str, Any]:
    """What decides the variables of the network: noted with masks, so that those of another one are refused."""
    return {"arch": config.arch, "num_classes": data.num_classes, "stem": config.stem}


def given_masks(config: PeekabooConfig, model: keras.Model, data: ImageDataset) -> Masks:
    """The masks of a file, or ones. If the file holds initial weights, too, the network gets these.

    Raises:
        ConfigError: The file's masks are not those of this network.
    """
    whole = all_weights(config, model)
    if config.masks is None:
        return whole
    ticket = Ticket.load(config.masks)
    if ticket.weights and config.trained_param is not None:
        raise ConfigError(f"--masks {config.masks} holds initial weights, and --trained_param gives others: give one")
    ticket.start(model, **origin(config, data))
    masks = ticket.masks
    masks.check(prunable_weights(model, ignore=() if _masks_last(masks, model) else unpruned(config, model)))
    return masks


def _masks_last(masks: Masks, model: keras.Model) -> bool:
    return any(name.startswith(f"{model.layers[-1].name}/") for name in masks)


def _default_path(config: PeekabooConfig) -> str:
    what = f"{config.pruner.lower()}-{config.density:g}" if config.prunes else "masks" if config.masks else "dense"
    psg = "-psg" if config.psg else ""
    return f"runs/peekaboo/{config.arch}-{config.dataset}-{what}-{config.optimizer.lower()}{psg}"
