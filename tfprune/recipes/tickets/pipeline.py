"""Dense training, and tickets from beginning to end."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfprune.exporting import export_saved_model, save_model
from tfprune.graph import convert, prunable_weights
from tfprune.masks import Masks, Ticket, rearranged_masks, shuffled_weights
from tfprune.pruning import iterative_tickets
from tfprune.recipes.data import ImageDataset
from tfprune.recipes.make_recipe import make_recipe
from tfprune.recipes.models import build_model, load_checkpoint
from tfprune.recipes.open_images import open_images
from tfprune.recipes.open_run import open_run
from tfprune.recipes.open_strategy import open_strategy
from tfprune.recipes.tickets.corrupted import corrupted
from tfprune.recipes.tickets.dense_config import DenseConfig
from tfprune.recipes.tickets.find_ticket import find_ticket
from tfprune.recipes.tickets.ticket_config import TicketConfig
from tfprune.recipes.training import SparseTraining, StageTimes, Workers, evaluate, train_sparse

_OTHER_WEIGHTS = 1_000_003


@dataclass(frozen=True)
class TicketResult:
    """What a run gives.

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


def run(config: DenseConfig, data: ImageDataset | None = None) -> TicketResult:
    """Trains densely, or finds and trains a ticket, with these settings.

    Args:
        config: The settings; `TicketConfig` for a ticket.
        data: The data set, if it is there already. Default: the one that the settings name.

    Returns:
        The trained network and the run's numbers.

    Raises:
        TfpruneError: Something the user can mend: settings, data, files, folder.
        KeyboardInterrupt: After Ctrl-C, when everything done so far was kept.
    """
    return _Run(config, data).whole()


class _Run:
    """The stages of one run; each keeps its result in the run folder and is skipped if it is there."""

    def __init__(self, config: DenseConfig, data: ImageDataset | None) -> None:
        self.config = config
        # Workers have to find each other before TensorFlow does anything. All that can be wrong with
        # settings, data and files is found before the folder is made.
        self.strategy: tf.distribute.Strategy = open_strategy(config)
        self.workers = Workers(self.strategy)
        whole = open_images(config) if data is None else data
        spoilt = corrupted(config, whole)
        corrupt = config.corrupt if isinstance(config, TicketConfig) else "training"
        self.pruning_data = whole if corrupt == "training" else spoilt
        self.data = whole if corrupt == "pruning" else spoilt
        self.data.steps_per_epoch(config.batch_size)
        self.model = self._initial(config.seed)
        given = isinstance(config, TicketConfig) and config.from_file
        self.given = find_ticket(config, self.model, whole) if given else None  # type: ignore[arg-type]
        self.folder = open_run(config, config.train_path or config.default_path, self.workers)
        self.times = StageTimes(self.folder.file("seconds.json"))

    def whole(self) -> TicketResult:
        """All stages."""
        if not (initial := self.folder.file("initial.keras")).exists():
            save_model(self.model, initial)
        masks = Masks.full(prunable_weights(self.model))
        if isinstance(self.config, TicketConfig):
            with self.times.stage("pruning"):
                masks = self._masks(self.config)
            print(masks.table())
            self._change_weights(self.config, masks)
            Ticket.from_model(masks, self.model, arch=self.config.arch, num_classes=self.data.num_classes).save(
                self.folder.file("ticket.npz")
            )
        with self.times.stage("training"):
            trained = self._train(self.model, masks, first_epoch=self._first_epoch)
        return self._report(trained, masks)

    @property
    def _first_epoch(self) -> int:
        return self.config.rewind_epoch if isinstance(self.config, TicketConfig) else 0

    def _masks(self, config: TicketConfig) -> Masks:
        """The masks of the ticket, from the run's folder if they were found before."""
        if config.ticket == "iterative":
            found = self._iterative(config)
            found.save(self.folder.file("masks.npz"))
            return found
        with self.workers.chief_first():
            file = self.folder.file("masks.npz")
            if self.given is not None:
                found = self.given
            else:
                found = Masks.load(file) if file.exists() else find_ticket(config, self.model, self.pruning_data)
            found.save(file)
        return found

    def _iterative(self, config: TicketConfig) -> Masks:
        """Masks found in rounds; leaves the model with the weights that the rounds went back to."""
        if config.rewind_epoch:
            full = Masks.full(prunable_weights(self.model))
            self.model = self._train(
                self.model, full, name="before_rewinding", last_epoch=config.rewind_epoch, data=self.pruning_data
            )
        done = [
            Masks.load(path) for path in (self._round_file(n) for n in range(1, config.rounds + 1)) if path.exists()
        ]
        masks = done[-1] if done else None

        def train(number: int, model: keras.Model, masks: Masks) -> keras.Model:
            return self._train(
                model, masks, name=f"round{number}", first_epoch=config.rewind_epoch, data=self.pruning_data
            )

        tickets = iterative_tickets(
            self.model, config.density, train, rounds=config.rounds, masks=masks, first_round=len(done) + 1
        )
        for number, masks in enumerate(tickets, len(done) + 1):
            masks.save(self._round_file(number))
        assert masks is not None, "there is at least one round"
        return rearranged_masks(masks, config.seed) if config.rearrange else masks

    def _round_file(self, number: int) -> Path:
        return self.folder.file(f"masks_round{number}.npz")

    def _change_weights(self, config: TicketConfig, masks: Masks) -> None:
        """The sanity checks of weights."""
        if config.reinitialize:
            self.model.set_weights(self._drawn(config.seed + _OTHER_WEIGHTS).get_weights())
        if config.shuffle_weights:
            weights = {name: weight for name, weight in prunable_weights(self.model).items() if name in masks}
            for name, value in shuffled_weights(weights, masks, config.seed).items():
                weights[name].assign(value)

    def _train(
        self,
        model: keras.Model,
        masks: Masks,
        *,
        name: str = "training",
        first_epoch: int = 0,
        last_epoch: int | None = None,
        data: ImageDataset | None = None,
    ) -> keras.Model:
        """A trained copy, plain."""
        config = self.config
        epochs, milestones = config.schedule
        recipe = make_recipe(
            config,
            epochs=epochs,
            kind=SparseTraining,
            learning_rate=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            milestones=milestones,
            gamma=config.gamma,
            precision=config.precision,
            synchronized=config.sync_batch_norm,
            test_each_epoch=config.test_each_epoch,
        )
        sparse = train_sparse(
            recipe,
            model,
            masks,
            data=self.data if data is None else data,
            strategy=self.strategy,
            run=self.folder,
            name=name,
            resume=config.resume,
            first_epoch=first_epoch,
            last_epoch=last_epoch,
        )
        return convert(sparse, "plain", dtype="float32")

    def _initial(self, seed: int) -> keras.Model:
        """The network before pruning: a plain model that gives logits."""
        if self.config.init is None:
            return self._drawn(seed)
        return load_checkpoint(self.config.init, arch=self.config.arch, **self._shape)

    def _drawn(self, seed: int) -> keras.Model:
        return build_model(
            self.config.arch,
            **self._shape,
            seed=seed,
            stem=self.config.stem,
            padding="symmetric",
            zero_gamma=False,  # branches that begin with 0 have no gradients, so no scores of SNIP, GraSP and SynFlow
        )

    @property
    def _shape(self) -> dict[str, Any]:
        return {"num_classes": self.data.num_classes, "input_shape": self.data.input_shape}

    def _report(self, model: keras.Model, masks: Masks) -> TicketResult:
        """Measures the result, writes it, prints it: on the chief."""
        if not self.workers.is_chief:
            return TicketResult(model, masks, self.folder.path, {})
        save_model(model, self.folder.file("trained.keras"))
        if self.config.export:
            export_saved_model(model, self.folder.file("saved_model"))
        tested = evaluate(model, self.data.test_batches(self.config.val_batch_size), compile=self.config.compile)
        numbers: dict[str, object] = {
            "accuracy": tested.top1,
            "top5": tested.top5,
            "loss": tested.loss,
            "density": masks.density,
            "kept": masks.kept,
            "prunable": masks.total,
            "collapsed_layers": len(masks.collapsed),
        }
        numbers |= {f"{stage}_seconds": round(seconds, 1) for stage, seconds in self.times.seconds.items()}
        self.folder.write_result(numbers)
        print(
            f"{self.config.arch}: {masks.kept:,} of {masks.total:,} weights kept ({masks.density:.2%}), "
            f"accuracy {tested.top1:.2%} on {tested.examples} test images"
        )
        for note in self.data.notes():
            print(note)
        print(f"results in {self.folder.path}")
        return TicketResult(model, masks, self.folder.path, numbers)
