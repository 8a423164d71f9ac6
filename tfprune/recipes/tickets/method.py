"""Dense training, tickets and their sanity checks (Su et al., NeurIPS 2020)."""

import keras
import numpy as np

from tfprune.arguments import instance
from tfprune.errors import ConfigError
from tfprune.graph import convert, prunable_weights
from tfprune.masks import Masks, Ticket, rearranged_masks, shuffled_weights
from tfprune.optimizers import SGD
from tfprune.pruning import iterative_tickets
from tfprune.recipes.data import ImageData, ImageDataset, data_fraction, random_labels, shuffled_pixels
from tfprune.recipes.method import Method, Result, densities, plain
from tfprune.recipes.tickets.config import DenseConfig, TicketConfig
from tfprune.recipes.tickets.pruning import find_ticket
from tfprune.recipes.training import StepDecay

_SEED_OF_NEW_WEIGHTS = 1_000_003
TicketResult = Result


def run(config: DenseConfig, data: ImageDataset | None = None) -> Result:
    """Trains densely, or finds and trains a ticket, with these settings.

    Args:
        config: The settings; `TicketConfig` for a ticket.
        data: The data set. Default: the one that the settings name.

    Returns:
        The trained model, its masks and the numbers of the run.

    Raises:
        TfpruneError: Something that the user can fix: settings, data, files, folder.
        KeyboardInterrupt: After Ctrl-C, when everything done so far was saved.
    """
    instance("config", config, DenseConfig, "a DenseConfig or TicketConfig")
    return Tickets(config, data).run() if isinstance(config, TicketConfig) else Dense(config, data).run()


class Dense(Method[DenseConfig]):
    """Trains a model without pruning."""

    def prepare_data(self, data: ImageDataset) -> ImageDataset:
        """Returns the data with the corruptions that the settings ask for."""
        return corrupted(self.config, data)

    def setup(self) -> None:
        """Builds the initial model or loads it."""
        config = self.config
        self.model = self.new_model(config.seed) if config.init is None else self.load_model(config.init)

    def stages(self) -> tuple[keras.Model, Masks | None]:
        """Trains the model."""
        self.save_initial(self.model)
        masks = Masks.full(prunable_weights(self.model))
        with self.times.stage("training"):
            return self.trained(self.model, masks), masks

    @property
    def default_path(self) -> str:
        """Path of the run folder if the settings name none."""
        return self.config.default_path

    def new_model(self, seed: int) -> keras.Model:
        """Builds a model with new weights; its residual branches do not begin with 0, or they had no gradients."""
        return self.build_model(seed=seed, padding="symmetric", zero_gamma=False)

    def trained(
        self,
        model: keras.Model,
        masks: Masks,
        *,
        name: str = "training",
        first_epoch: int = 0,
        last_epoch: int | None = None,
        data: ImageDataset | None = None,
    ) -> keras.Model:
        """Returns a trained copy of a plain model, plain; pruned weights are 0.

        Args:
            model: Trained until `first_epoch`. It is not changed.
            masks: The kept weights.
            name: Name of the training in the run folder.
            first_epoch: Epoch of the schedule to start with.
            last_epoch: Epoch of the schedule to stop before. Default: after all.
            data: The data set. Default: that of the run.
        """
        config = self.config
        data = self.data if data is None else data
        epochs, milestones = config.schedule
        passed = sum(point <= first_epoch for point in milestones)
        rate = StepDecay(
            config.learning_rate * config.gamma**passed,
            tuple(point - first_epoch for point in milestones if point > first_epoch),
            config.gamma,
            epochs - first_epoch,
            data.steps_per_epoch(config.batch_size),
        )
        self.tell_missed_drops(rate, epochs - first_epoch, "milestones")
        sparse, optimizer = self.trainable(
            model,
            lambda fast: convert(fast, "masked", masks),
            lambda _: SGD(rate, momentum=config.momentum, weight_decay=config.weight_decay, momentum_form="torch"),
        )
        self.train(
            sparse,
            optimizer,
            epochs=epochs,
            data=data,
            test_each_epoch=config.test_each_epoch,
            name=name,
            first_epoch=first_epoch,
            last_epoch=last_epoch,
            weights=None if masks.kept == masks.total else lambda: densities(masks.counts),
        )
        return plain(sparse)


class Tickets(Dense):
    """Finds a ticket, applies sanity checks to it, and trains it."""

    config: TicketConfig

    def prepare_data(self, data: ImageDataset) -> ImageDataset:
        """Returns the data to train with; those to prune with are `pruning_data`."""
        corrupt = corrupted(self.config, data)
        self.pruning_data = data if self.config.corrupt == "training" else corrupt
        return data if self.config.corrupt == "pruning" else corrupt

    def setup(self) -> None:
        """Builds the initial model and reads the ticket if it is a file."""
        super().setup()
        self.given = find_ticket(self.config, self.model, self.data) if self.config.from_file else None

    def stages(self) -> tuple[keras.Model, Masks | None]:
        """Finds the masks, changes the weights as the sanity checks say, writes the ticket and trains it."""
        config = self.config
        self.save_initial(self.model)
        with self.times.stage("pruning"):
            masks = self._iterative_masks() if config.ticket == "iterative" else self._masks()
        print(masks.table())
        self._change_weights(masks)
        ticket = Ticket.from_model(masks, self.model, arch=config.arch, num_classes=self.data.num_classes)
        ticket.save(self.folder.file("ticket.npz"))
        with self.times.stage("training"):
            return self.trained(self.model, masks, first_epoch=config.rewind_epoch), masks

    def _masks(self) -> Masks:
        """Returns the masks of the file, or those that pruning finds."""

        def find() -> Masks:
            if self.given is not None:
                return self.given
            return find_ticket(
                self.config, self.model, self.pruning_data, on_scores=lambda scores: self.write_scores(0, scores)
            )

        return self.cached("masks.npz", find, Masks.load, Masks.save)

    def _iterative_masks(self) -> Masks:
        """Finds masks in rounds of training; afterwards the model has the weights that the rounds rewound to."""
        config = self.config
        if config.rewind_epoch:
            full = Masks.full(prunable_weights(self.model))
            self.model = self.trained(
                self.model, full, name="before_rewinding", last_epoch=config.rewind_epoch, data=self.pruning_data
            )
        files = [self.folder.file(f"masks_round{number}.npz") for number in range(1, config.rounds + 1)]
        done = [Masks.load(file) for file in files if file.exists()]
        masks = done[-1] if done else None

        def train(number: int, model: keras.Model, masks: Masks) -> keras.Model:
            trained = self.trained(
                model, masks, name=f"round{number}", first_epoch=config.rewind_epoch, data=self.pruning_data
            )
            weights = prunable_weights(trained)
            self.write_scores(number, {name: np.abs(np.asarray(weight)) for name, weight in weights.items()})
            return trained

        rounds = iterative_tickets(
            self.model, config.density, train, rounds=config.rounds, masks=masks, first_round=len(done) + 1
        )
        for file, masks in zip(files[len(done) :], rounds, strict=True):
            masks.save(file)
        assert masks is not None, "there is at least one round"
        found = rearranged_masks(masks, config.seed) if config.rearrange else masks
        found.save(self.folder.file("masks.npz"))
        return found

    def _change_weights(self, masks: Masks) -> None:
        """Applies the sanity checks of weights to the model."""
        config = self.config
        if config.reinitialize:
            self.model.set_weights(self.new_model(config.seed + _SEED_OF_NEW_WEIGHTS).get_weights())
        if config.shuffle_weights:
            weights = {name: weight for name, weight in prunable_weights(self.model).items() if name in masks}
            for name, value in shuffled_weights(weights, masks, config.seed).items():
                weights[name].assign(value)


def corrupted(config: DenseConfig, data: ImageDataset) -> ImageDataset:
    """Returns the data set with `fraction`, `random_labels` and `shuffle_pixels` applied to its training images.

    Raises:
        ConfigError: The settings ask for any of these, and the images are not in memory.
    """
    if config.fraction == 1 and not (config.random_labels or config.shuffle_pixels):
        return data
    if not isinstance(data, ImageData):
        raise ConfigError(
            "--fraction, --random_labels, --shuffle_pixels: expected none of them for images that are read from the "
            "disk, received one; leave it out, or take a data set that is in memory"
        )
    if config.fraction < 1:
        data = data_fraction(data, config.fraction, config.seed, first=config.first_images)
    if config.random_labels:
        data = random_labels(data)
    if config.shuffle_pixels:
        data = shuffled_pixels(data, config.seed, fixed=config.fixed_permutation)
    return data
