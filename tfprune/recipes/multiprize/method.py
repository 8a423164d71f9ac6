"""Multi-prize tickets: find a good binary sub-network of a random model, whose weights stay as they are."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import keras

from tfprune.arguments import instance, optional
from tfprune.console import quiet
from tfprune.errors import ConfigError, RunFolderError
from tfprune.exporting import add_record
from tfprune.files import replaced_file
from tfprune.layers import collapsed_layers, refresh_masks, set_density, subnet_layers
from tfprune.masks import Masks
from tfprune.reading import read_json, reading
from tfprune.recipes.data import BatchRequest, ImageDataset
from tfprune.recipes.data.dataset import IMAGES
from tfprune.recipes.method import (
    Method,
    Result,
    densities,
    open_images,
    open_strategy,
    subset,
    summary_line,
    tested_numbers,
)
from tfprune.recipes.models import TRAINED_MODEL
from tfprune.recipes.multiprize.config import MultiPrizeConfig
from tfprune.recipes.multiprize.models import (
    check_not_cut,
    kept_counts,
    kept_numbers,
    random_model,
    saved_model,
    start_from,
    with_scores,
)
from tfprune.recipes.multiprize.run_directory import open_run_directory, results_table, table_row
from tfprune.recipes.multiprize.training import (
    Histograms,
    make_objective,
    make_optimizer,
    make_rate,
    make_views,
    recorded_views,
)
from tfprune.recipes.training import DensityRamp, Evaluation, GradientProbe, RunFolder, Workers, evaluate
from tfprune.recipes.training.run_folder import Row

MultiPrizeResult = Result


def run(config: MultiPrizeConfig, data: ImageDataset | None = None) -> Result:
    """Searches for a good sub-network with these settings, or trains the dense twin, or only measures a model.

    Args:
        config: The settings.
        data: The whole data set. Default: the one that the settings name.

    Returns:
        The model after the last epoch, with the layers that it was trained with (`tfprune.convert(model, "plain")`
        replaces them by built-in Keras layers), and the numbers of the run; `folder` is None with `evaluate`.

    Raises:
        TfpruneError: Something that the user can fix: settings, data, files, folder; or a layer without weights that
            cuts the model in two.
        KeyboardInterrupt: After Ctrl-C, when everything done so far was saved.

    Reference:
        Diffenderfer and Kailkhura, Multi-Prize Lottery Ticket Hypothesis: Finding Accurate Binary Neural Networks by
        Pruning a Randomly Weighted Network (ICLR 2021).
    """
    instance("config", config, MultiPrizeConfig, "a MultiPrizeConfig")
    return _measured(config, data) if config.evaluate else MultiPrize(config, data).run()


class MultiPrize(Method[MultiPrizeConfig]):
    """Trains the scores of a random model, and keeps the weights with the largest ones."""

    def setup(self) -> None:
        """Builds the trainable model and its optimizer, and checks that its first masks leave it connected."""
        config = self.config
        if config.export and config.selection == "sampled":
            raise ConfigError("--selection sampled: expected --no_export, as there is no one kernel to export; add it")
        self.ramp = DensityRamp(config.kept, config.ramp_epochs)
        steps = self.data.steps_per_epoch(config.batch_size)
        flag = "lr_adjust" if config.lr_policy == "multistep" else "lr_policy"
        self.tell_missed_drops(make_rate(config, steps), config.epochs, flag)
        self.model, self.optimizer = self.trainable(
            random_model(config, self.data), self._with_scores, lambda model: make_optimizer(config, model, steps)
        )
        self.few_images = next(iter(self.data.test_batches(min(config.val_batch_size, 16))))["images"]
        self._set_density(0)
        self.table = results_table(config)
        self.table.check()

    def open_folder(self) -> RunFolder:
        """Creates or opens the run folder, the next one of this name by default."""
        return open_run_directory(self.config, self.workers)

    def stages(self) -> tuple[keras.Model, Masks | None]:
        """Trains the scores, or the weights of the dense twin."""
        config = self.config
        self.objective, self.views = make_objective(config), make_views(config)
        self.histograms = self._make_histograms() if config.histograms and self.workers.is_chief else None
        if self.workers.is_chief:
            self.save_initial(self.model)
        with self.times.stage("training"):
            self.rows: list[Row] = self.train(
                self.model,
                self.optimizer,
                epochs=config.epochs,
                batches=self.views,
                objective=self.objective,
                before_epoch=self._set_density,
                test=self._test_epoch,
                weights=None if config.dense else lambda: densities(kept_counts(self.model)),
            )
        return self.model, None

    def save_result(self, model: keras.Model, tested: Evaluation) -> None:
        """Saves the model unless the last epoch did, which a run without epochs does not have."""
        if not (self.folder.path / TRAINED_MODEL).exists():
            self.save(model, TRAINED_MODEL, epoch=len(self.rows), **tested_numbers(tested))

    def write_model(self, model: keras.Model, path: Path, record: Mapping[str, Any]) -> None:
        """Writes a model with its own layers: weights, scores, masks, statistics."""
        with replaced_file(path) as partial, quiet():
            model.save(partial)
            add_record(partial, record)

    def augmentation(self, file: str) -> dict[str, Any]:
        """Returns how the views of images are made, besides what the data set does."""
        return recorded_views(self.config)

    def numbers(self, tested: Evaluation, model: keras.Model, masks: Masks | None) -> dict[str, object]:
        """Returns the columns of the results."""
        self.write_densities(kept_counts(model))
        best = self.best or {}
        wanted = [float(row["train_accuracy"]) for row in self.rows if row["density"] == self.config.kept]
        return {
            "finished": self._finished(),
            **kept_numbers(model),
            **super().numbers(tested, model, masks),
            "best_accuracy": best.get("test_accuracy"),
            "best_top5": best.get("test_top5"),
            "best_epoch": best.get("epoch"),
            "best_train_accuracy": max(wanted, default=None),
        }

    def write_numbers(self, numbers: Mapping[str, object]) -> None:
        """Writes the results, also into the table that runs share."""
        super().write_numbers(numbers)
        self.table.append(table_row(self.config, self.folder, numbers))

    def print_result(self, tested: Evaluation, numbers: Mapping[str, Any]) -> None:
        """Prints accuracy and density, and names the layers that keep no weight."""
        _print_result(self.arch, self.model, tested, numbers)

    def _with_scores(self, fast: keras.Model) -> keras.Model:
        """Returns the model to train, with the variables of `pretrained` if there is one."""
        model, path = with_scores(self.config, fast), self.config.pretrained
        if path is not None:
            start_from(model, saved_model(self.config, path, self.data), path)
        return model

    def _set_density(self, epoch: int) -> None:
        """Sets the fraction of the weights that an epoch keeps."""
        if not self.config.dense:
            set_density(self.model, self.ramp(epoch))
            check_not_cut(self.model, self.few_images)

    def _test_epoch(self) -> dict[str, float]:
        """Updates the masks, tests the model and saves it; returns the columns of the epoch's metrics."""
        refresh_masks(self.model)
        collapsed = check_not_cut(self.model, self.few_images)
        tested = self.test(self.model)
        layers = subnet_layers(self.model)
        density = float(layers[0].density.numpy()) if layers else 1.0
        if self.workers.is_chief:
            self._save_epoch(tested, may_be_best=density == self.config.kept)
        return {
            "test_loss": tested.loss,
            "test_accuracy": tested.top1,
            "test_top5": tested.top5,
            "density": density,
            "collapsed_layers": len(collapsed),
        }

    def _save_epoch(self, tested: Evaluation, *, may_be_best: bool) -> None:
        """Saves the model of an epoch; one that is denser than asked for must not be the best."""
        epoch = self.tested_epoch
        numbers = {"epoch": epoch, **tested_numbers(tested)}
        self.save(self.model, TRAINED_MODEL, **numbers)
        if self.config.save_every and epoch % self.config.save_every == 0:
            self.save(self.model, f"epoch_{epoch}.keras", **numbers)
        if may_be_best:
            self.keep_best(numbers, lambda: self.model)
        self.write_scores(epoch, {f"{layer.name}/kernel": layer.scores for layer in subnet_layers(self.model)})
        if self.histograms is not None:
            self.histograms.write(epoch)

    def _make_histograms(self) -> Histograms:
        """Returns histograms whose gradients are those of as many images as pass a device at once."""
        config = self.config
        batches = self.data.training_batches(
            BatchRequest(
                config.batch_size,
                epochs=1,
                seed=config.seed,
                rows=range(config.batch_size // (config.accum * self.strategy.num_replicas_in_sync)),
                **self.views,
            )
        )
        probe = GradientProbe(self.model, self.optimizer, self.objective, next(iter(batches)))
        return Histograms(self.folder.folder("events") / "histograms", self.model, probe)

    def _finished(self) -> str:
        """Returns when the run ended for the first time."""
        results = self.folder.path / "results.json"
        if results.exists():
            try:
                with reading(results, "the result of a run", error=RunFolderError, advice="its table gets a new row"):
                    return str(datetime.fromisoformat(read_json(results, finite=False)["finished"]).isoformat())
            except RunFolderError as error:
                print(error)
        return datetime.now().isoformat(timespec="seconds")


def _measured(config: MultiPrizeConfig, data: ImageDataset | None) -> Result:
    """Evaluates the model of `pretrained`; nothing is written."""
    optional(instance, "data", data, kind=ImageDataset, words=IMAGES)
    assert config.pretrained is not None, "the settings require it"
    strategy = open_strategy(config)
    data = subset(open_images(config) if data is None else data, config.fraction, config.seed)
    with Workers(strategy).scope():
        model = saved_model(config, config.pretrained, data)
    tested = evaluate(model, data.test_batches(config.val_batch_size), compile=config.compile)
    numbers = {**kept_numbers(model), "accuracy": tested.top1, "top5": tested.top5, "loss": tested.loss}
    _print_result(config.arch, model, tested, numbers)
    return Result(model, None, numbers)


def _print_result(arch: str, model: keras.Model, tested: Evaluation, numbers: Mapping[str, Any]) -> None:
    print(summary_line(arch, tested, numbers))
    if names := collapsed_layers(model):
        print(f"no weight is left in {', '.join(names)}, so their outputs are 0")
