"""Finding a data set that TensorFlow Datasets has prepared, or preparing it where there is a network."""

import os
import shutil
from pathlib import Path
from typing import Any

from tfprune.data.network import answers
from tfprune.errors import DataUnavailableError

_SECONDS_TO_ANSWER = 5.0


def prepared_dataset(name: str, data_path: str | os.PathLike[str] | None, url: str) -> Any:
    """The builder of a prepared data set; downloads it first where it is absent.

    Prepared data is opened from its folder alone, so nothing is asked of any network. A download that fails or is
    interrupted leaves no folder behind that was not there before.

    Args:
        name: Name in TensorFlow Datasets, like `"cifar10"`.
        data_path: The `data_dir` of TensorFlow Datasets; `None` for its own default.
        url: Address the download comes from, asked first whether it answers.

    Returns:
        A `tfds.core.DatasetBuilder` whose data is on disk.

    Raises:
        DataUnavailableError: The data is absent and cannot be downloaded.
    """
    root = Path(data_path) if data_path is not None else _default_root()
    folder = _prepared_folder(root / name)
    if folder is not None:
        return _builder(name, folder)
    if not answers(url, _SECONDS_TO_ANSWER):
        raise _unavailable(name, root, f"{url} does not answer")
    return _downloaded(name, root)


def opened_dataset(name: str, data_path: str | os.PathLike[str] | None) -> Any:
    """The builder of a data set that has been prepared before; nothing is downloaded.

    Args:
        name: Name in TensorFlow Datasets.
        data_path: The `data_dir` of TensorFlow Datasets; `None` for its own default.

    Returns:
        A `tfds.core.DatasetBuilder` whose data is on disk.

    Raises:
        DataUnavailableError: The data is absent or damaged.
    """
    root = Path(data_path) if data_path is not None else _default_root()
    folder = _prepared_folder(root / name)
    if folder is None:
        raise DataUnavailableError(
            f"no prepared {name} in {root}; expected {name}/VERSION/dataset_info.json there, as `tfds build` of "
            "TensorFlow Datasets writes it"
        )
    return _builder(name, folder)


def damaged(name: str, folder: str | os.PathLike[str], error: Exception) -> DataUnavailableError:
    """The error for prepared data that cannot be read."""
    return DataUnavailableError(
        f"the prepared data of {name} in {folder} cannot be read ({_first_line(error)}); "
        "expected what TensorFlow Datasets writes; remove that folder and prepare the data anew"
    )


def _builder(name: str, folder: Path) -> Any:
    import tensorflow_datasets as tfds

    try:
        return tfds.builder_from_directory(folder)
    except Exception as error:  # whatever a damaged folder makes TensorFlow Datasets raise
        raise damaged(name, folder, error) from error


def _default_root() -> Path:
    return Path(os.environ.get("TFDS_DATA_DIR") or Path.home() / "tensorflow_datasets")


def _prepared_folder(dataset: Path) -> Path | None:
    """The newest prepared version: folders named by a version number that hold `dataset_info.json`."""
    versions = [
        (tuple(map(int, folder.parent.name.split("."))), folder.parent)
        for folder in dataset.glob("*/dataset_info.json")
        if folder.parent.name.replace(".", "").isdecimal()
    ]
    return max(versions)[1] if versions else None


def _downloaded(name: str, root: Path) -> Any:
    import tensorflow_datasets as tfds

    tfds.enable_progress_bar()
    made = _first_missing(root), root / name, root / "downloads"
    absent = [folder for folder in made if folder is not None and not folder.exists()]
    try:
        builder = tfds.builder(name, data_dir=root)
        builder.download_and_prepare()
    except BaseException as error:
        for folder in absent:
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, Exception):
            raise _unavailable(name, root, f"the download failed: {_first_line(error)}") from error
        raise
    return builder


def _first_missing(folder: Path) -> Path | None:
    """The outermost folder of a path that does not exist yet."""
    return next((path for path in reversed([folder, *folder.parents]) if not path.exists()), None)


def _unavailable(name: str, root: Path, reason: str) -> DataUnavailableError:
    return DataUnavailableError(
        f"no prepared {name} in {root}, and {reason}; use --data_path DIR with a folder that holds {name}/ as prepared "
        "by TensorFlow Datasets, or a machine with a network, or --dataset digits, which needs neither"
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
