"""Peek-a-Boo: prune a random model before or during training, then train the signs of the kept weights."""

import keras

from tfprune.errors import ConfigError
from tfprune.graph import complexity, convert, masks_of, prunable_weights
from tfprune.layers import Masked
from tfprune.masks import Masks, Ticket
from tfprune.optimizers import SGD, Bop
from tfprune.recipes.data import ImageDataset
from tfprune.recipes.method import Method, Result, plain, subset
from tfprune.recipes.peekaboo.config import PeekabooConfig
from tfprune.recipes.peekaboo.pruning import (
    find_masks,
    initial_model,
    make_criterion,
    model_origin,
    pruning_schedule,
    unpruned_layers,
)
from tfprune.recipes.training import Evaluation, PeriodicDecay, StepDecay

_DROP = 0.1
PeekabooResult = Result


def run(config: PeekabooConfig, data: ImageDataset | None = None) -> Result:
    """Runs Peek-a-Boo with these settings.

    Args:
        config: The settings.
        data: The whole data set. Default: the one that the settings name.

    Returns:
        The trained sparse model, its masks and the numbers of the run.

    Raises:
        TfpruneError: Something that the user can fix: settings, data, files, folder.
        KeyboardInterrupt: After Ctrl-C, when everything done so far was saved.

    Reference:
        Chen, Zhang and Wang, Peek-a-Boo: What (More) is Disguised in a Randomly Weighted Neural Network, and How to
        Find It Efficiently (ICLR 2022).
    """
    return Peekaboo(config, data).run()


class Peekaboo(Method[PeekabooConfig]):
    """Prunes a model, then trains the signs of its kept weights with Bop and all else with SGD."""

    def prepare_data(self, data: ImageDataset) -> ImageDataset:
        """Returns the fraction of the training images that the settings ask for."""
        return subset(data, self.config.fraction, self.config.seed)

    def setup(self) -> None:
        """Builds the initial model, reads given masks and checks the criterion."""
        self.model = initial_model(self.config, self.data)
        self.given = self._given_masks()
        self.schedule = pruning_schedule(self.config)
        if self.schedule:
            make_criterion(self.config, self.model)  # fail early on an unknown criterion

    def stages(self) -> tuple[keras.Model, Masks]:
        """Prunes before training if the schedule says so, then trains and prunes between epochs."""
        config, masks = self.config, self.given
        self.save_initial(self.model)
        if 0 in self.schedule:
            with self.times.stage("pruning"):
                masks = self._pruned(0, self.model, masks, "masks.npz")
        if not config.epochs:
            masks.save(self.folder.file("masks.npz"))
            return plain(convert(self.model, "masked", masks)), masks
        with self.times.stage("training"):
            sparse, optimizer = self.trainable(self.model, lambda fast: self._masked(fast, masks), self._optimizer)
            self.train(
                sparse,
                optimizer,
                epochs=config.epochs,
                before_epoch=lambda epoch: self._prune_between(epoch, sparse),
                after_epoch=lambda accuracy: self.keep_best({"test_accuracy": accuracy}, lambda: plain(sparse)),
            )
        masks = masks_of(sparse)
        masks.save(self.folder.file("masks.npz"))
        return plain(sparse), masks

    def numbers(self, tested: Evaluation, model: keras.Model, masks: Masks | None) -> dict[str, object]:
        """Returns the columns of the results and plots the masks."""
        assert masks is not None, "the stages return masks"
        masks.plot(self.folder.file("masks.png"))
        cost, numbers = complexity(model), super().numbers(tested, model, masks)
        collapsed = numbers.pop("collapsed_layers")
        numbers |= {"params": cost.params, "flops": cost.flops, "collapsed_layers": collapsed}
        return numbers if self.best is None else numbers | {"best_accuracy": self.best["test_accuracy"]}

    @property
    def default_path(self) -> str:
        """Path of the run folder if the settings name none."""
        config = self.config
        what = f"{config.pruner.lower()}-{config.density:g}" if config.prunes else "masks" if config.masks else "dense"
        psg = "-psg" if config.psg else ""
        return f"runs/peekaboo/{config.arch}-{config.dataset}-{what}-{config.optimizer.lower()}{psg}"

    def _given_masks(self) -> Masks:
        """Returns the masks of the file, or masks that keep all; a ticket's initial weights go into the model."""
        config, model, unpruned = self.config, self.model, unpruned_layers(self.model, self.config.prune_classifier)
        if config.masks is None:
            return Masks.full(prunable_weights(model, ignore=unpruned))
        ticket = Ticket.load(config.masks)
        if ticket.weights and config.trained_param is not None:
            raise ConfigError(
                f"--masks {config.masks} holds initial weights, and --trained_param gives others: give one"
            )
        ticket.start(model, **model_origin(config, self.data))
        masks_last = any(name.startswith(f"{model.layers[-1].name}/") for name in ticket.masks)
        ticket.masks.check(prunable_weights(model, ignore=() if masks_last else unpruned))
        return ticket.masks

    def _masked(self, fast: keras.Model, masks: Masks) -> keras.Model:
        """Puts masked layers, or layers with predictive sign gradients, into a model."""
        config = self.config
        if not config.psg:
            return convert(fast, "masked", masks)
        options = {
            "input_bits": config.psg_input_bits,
            "gradient_bits": config.psg_gradient_bits,
            "relative_threshold": config.psg_relative_threshold,
            "absolute_threshold": config.psg_absolute_threshold,
            "sparsify": config.psg_sparsify,
            "take_sign": config.psg_take_sign,
            "quantize": config.psg_quantize,
        }
        return convert(fast, "psg", masks, options=options)

    def _optimizer(self, sparse: keras.Model) -> keras.optimizers.Optimizer:
        """Returns SGD in PyTorch's form, within Bop for the masked kernels if the settings say so."""
        config, steps = self.config, self.data.steps_per_epoch(self.config.batch_size)
        rate = StepDecay(config.base_learning_rate, config.milestones, _DROP, config.epochs, steps)
        sgd = SGD(rate, momentum=config.momentum, weight_decay=config.weight_decay, momentum_form="torch")
        if config.optimizer == "SGD":
            return sgd
        ar = PeriodicDecay(config.ar, config.ar_decay_ratio, config.ar_decay_freq, steps, offset=config.ar_epochs_early)
        return Bop(ar, config.tau, companion=sgd, sign_trained=_sign_trained(sparse))

    def _pruned(self, epoch: int, model: keras.Model, masks: Masks, file: str) -> Masks:
        """Returns the masks of the pruning before an epoch and prints their table."""
        found = self.cached(
            file,
            lambda: find_masks(self.config, model, self.data, self.schedule[epoch], masks=masks),
            Masks.load,
            Masks.save,
        )
        print(found.table())
        return found

    def _prune_between(self, epoch: int, sparse: keras.Model) -> None:
        """Prunes the model in training before an epoch that the schedule names."""
        if epoch and epoch in self.schedule:
            model = _with_weights_of(sparse, self.model)
            set_masks(sparse, self._pruned(epoch, model, masks_of(sparse), f"masks_epoch{epoch}.npz"))


def set_masks(sparse: keras.Model, masks: Masks) -> None:
    """Replaces the masks of a masked model."""
    for name, mask in masks.items():
        sparse.get_layer(name.rpartition("/")[0]).mask.assign(mask)


def _with_weights_of(sparse: keras.Model, model: keras.Model) -> keras.Model:
    """Returns a copy of a plain model with the weights of its masked twin, pruned ones included."""
    copy = keras.models.clone_model(model)
    for layer in filter(lambda layer: layer.variables, copy.layers):
        values = {variable.name: variable for variable in sparse.get_layer(layer.name).variables}
        for variable in layer.variables:
            variable.assign(values[variable.name])
    return copy


def _sign_trained(model: keras.Model) -> list[str]:
    """Returns the paths of all masked kernels but that of the last dense layer, which the original trains by SGD."""
    *hidden, last = model.layers
    layers = hidden if isinstance(last, keras.layers.Dense) else model.layers
    return [kernel.path for layer in layers if isinstance(layer, Masked) for kernel in layer.masked_kernels.values()]
