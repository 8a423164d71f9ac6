"""The trained network that a run starts from: loaded, kept from an earlier run, or trained now."""

import hashlib
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import keras
import tensorflow as tf

from tfprune.errors import ConfigError, RunFolderError
from tfprune.exporting import save_model
from tfprune.recipes.data import BatchRequest, ImageDataset
from tfprune.recipes.ekg.config import EKGConfig
from tfprune.recipes.ekg.train import train
from tfprune.recipes.imagenet_config import ImageNetConfig
from tfprune.recipes.models import build_model, load_checkpoint, model_names
from tfprune.recipes.training import CrossEntropy, RunFolder, Workers

_DECIDING = (
    "arch",
    "dataset",
    "baseline_epoch",
    "baseline_learning_rate",
    "decay_points",
    "decay_rate",
    "weight_decay",
    "batch_size",
    "accum",
    "seed",
    "precision",
)


def baseline_path(config: EKGConfig, data: ImageDataset) -> Path:
    """Where the baseline of these settings is kept; its name carries a digest of all settings that shape it."""
    settings = {name: getattr(config, name) for name in _DECIDING}
    if config.stem != "auto":
        settings["stem"] = config.stem
    if isinstance(config, ImageNetConfig):  # any folder of images can be meant
        settings["images"] = [data.name, data.train_examples, data.num_classes, config.image_size]
    if len(config.gpu_id) > 1 and not config.sync_batch_norm:
        settings["statistics_of_devices"] = len(config.gpu_id)
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    return Path(config.baseline_path) / f"{config.arch}-{config.dataset}-{digest}.keras"


def load_baseline(config: EKGConfig, data: ImageDataset) -> keras.Model | None:
    """Loads the given network, or the baseline that an earlier run kept.

    Args:
        config: Settings; `trained_param` names a file to load.
        data: The data set.

    Returns:
        A plain Keras model that gives logits; None if there is nothing to load.

    Raises:
        ConfigError: There is no such architecture.
        CheckpointError: The file cannot be used.
    """
    if config.arch not in model_names():
        raise ConfigError(f"--arch: expected one of {', '.join(model_names())}; received {config.arch}")
    kept = baseline_path(config, data)
    if config.trained_param is None and not kept.exists():
        return None
    if config.trained_param is None:
        print(f"using the baseline that an earlier run trained: {kept}")
    return load_checkpoint(
        config.trained_param or kept,
        arch=config.arch,
        num_classes=data.num_classes,
        input_shape=data.input_shape,
    )


def prepare_baseline_folder(config: EKGConfig) -> None:
    """Makes the folder of the baselines, and finds out whether files can be written there before hours of training.

    Raises:
        RunFolderError: They cannot.
    """
    folder = Path(config.baseline_path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RunFolderError(
            f"cannot write the folder of baselines {folder}: {error.strerror or error}; give another --baseline_path"
        ) from error


def train_baseline(
    config: EKGConfig, data: ImageDataset, run: RunFolder, strategy: tf.distribute.Strategy
) -> keras.Model:
    """Trains a baseline and keeps it for later runs.

    Args:
        config: Settings.
        data: The data set.
        run: Where a training writes its metrics and checkpoints.
        strategy: The devices.

    Returns:
        A plain Keras model that gives logits.
    """
    kept = baseline_path(config, data)
    request = BatchRequest(config.batch_size, config.baseline_epoch, config.seed)
    trained = train(
        config,
        build_model(
            config.arch,
            num_classes=data.num_classes,
            input_shape=data.input_shape,
            seed=config.seed,
            stem=config.stem,
        ),
        CrossEntropy(),
        lambda start, rows: data.training_batches(replace(request, start_step=start, rows=rows)),
        data=data,
        strategy=strategy,
        run=run,
        name="baseline",
        epochs=config.baseline_epoch,
        learning_rate=config.baseline_learning_rate,
    )
    if Workers(strategy).is_chief:
        save_model(trained, kept)
    return trained
