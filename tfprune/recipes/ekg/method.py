"""EKG from beginning to end: baseline, search, memory bank, slimming, fine-tuning, evaluation, export."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tfprune.arguments import instance
from tfprune.errors import ConfigError
from tfprune.exporting import save_model
from tfprune.files import folder_lock
from tfprune.graph import complexity, convert
from tfprune.masks import Masks
from tfprune.optimizers import SGD
from tfprune.pruning.recalibration import recalibrate_batch_norm
from tfprune.recipes.data import ImageDataset, ShardedRows, Subsets, search_subsets
from tfprune.recipes.ekg.baseline import baseline_path, check_writable, load_baseline
from tfprune.recipes.ekg.config import EKGConfig
from tfprune.recipes.ekg.knowledge_loss import KnowledgeObjective
from tfprune.recipes.ekg.stages import build_memory_bank, check_room, run_search, warm_up
from tfprune.recipes.method import Method, Result, plain
from tfprune.recipes.models import TRAINED_MODEL
from tfprune.recipes.training import Evaluation, StepDecay
from tfprune.report import compare_latency, comparison_table

_RECALIBRATION_IMAGES = 2560
_VIEWS: dict[str, Any] = {"views": 2, "color_jitter": True}
EKGResult = Result


def run(config: EKGConfig, data: ImageDataset | None = None) -> Result:
    """Runs EKG with these settings.

    Args:
        config: The settings.
        data: The data set. Default: the one that the settings name.

    Returns:
        The small fine-tuned model, with built-in Keras layers only, and the numbers of the run.

    Raises:
        TfpruneError: Something that the user can fix: settings, data, checkpoint, folder.
        KeyboardInterrupt: After Ctrl-C, when everything done so far was saved.

    Reference:
        Lee and Song, Ensemble Knowledge Guided Sub-network Search and Fine-tuning for Filter Pruning (ECCV 2022).
    """
    instance("config", config, EKGConfig, "an EKGConfig")
    return EKGMethod(config, data).run()


class EKGMethod(Method[EKGConfig]):
    """Searches a trained model for its best smaller sub-network and fine-tunes it with an ensemble's knowledge."""

    def prepare_data(self, data: ImageDataset) -> ImageDataset:
        """Returns the data of search, memory bank and trainings; fails early if they do not fill one batch."""
        data = super().prepare_data(data)
        batch_size, images = self.config.batch_size, data.train_examples
        if batch_size > images:
            raise ConfigError(
                f"--batch_size: expected at most the {images} training images of {data.name}, received {batch_size}"
            )
        return data

    def setup(self) -> None:
        """Chooses the images of the search and loads the baseline if there is one."""
        config = self.config
        self.subsets: Subsets | None = None
        if config.searching:
            self.subsets = search_subsets(
                self.data,
                validation_per_class=config.search_images,
                training_per_class=config.pretrain_images,
                seed=config.search_seed,
            )
        self.baseline = load_baseline(config, self.data)
        if self.baseline is None:
            check_writable(config.baseline_path)

    def stages(self) -> tuple[keras.Model, Masks | None]:
        """Trains the baseline if there is none, searches, slims and fine-tunes."""
        config = self.config
        if self.workers.is_chief:
            check_room(config, self.data, self.folder)
        if self.baseline is None:
            with self.times.stage("baseline"):
                self.baseline = self.train_baseline()
        self.small, bank = self.baseline, None
        if self.subsets is not None:
            self.small, bank = self._slimmed(self.baseline, self.subsets)
        if not config.train_epoch:
            return self.small, None
        with self.times.stage("fine_tuning"):
            final = self.trained(
                self.small,
                name="finetuning",
                epochs=config.train_epoch,
                learning_rate=config.learning_rate,
                bank=bank,
            )
        return final, None

    def numbers(self, tested: Evaluation, model: keras.Model, masks: Masks | None) -> dict[str, object]:
        """Returns the columns of the results: accuracy, size and speed before and after."""
        assert self.baseline is not None, "the stages train it"
        self.save(self.baseline, "baseline.keras")
        models = {"before": self.baseline, "after": model}
        files = {"before": "baseline.keras", "after": TRAINED_MODEL}
        latency = compare_latency(models)
        self.rows: dict[str, dict[str, Any]] = {}
        for name, each in models.items():
            result, cost = tested if each is model else self.test(each), complexity(each)
            self.rows[name] = {
                "accuracy": result.top1,
                "top5": result.top5,
                "loss": result.loss,
                "flops": cost.flops,
                "params": cost.params,
                "file_bytes": self.folder.file(files[name]).stat().st_size,
                "latency_ms": latency[name].median_ms,
            }
        numbers = {f"{name}_{key}": value for name, row in self.rows.items() for key, value in row.items()}
        return numbers | {"slimmed_accuracy": self.test(self.small).top1}

    def print_result(self, tested: Evaluation, numbers: Mapping[str, Any]) -> None:
        """Prints the model before and after in a table."""
        comparison_table(self.rows)

    @property
    def default_path(self) -> str:
        """Path of the run folder if the settings name none."""
        return f"runs/ekg/{self.arch}-{self.config.dataset}-{self.config.search_target_rate:g}"

    def augmentation(self, file: str) -> dict[str, Any]:
        """Returns how images are changed besides what the data set does: for fine-tuning with the memory bank."""
        learns = self.config.Knowledge and self.config.searching and self.config.train_epoch > 0
        return _VIEWS if learns and file in (TRAINED_MODEL, "saved_model") else {}

    def test(self, model: keras.Model, *, batch_statistics: bool = False) -> Evaluation:
        """Evaluates a model on the test images, with the statistics of each batch if the settings say so."""
        return super().test(model, batch_statistics=batch_statistics or self.config.batch_statistics)

    def fast_model(self, model: keras.Model) -> keras.Model:
        """Returns a copy for training: number format of the settings, fused batch norm with Keras' averages."""
        config = self.config
        options = {"synchronized": config.sync_batch_norm and self.strategy.num_replicas_in_sync > 1}
        return convert(model, "fused", dtype=config.precision, options=options)

    def train_baseline(self) -> keras.Model:
        """Trains a new model and saves it for this and later runs."""
        config = self.config
        model = self.trained(
            self.build_model(seed=config.seed),
            name="baseline",
            epochs=config.baseline_epoch,
            learning_rate=config.baseline_learning_rate,
        )
        if self.workers.is_chief:
            kept = baseline_path(config, self.data)
            with folder_lock(kept.parent):  # other runs may have trained the same
                save_model(model, kept, record=self.record("baseline.keras"))
        return model

    def trained(
        self,
        model: keras.Model,
        *,
        name: str,
        epochs: int,
        learning_rate: float,
        bank: ShardedRows | None = None,
    ) -> keras.Model:
        """Returns a copy of a plain model, plain, trained by SGD with a learning rate that drops in steps.

        Args:
            model: A plain model that returns logits. It is not changed.
            name: Name of the training in the run folder.
            epochs: Number of epochs.
            learning_rate: Learning rate of the first epochs.
            bank: Logits of the teachers, `[images, classes, teachers]`. With them the model learns from the teachers
                and from two augmented views of each image, besides the labels.
        """
        config, flops = self.config, complexity(model).flops
        steps = self.data.steps_per_epoch(config.batch_size)
        rate = StepDecay(learning_rate, config.decay_points, config.decay_rate, epochs, steps)
        self.tell_missed_drops(rate, epochs, "decay_points")
        fast, optimizer = self.trainable(
            model,
            lambda fast: fast,
            lambda _: SGD(rate, momentum=0.9, nesterov=True, weight_decay=config.weight_decay),
        )
        options: dict[str, Any] = {}
        if bank is not None:
            options = {
                "batches": _VIEWS | {"knowledge": bank},
                "objective": KnowledgeObjective(self.data.num_classes),
            }

        def test() -> dict[str, float]:
            tested = self.test(fast)
            return {"test_loss": tested.loss, "test_accuracy": tested.top1}

        self.train(
            fast,
            optimizer,
            epochs=epochs,
            name=name,
            test=test,
            description=name,
            postfix=lambda: f"FLOPs {flops / 1e6:.1f} M",
            **options,
        )
        return plain(fast)

    def _slimmed(self, baseline: keras.Model, subsets: Subsets) -> tuple[keras.Model, ShardedRows | None]:
        """Returns the slimmed model with recalibrated batch norms, and the memory bank if fine-tuning uses it."""
        config = self.config
        with self.times.stage("warm_up"):
            warm = self.cached(
                "warmed_up.keras",
                lambda: self._warmed_up(baseline, subsets.training),
                self.load_model,
                lambda model, file: self.save(model, file.name),
            )
        with self.workers.chief_first():
            with self.times.stage("search"):
                found = run_search(config, warm, self.data, subsets.validation, self.folder)
            bank = None
            if config.Knowledge and config.train_epoch:
                with self.times.stage("memory_bank"):
                    bank = build_memory_bank(config, found, self.data, self.folder)
            small = found.slim()
            images = subsets.training[:_RECALIBRATION_IMAGES]
            recalibrate_batch_norm(small, self.data.plain_batches(config.val_batch_size, images))
            self.save(small, "slimmed.keras")
        return small, bank

    def _warmed_up(self, baseline: keras.Model, images: np.ndarray) -> keras.Model:
        """Returns the baseline after the short training before the search."""
        model, losses = warm_up(self.config, baseline, self.data, images)
        print(f"short training before the search: loss {losses[0]:.4f} -> {losses[-1]:.4f} in {len(losses)} steps")
        return model
