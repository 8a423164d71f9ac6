"""Peek-a-Boo: prune a random model before or during training, then train the signs of the kept weights."""

import keras

from tfprune.arguments import instance
from tfprune.errors import ConfigError
from tfprune.graph import complexity, convert, masks_of, prunable_weights
from tfprune.layers import Masked
from tfprune.masks import Masks, Ticket
from tfprune.optimizers import SGD, Bop
from tfprune.recipes.data import ImageDataset
from tfprune.recipes.method import Method, Result, densities, plain, tested_numbers
from tfprune.recipes.models.building import find_architecture
from tfprune.recipes.models.resnet import projection_names
from tfprune.recipes.peekaboo.config import PeekabooConfig
from tfprune.recipes.peekaboo.pruning import (
    classifier_names,
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
    instance("config", config, PeekabooConfig, "a PeekabooConfig")
    return Peekaboo(config, data).run()


class Peekaboo(Method[PeekabooConfig]):
    """Prunes a model, then trains the signs of its kept weights with Bop and all else with SGD."""

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
                test=lambda: self._test_epoch(sparse, optimizer),
                weights=lambda: self.weight_numbers,
            )
        masks = self._masks_of(sparse)
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
        config, model = self.config, self.model
        if config.masks is None:
            return Masks.full(prunable_weights(model, ignore=unpruned_layers(config, model)))
        ticket = Ticket.load(config.masks)
        if ticket.weights and config.trained_param is not None:
            raise ConfigError(
                f"--masks {config.masks} holds initial weights, and --trained_param gives others: give one"
            )
        ticket.start(model, **model_origin(config, self.data))
        pruned = {layer_of(name) for name in ticket.masks}
        optional = (*classifier_names(model), *projection_names(model))
        ticket.masks.check(prunable_weights(model, ignore=[name for name in optional if name not in pruned]))
        return ticket.masks

    def _test_epoch(self, sparse: keras.Model, optimizer: keras.optimizers.Optimizer) -> dict[str, float]:
        """Tests the model and keeps it if it is the best that is fully pruned.

        Returns the columns of the epoch's metrics. Flips are counted on the device and read here, once per epoch; the
        counters are part of the checkpoints.
        """
        tested = self.test(sparse)
        if self.workers.is_chief and self.tested_epoch > max(self.schedule, default=0):
            self.keep_best({"epoch": self.tested_epoch, **tested_numbers(tested)}, lambda: plain(sparse))
        self.weight_numbers = densities(masks_of(sparse).counts)
        numbers = {"test_loss": tested.loss, "test_accuracy": tested.top1, "density": self._masks_of(sparse).density}
        bop = getattr(optimizer, "inner_optimizer", optimizer)  # within a scaled loss
        if isinstance(bop, Bop):
            names = {kernel.path: name for name, kernel in _masked_kernels(sparse).items()}
            flips = {names[path]: count for path, count in bop.flips_by_variable.items()}
            for name, columns in self.weight_numbers.items():
                columns["flips"] = flips.get(name, 0)
            numbers |= {"ar": float(bop.last_adaptivity_rate), "flips": sum(flips.values())}
            bop.reset_flips()
        return numbers

    def _masks_of(self, sparse: keras.Model) -> Masks:
        """Returns the masks of what may be pruned."""
        return Masks({name: mask for name, mask in masks_of(sparse).items() if name in self.given})

    def _masked(self, fast: keras.Model, masks: Masks) -> keras.Model:
        """Puts masked layers, or layers with predictive sign gradients, into a model."""
        config = self.config
        # Shortcuts that are not pruned are trained like all convolutions, so they have masks, too.
        unmasked = [name for name in classifier_names(self.model) if f"{name}/kernel" not in masks]
        every = {**Masks.full(prunable_weights(self.model, ignore=unmasked)), **masks}
        if not config.psg:
            return convert(fast, "masked", every)
        by_sgd = {name: every.pop(name) for name in list(every) if layer_of(name) in sgd_classifier(config, self.model)}
        if by_sgd:
            fast = convert(fast, "masked", by_sgd)
        options = {
            "input_bits": config.psg_input_bits,
            "gradient_bits": config.psg_gradient_bits,
            "relative_threshold": config.psg_relative_threshold,
            "absolute_threshold": config.psg_absolute_threshold,
            "sparsify": config.psg_sparsify,
            "take_sign": config.psg_take_sign,
            "quantize": config.psg_quantize,
        }
        return convert(fast, "psg", every, options=options)

    def _optimizer(self, sparse: keras.Model) -> keras.optimizers.Optimizer:
        """Returns SGD in PyTorch's form, within Bop for the masked kernels if the settings say so."""
        config = self.config
        learning_rate, ar = schedules(config, self.data.steps_per_epoch(config.batch_size))
        self.tell_missed_drops(learning_rate, config.epochs, "milestones")
        sgd = SGD(learning_rate, momentum=config.momentum, weight_decay=config.weight_decay, momentum_form="torch")
        if config.optimizer == "SGD":
            return sgd
        by_sgd = sgd_classifier(config, sparse)
        signs = [kernel.path for name, kernel in _masked_kernels(sparse).items() if layer_of(name) not in by_sgd]
        return Bop(ar, config.tau, companion=sgd, sign_trained=signs)

    def _pruned(self, epoch: int, model: keras.Model, masks: Masks, file: str) -> Masks:
        """Returns the masks of the pruning before an epoch and prints their table."""
        found = self.cached(
            file,
            lambda: find_masks(
                self.config,
                model,
                self.data,
                self.schedule[epoch],
                masks=masks,
                on_scores=lambda scores: self.write_scores(epoch, scores),
            ),
            Masks.load,
            Masks.save,
        )
        print(found.table())
        return found

    def _prune_between(self, epoch: int, sparse: keras.Model) -> None:
        """Prunes the model in training before an epoch that the schedule names."""
        if epoch and epoch in self.schedule:
            model = _with_weights_of(sparse, self.model)
            set_masks(sparse, self._pruned(epoch, model, self._masks_of(sparse), f"masks_epoch{epoch}.npz"))


def schedules(config: PeekabooConfig, steps_per_epoch: int) -> tuple[StepDecay, PeriodicDecay]:
    """Returns the learning rate of SGD and the adaptivity rate of Bop.

    Args:
        config: The settings.
        steps_per_epoch: Optimizer steps of an epoch.

    Reference:
        The authors' `main_cifar.py` and `main_imagenet_train.py`.
    """
    freq, early = config.ar_decay_freq, config.ar_epochs_early
    return (
        StepDecay(config.base_learning_rate, config.milestones, _DROP, config.epochs, steps_per_epoch),
        PeriodicDecay(config.ar, config.ar_decay_ratio, freq, steps_per_epoch, offset=early),
    )


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


def sgd_classifier(config: PeekabooConfig, model: keras.Model) -> tuple[str, ...]:
    """Returns the name of the classifier if SGD trains it, and not Bop like all other layers with kernels.

    Bop of the original trains the convolutions, and the dense layers of its Conv models are convolutions.
    """
    return () if find_architecture(config.arch).classifier_like_layers else classifier_names(model)


def layer_of(name: str) -> str:
    """Returns the layer of a mask."""
    return name.partition("/")[0]


def _masked_kernels(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns the masked kernels by the names of their masks."""
    layers = {layer.name: layer for layer in model.layers}
    return {
        f"{name}/{attribute}": kernel
        for name, layer in layers.items()
        if isinstance(layer, Masked)
        for attribute, kernel in layer.masked_kernels.items()
    }
