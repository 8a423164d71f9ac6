"""EKG from beginning to end: baseline, search, memory bank, slimming, fine-tuning, evaluation, export."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.exporting import export_saved_model, save_model
from tfprune.graph import complexity
from tfprune.pruning.recalibration import recalibrate_batch_norm
from tfprune.recipes.data import BatchRequest, ImageDataset, ShardedRows, Subsets, search_subsets
from tfprune.recipes.ekg.bank_stage import build_memory_bank
from tfprune.recipes.ekg.baseline import load_baseline, prepare_baseline_folder, train_baseline
from tfprune.recipes.ekg.config import EKGConfig
from tfprune.recipes.ekg.knowledge_loss import KnowledgeObjective
from tfprune.recipes.ekg.search_stage import run_search
from tfprune.recipes.ekg.train import test, train
from tfprune.recipes.ekg.warm_up import warm_up
from tfprune.recipes.models import load_checkpoint
from tfprune.recipes.open_images import open_images
from tfprune.recipes.open_run import open_run
from tfprune.recipes.open_strategy import open_strategy
from tfprune.recipes.training import CrossEntropy, StageTimes, Workers
from tfprune.report import compare_latency, comparison_table

_RECALIBRATION_IMAGES = 2560


@dataclass(frozen=True)
class EKGResult:
    """What a run of EKG gives.

    Attributes:
        model: The small fine-tuned model, stock Keras layers only.
        folder: The run's folder.
        numbers: What stands in `results.csv`.
    """

    model: keras.Model
    folder: Path
    numbers: dict[str, object]


def run(config: EKGConfig) -> EKGResult:
    """Runs EKG with these settings.

    Args:
        config: The settings.

    Returns:
        The small model and the run's numbers.

    Raises:
        TfpruneError: Something the user can mend: settings, data, checkpoint, folder.
        KeyboardInterrupt: After Ctrl-C, when everything done so far was kept.
    """
    return _Run(config).whole()


class _Run:
    """The stages of one run; each keeps its result in the run folder and is skipped if it is there."""

    def __init__(self, config: EKGConfig) -> None:
        self.config = config
        # Workers have to find each other before TensorFlow does anything. All that can be wrong with
        # settings, data and checkpoint is found before the folder is made.
        self.strategy: tf.distribute.Strategy = open_strategy(config)
        self.workers = Workers(self.strategy)
        self.data: ImageDataset = open_images(config)
        self.subsets: Subsets | None = _subsets(config, self.data)
        self.baseline: keras.Model | None = load_baseline(config, self.data)
        if self.baseline is None:
            prepare_baseline_folder(config)
        self.folder = open_run(config, config.train_path or _default_path(config), self.workers)
        self.times = StageTimes(self.folder.file("seconds.json"))

    def whole(self) -> EKGResult:
        """All stages."""
        config = self.config
        baseline = self.baseline
        if baseline is None:
            train_one = partial(train_baseline, config, self.data, self.folder, self.strategy)
            baseline = self._timed("baseline", train_one)
        small, bank = baseline, None
        if self.subsets is not None:
            with self.workers.chief_first():
                small, bank = self._pruned(baseline, self.subsets)
        final = self._fine_tuned(small, bank) if config.train_epoch else small
        if not self.workers.is_chief:
            return EKGResult(final, self.folder.path, {})
        save_model(final, self.folder.file("finetuned.keras"))
        if config.export:
            export_saved_model(final, self.folder.file("saved_model"))
        return self._report(baseline, small, final)

    def _pruned(self, baseline: keras.Model, subsets: Subsets) -> tuple[keras.Model, ShardedRows | None]:
        """The slimmed network, its batch norms recalibrated, and the memory bank if fine-tuning wants it."""
        config = self.config
        warm = self._timed("warm_up", partial(self._warmed_up, baseline, subsets.training))
        found = self._timed("search", partial(run_search, config, warm, self.data, subsets.validation, self.folder))
        bank = None
        if config.Knowledge and config.train_epoch:
            bank = self._timed("memory_bank", partial(build_memory_bank, config, found, self.data, self.folder))
        small = found.slim()
        some = subsets.training[:_RECALIBRATION_IMAGES]
        recalibrate_batch_norm(small, self.data.plain_batches(config.val_batch_size, some))
        save_model(small, self.folder.file("slimmed.keras"))
        return small, bank

    def _warmed_up(self, baseline: keras.Model, subset: np.ndarray) -> keras.Model:
        kept = self.folder.file("warmed_up.keras")
        if kept.exists():
            return load_checkpoint(
                kept,
                arch=self.config.arch,
                num_classes=self.data.num_classes,
                input_shape=self.data.input_shape,
            )
        model, losses = warm_up(self.config, baseline, self.data, subset)
        print(f"short training before the search: loss {losses[0]:.4f} -> {losses[-1]:.4f} in {len(losses)} steps")
        save_model(model, kept)
        return model

    def _fine_tuned(self, small: keras.Model, bank: ShardedRows | None) -> keras.Model:
        config = self.config
        request = BatchRequest(config.batch_size, config.train_epoch, config.seed)
        if bank is not None:
            request = replace(request, views=2, color_jitter=True, knowledge=bank)
        return self._timed(
            "fine_tuning",
            partial(
                train,
                config,
                small,
                CrossEntropy() if bank is None else KnowledgeObjective(self.data.num_classes),
                lambda start, rows: self.data.training_batches(replace(request, start_step=start, rows=rows)),
                data=self.data,
                strategy=self.strategy,
                run=self.folder,
                name="finetuning",
                epochs=config.train_epoch,
                learning_rate=config.learning_rate,
            ),
        )

    def _report(self, baseline: keras.Model, small: keras.Model, final: keras.Model) -> EKGResult:
        """Measures before and after, prints the table, writes the results."""
        original = self.folder.file("baseline.keras")
        save_model(baseline, original)
        models = {"before": baseline, "after": final}
        files = {"before": original, "after": self.folder.file("finetuned.keras")}
        latency = compare_latency(models)
        rows = {}
        for name, model in models.items():
            tested, cost = test(self.config, model, self.data), complexity(model)
            rows[name] = {
                "accuracy": tested.top1,
                "top5": tested.top5,
                "loss": tested.loss,
                "flops": cost.flops,
                "params": cost.params,
                "file_bytes": files[name].stat().st_size,
                "latency_ms": latency[name].median_ms,
            }
        numbers: dict[str, object] = {
            f"{name}_{key}": value for name, row in rows.items() for key, value in row.items()
        }
        numbers["slimmed_accuracy"] = test(self.config, small, self.data).top1
        numbers |= {f"{stage}_seconds": round(seconds, 1) for stage, seconds in self.times.seconds.items()}
        self.folder.write_result(numbers)
        comparison_table(rows)
        for note in self.data.notes():
            print(note)
        print(f"results in {self.folder.path}")
        return EKGResult(final, self.folder.path, numbers)

    def _timed(self, stage, work):  # type: ignore[no-untyped-def]
        with self.times.stage(stage):
            return work()


def _subsets(config: EKGConfig, data: ImageDataset) -> Subsets | None:
    """The search's two subsets, if there is to be one, once it is sure that the data are enough for the settings."""
    images = data.train_examples
    if config.batch_size > images:
        raise ConfigError(
            f"--batch_size: expected at most the {images} training images of {data.name}, received {config.batch_size}"
        )
    if not config.searching:
        return None
    return search_subsets(
        data,
        validation_per_class=config.search_images,
        training_per_class=config.pretrain_images,
        seed=config.search_seed,
    )


def _default_path(config: EKGConfig) -> str:
    return f"runs/ekg/{config.arch}-{config.dataset}-{config.search_target_rate:g}"
