"""The trained model that a run starts from: in a file, or from an earlier run."""

import hashlib
import json
import tempfile
from pathlib import Path

import keras

from tfprune.errors import ConfigError, RunFolderError
from tfprune.recipes.data import ImageDataset
from tfprune.recipes.ekg.config import EKGConfig
from tfprune.recipes.models import load_checkpoint, model_names
from tfprune.recipes.run_config import ImageNetConfig

_SETTINGS = (
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
    """Returns where the baseline of these settings is stored; its name has a digest of all settings that change it."""
    settings = {name: getattr(config, name) for name in _SETTINGS}
    if config.fraction < 1:
        settings["fraction"] = config.fraction
    if config.stem != "auto":
        settings["stem"] = config.stem
    if isinstance(config, ImageNetConfig):  # any folder of images can be meant
        settings["images"] = [data.name, data.train_examples, data.num_classes, config.image_size]
    if len(config.gpu_id) > 1 and not config.sync_batch_norm:
        settings["statistics_of_devices"] = len(config.gpu_id)
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    return Path(config.baseline_path) / f"{config.arch}-{config.dataset}-{digest}.keras"


def load_baseline(config: EKGConfig, data: ImageDataset) -> keras.Model | None:
    """Loads the given model, or the baseline that an earlier run saved.

    Args:
        config: Settings; `trained_param` names a file to load.
        data: The data set.

    Returns:
        A plain Keras model that returns logits; None if there is nothing to load.

    Raises:
        ConfigError: The architecture does not exist.
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


def check_writable(path: str) -> None:
    """Creates the folder of the baselines; fails early, before hours of training, if files cannot be written there.

    Raises:
        RunFolderError: They cannot be written.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RunFolderError(
            f"cannot write the folder of baselines {folder}: {error.strerror or error}; give another --baseline_path"
        ) from error
