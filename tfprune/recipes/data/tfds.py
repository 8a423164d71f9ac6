"""Finding a data set that TensorFlow Datasets has prepared, or preparing it where there is a network."""

import os
import shutil
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.errors import DataUnavailableError
from tfprune.recipes.data.in_memory import ImageData

_SECONDS_TO_ANSWER = 5.0
_READ_BATCH = 1000


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


def prepared_image_data(
    name: str, data_path: str | os.PathLike[str] | None, url: str, *, shape: tuple[int, int, int], **settings: Any
) -> ImageData:
    """A data set of small images with splits `train` and `test`.

    Args:
        name: Of the data set; in lower case that of TensorFlow Datasets.
        data_path: Folder that holds it; `None` for the default of TensorFlow Datasets.
        url: Where it is fetched from, for messages.
        shape: `(height, width, channels)` of every image.
        **settings: The other fields of `ImageData`.

    Raises:
        DataUnavailableError: The data is absent and cannot be downloaded, or is damaged.
    """
    builder = prepared_dataset(name.lower(), data_path, url)
    train_images, train_labels = prepared_images(builder, "train", shape)
    test_images, test_labels = prepared_images(builder, "test", shape)
    return ImageData(
        name=name,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        **settings,
    )


def prepared_images(builder: Any, split: str, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """One split of small images as arrays, in file order.

    Args:
        builder: That of `prepared_dataset`; its examples have an `image` and a `label`.
        split: Name of the split.
        shape: `(height, width, channels)` of every image.

    Returns:
        Images, bytes, `[examples, height, width, channels]`, and labels, `[examples]`.

    Raises:
        DataUnavailableError: The data is damaged.
    """
    import tensorflow_datasets as tfds

    try:
        count = builder.info.splits[split].num_examples
        images = np.empty((count, *shape), np.uint8)
        labels = np.empty(count, np.int64)
        dataset = builder.as_dataset(
            split=split,
            shuffle_files=False,
            batch_size=_READ_BATCH,
            read_config=tfds.ReadConfig(interleave_cycle_length=1),
        )
        read = 0
        for batch in dataset.as_numpy_iterator():
            end = read + len(batch["label"])
            images[read:end], labels[read:end] = batch["image"], batch["label"]
            read = end
    except Exception as error:  # whatever damaged files make TensorFlow and TensorFlow Datasets raise
        raise damaged(builder.name, builder.data_dir, error) from error
    if read != count:
        raise damaged(builder.name, builder.data_dir, ValueError(f"{read} of {count} {split} images"))
    return images, labels


def answers(url: str, seconds: float) -> bool:
    """Whether anything answers at this address within a time, whatever it answers.

    Proxies of the environment are used. The question is put in a thread of its own, as the look-up of a name cannot
    be given a time limit.

    Args:
        url: Address to ask for.
        seconds: How long to wait at most.

    Returns:
        Whether there was an answer, be it an error page.
    """
    heard = threading.Event()

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds):
                heard.set()
        except urllib.error.HTTPError:
            heard.set()
        except (OSError, ValueError):
            return

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return heard.is_set()
