"""What a run records in each model file that it writes: see `tfprune.exporting.record`."""

from collections.abc import Mapping
from typing import Any

import tfprune
from tfprune.recipes.data import ImageDataset
from tfprune.recipes.run_config import RunConfig


def run_record(
    config: RunConfig,
    data: ImageDataset,
    file: str,
    *,
    augmentation: Mapping[str, Any],
    numbers: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns what a model is, as plain values: enough to test it anywhere, and to know how it was made.

    Args:
        config: The settings of the run. Folders of this machine are left out, of files only the names are kept.
        data: Its data set.
        file: Name of the file in the run folder, which says which of the run's models it is.
        augmentation: How images are changed for training, besides what the data set does.
        numbers: What is known of this model, such as `epoch` and `test_accuracy`.

    Returns:
        `tfprune` (the version), `method`, `file`, `arch`, `dataset`, `num_classes`, `input_shape`, what
        `ImageDataset.preparation` returns, `numbers`, and `settings`.
    """
    preparation = data.preparation
    return {
        "tfprune": tfprune.__version__,
        "method": config.method,
        "file": file,
        "arch": getattr(config, "arch", None),
        "dataset": data.name,
        "num_classes": data.num_classes,
        "input_shape": list(data.input_shape),
        **preparation,
        "augmentation": {**preparation.get("augmentation", {}), **augmentation},
        "numbers": dict(numbers),
        "settings": config.portable(),
    }
