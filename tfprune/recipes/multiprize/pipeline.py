"""Multi-prize tickets from beginning to end: a random network, the search in it, evaluation, files."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import keras
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.exporting import export_saved_model
from tfprune.layers import refresh_masks, set_density, subnet_layers
from tfprune.recipes.data import BatchRequest, ImageDataset
from tfprune.recipes.multiprize.collapse import check_passage
from tfprune.recipes.multiprize.config import MultiPrizeConfig
from tfprune.recipes.multiprize.histograms import Histograms
from tfprune.recipes.multiprize.kept_networks import KeptNetworks
from tfprune.recipes.multiprize.network import drawn_network, trainable_network
from tfprune.recipes.multiprize.pretrained import saved_network, start_from
from tfprune.recipes.multiprize.result_numbers import file_notes, network_numbers, print_result, test_network
from tfprune.recipes.multiprize.run_place import open_place, results_table, table_row
from tfprune.recipes.multiprize.training_stage import make_objective, make_optimizer, make_training_recipe
from tfprune.recipes.open_images import asked_part, open_images
from tfprune.recipes.open_strategy import open_strategy
from tfprune.recipes.training import DensityRamp, Evaluation, GradientProbe, StageTimes, Workers, train_network
from tfprune.recipes.training.run_folder import Row


@dataclass(frozen=True)
class MultiPrizeResult:
    """What a run gives.

    Attributes:
        model: The trained network with the layers it was trained with; `tfprune.convert(model, "plain")` makes stock
            Keras layers of them.
        folder: The run's folder; `None` if nothing was to be written here.
        numbers: What stands in `results.csv`.
    """

    model: keras.Model
    folder: Path | None
    numbers: dict[str, object]


def run(config: MultiPrizeConfig, data: ImageDataset | None = None) -> MultiPrizeResult:
    """Searches for a good sub-network with these settings, or trains the dense twin, or only measures a network.

    Args:
        config: The settings.
        data: The whole data set, if it is there already. Default: the one that the settings name.

    Returns:
        The network after the last epoch, and the run's numbers.

    Raises:
        TfpruneError: Something the user can mend: settings, data, files, folder; or a layer that lost all its weights.
        KeyboardInterrupt: After Ctrl-C, when everything done so far was kept.
    """
    return measured(config, data) if config.evaluate else _Run(config, data).whole()


def measured(config: MultiPrizeConfig, data: ImageDataset | None) -> MultiPrizeResult:
    """How good the network of `pretrained` is; nothing is written."""
    assert config.pretrained is not None, "the settings see to it"
    strategy = open_strategy(config)
    data = asked_part(config, data or open_images(config))
    with Workers(strategy).scope():
        network = saved_network(config, config.pretrained, data)
    tested = test_network(config, network, data)
    numbers = {**network_numbers(network), "accuracy": tested.top1, "top5": tested.top5, "loss": tested.loss}
    print_result(config, network, numbers, tested)
    return MultiPrizeResult(network, None, numbers)


class _Run:
    """One training from its random network to its results."""

    def __init__(self, config: MultiPrizeConfig, data: ImageDataset | None) -> None:
        self.config = config
        # Workers have to find each other before TensorFlow does anything. All that can be wrong with settings, data and
        # files is found before the folder is made.
        self.strategy: tf.distribute.Strategy = open_strategy(config)
        self.workers = Workers(self.strategy)
        if config.export and config.selection == "sampled":
            raise ConfigError("--selection sampled: expected --no_export, as there is no one kernel to export; add it")
        self.data = asked_part(config, data or open_images(config))
        steps = self.data.steps_per_epoch(config.batch_size)
        self.ramp = DensityRamp(config.kept, config.ramp_epochs)
        with self.workers.scope():
            self.network = trainable_network(config, drawn_network(config, self.data), self.strategy)
            if config.pretrained is not None:
                start_from(self.network, saved_network(config, config.pretrained, self.data), config.pretrained)
            self.optimizer = make_optimizer(config, self.network, steps)
        self.few_images = next(iter(self.data.test_batches(min(config.val_batch_size, 16))))["images"]
        self._set_density(0)
        self.table = results_table(config)
        self.table.check()
        self.folder = open_place(config, self.workers)
        self.times = StageTimes(self.folder.file("seconds.json"))
        self.kept = KeptNetworks(self.folder, file_notes(config, self.data), every=config.save_every)
        self.recipe = make_training_recipe(config)
        self.objective = make_objective(config)
        self.histograms = self._histograms() if config.histograms and self.workers.is_chief else None

    def whole(self) -> MultiPrizeResult:
        """Training and report."""
        if self.workers.is_chief:
            self.kept.keep_first(self.network)
        with self.times.stage("training"):
            rows = train_network(
                self.network,
                self.optimizer,
                self.recipe,
                data=self.data,
                strategy=self.strategy,
                run=self.folder,
                resume=self.config.resume,
                objective=self.objective,
                before_epoch=self._set_density,
                test=self._tested,
            )
        if not self.workers.is_chief:
            return MultiPrizeResult(self.network, None, network_numbers(self.network))
        return self._report(rows)

    def _set_density(self, epoch: int) -> None:
        """Sets the share of weights that an epoch keeps."""
        if not self.config.dense:
            set_density(self.network, self.ramp(epoch))
            check_passage(self.network, self.few_images)

    def _tested(self) -> dict[str, float]:
        """Makes the masks follow the scores, tests the network, keeps it."""
        refresh_masks(self.network)
        collapsed = check_passage(self.network, self.few_images)
        tested = test_network(self.config, self.network, self.data)
        layers = subnet_layers(self.network)
        density = float(layers[0].density.numpy()) if layers else 1.0
        if self.workers.is_chief:
            self._keep(tested, eligible=density == self.config.kept)
        return {
            "test_loss": tested.loss,
            "test_accuracy": tested.top1,
            "test_top5": tested.top5,
            "density": density,
            "collapsed_layers": len(collapsed),
        }

    def _keep(self, tested: Evaluation, *, eligible: bool) -> None:
        """Keeps the network of an epoch."""
        # A resumed run may begin in the middle of an epoch, so the rows that are there tell which one it is.
        epoch = 1 + len((self.folder.path / "metrics" / "training.jsonl").read_text(encoding="utf-8").splitlines())
        self.kept.keep(self.network, epoch, tested, eligible=eligible)
        if self.histograms is not None:
            self.histograms.write(epoch)

    def _histograms(self) -> Histograms:
        """Histograms, of gradients too: those of as many training images as go through a device at once."""
        recipe = self.recipe
        batches = self.data.training_batches(
            BatchRequest(
                recipe.batch_size,
                epochs=1,
                seed=recipe.seed,
                views=recipe.views,
                view=recipe.view,
                rows=range(recipe.batch_size // (recipe.accumulate * self.strategy.num_replicas_in_sync)),
            )
        )
        probe = GradientProbe(self.network, self.optimizer, self.objective, next(iter(batches)))
        return Histograms(self.folder.folder("events") / "histograms", self.network, probe)

    def _report(self, rows: list[Row]) -> MultiPrizeResult:
        """Measures the result, writes it, prints it: on the chief."""
        config = self.config
        if config.export:
            export_saved_model(self.network, self.folder.file("saved_model"))
        tested = test_network(config, self.network, self.data)
        best = self.kept.best or {}
        last = self.folder.path / "last.keras"
        if not last.exists():  # without epochs
            self.kept.keep(self.network, 0, tested, eligible=False)
        numbers = {
            "finished": self._finished(),
            **network_numbers(self.network),
            "accuracy": tested.top1,
            "top5": tested.top5,
            "loss": tested.loss,
            "best_accuracy": best.get("test_accuracy"),
            "best_top5": best.get("test_top5"),
            "best_epoch": best.get("epoch"),
            "best_train_accuracy": max(
                (float(row["train_accuracy"]) for row in rows if row["density"] == config.kept), default=None
            ),
        }
        numbers |= {f"{stage}_seconds": round(seconds, 1) for stage, seconds in self.times.seconds.items()}
        self.folder.write_result(numbers)
        self.table.append(table_row(config, self.folder, numbers))
        print_result(config, self.network, numbers, tested)
        for note in self.data.notes():
            print(note)
        print(f"results in {self.folder.path}")
        return MultiPrizeResult(self.network, self.folder.path, numbers)

    def _finished(self) -> str:
        """When the run ended for the first time."""
        results = self.folder.path / "results.json"
        if results.exists():
            return json.loads(results.read_text(encoding="utf-8"))["finished"]
        return datetime.now().isoformat(timespec="seconds")
