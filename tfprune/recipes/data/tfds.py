"""Data sets that TensorFlow Datasets (TFDS) has prepared on disk, or prepares if there is a network.

The prepared data are opened from their folder alone, without a network. `prepared_image_data` loads small images into
memory; `tfds_records` reads large ones as they are needed.
"""

import os
import re
import shutil
import threading
import urllib.error
import urllib.request
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.errors import DataUnavailableError, first_line
from tfprune.reading import open_file, read_json, read_text, reading
from tfprune.recipes.data.image_files import within
from tfprune.recipes.data.in_memory import ImageData
from tfprune.recipes.data.record_files import RecordFiles

_AGAIN = "remove that folder and prepare the data again"
_LONGEST_NAMES = 4 << 20  # bytes of the names of classes; the 21,841 of ImageNet have 0.2 MB
_SECONDS_TO_ANSWER = 5.0
_READ_BATCH = 1000


def prepared_dataset(name: str, data_path: str | os.PathLike[str] | None, url: str) -> Any:
    """Returns the builder of a prepared data set; downloads the data first if they are absent.

    A download that fails or is interrupted leaves no new folder.

    Args:
        name: Name in TensorFlow Datasets, such as `cifar10`.
        data_path: The `data_dir` of TensorFlow Datasets; `None` for its default.
        url: Address of the download; without an answer from it, TFDS is not started.

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
    """Returns the builder of a prepared data set, without downloading anything.

    Args:
        name: Name in TensorFlow Datasets.
        data_path: The `data_dir` of TensorFlow Datasets; `None` for its default.

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
    """Returns the error for prepared data that cannot be read."""
    return DataUnavailableError(
        f"the prepared data of {name} in {folder} cannot be read ({first_line(error)}); "
        f"expected files of TensorFlow Datasets; {_AGAIN}"
    )


def _builder(name: str, folder: Path) -> Any:
    """Returns the builder of the data in a folder."""
    import tensorflow_datasets as tfds

    _check_files(folder)
    try:
        return tfds.builder_from_directory(folder)
    except Exception as error:  # a damaged folder can make TensorFlow Datasets raise anything
        raise damaged(name, folder, error) from error


def _check_files(folder: Path) -> None:
    """Raises DataUnavailableError if a file is a pipe or a device, or a text that is larger than those of TFDS."""
    with _reading(folder, "files"):
        for path in sorted(folder.iterdir()):
            with _reading(path, "a file"):
                if path.suffix == ".json":
                    read_json(path, finite=False)
                elif path.suffix == ".txt":
                    read_text(path, _LONGEST_NAMES)
                elif not path.is_dir():
                    open_file(path).close()


def _reading(path: Path, what: str) -> AbstractContextManager[None]:
    return reading(path, f"{what} of TensorFlow Datasets", error=DataUnavailableError, advice=_AGAIN)


def _default_root() -> Path:
    """Returns the default `data_dir` of TensorFlow Datasets."""
    return Path(os.environ.get("TFDS_DATA_DIR") or Path.home() / "tensorflow_datasets")


def _prepared_folder(dataset: Path) -> Path | None:
    """Returns the newest prepared version: a folder named by a version number with `dataset_info.json`."""
    versions = [
        (tuple(map(int, folder.parent.name.split("."))), folder.parent)
        for folder in dataset.glob("*/dataset_info.json")
        if re.fullmatch(r"\d+(\.\d+)*", folder.parent.name)
    ]
    return max(versions)[1] if versions else None


def _downloaded(name: str, root: Path) -> Any:
    """Downloads and prepares a data set and returns its builder."""
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
            raise _unavailable(name, root, f"the download failed: {first_line(error)}") from error
        raise
    return builder


def _first_missing(folder: Path) -> Path | None:
    """Returns the outermost folder of a path that does not exist yet."""
    return next((path for path in reversed([folder, *folder.parents]) if not path.exists()), None)


def _unavailable(name: str, root: Path, reason: str) -> DataUnavailableError:
    """Returns the error for data that are absent and cannot be downloaded."""
    return DataUnavailableError(
        f"no prepared {name} in {root}, and {reason}; use --data_path DIR with a folder that has {name}/ as prepared "
        "by TensorFlow Datasets, or a machine with a network, or --dataset digits, which needs neither"
    )


def prepared_image_data(
    name: str, data_path: str | os.PathLike[str] | None, url: str, *, shape: tuple[int, int, int], **settings: Any
) -> ImageData:
    """Loads a data set of small images with splits `train` and `test`.

    Args:
        name: Name of the data set; its name in TensorFlow Datasets in lower case.
        data_path: Folder that contains it; `None` for the default of TensorFlow Datasets.
        url: Address of the download.
        shape: `(height, width, channels)` of every image.
        **settings: Other fields of `ImageData`.

    Returns:
        The data set.

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
    """Reads a split of small images into arrays, in file order.

    Args:
        builder: From `prepared_dataset`; its examples have an `image` and a `label`.
        split: Name of the split.
        shape: `(height, width, channels)` of every image.

    Returns:
        Images, bytes, `[examples, height, width, channels]`, and labels, `[examples]`.

    Raises:
        DataUnavailableError: The data is damaged.
    """
    import tensorflow_datasets as tfds

    def decoded(example: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        contents = within(example["image"], shape[0] * shape[1])
        image = tf.io.decode_image(contents, shape[2], expand_animations=False)
        return tf.ensure_shape(image, shape), tf.cast(tf.ensure_shape(example["label"], []), tf.int64)

    if builder.info.file_format is tfds.core.FileFormat.TFRECORD:
        split_records(builder, split)
    try:
        count = builder.info.splits[split].num_examples
        dataset = builder.as_dataset(
            split=split,
            shuffle_files=False,
            decoders={"image": tfds.decode.SkipDecoding()},
            read_config=tfds.ReadConfig(interleave_cycle_length=1),
        )
        dataset = dataset.map(decoded, num_parallel_calls=tf.data.AUTOTUNE).batch(_READ_BATCH)
        batches = list(dataset.as_numpy_iterator())
        read = sum(len(labels) for _, labels in batches)
        if not read or read != count:
            raise ValueError(f"{read} of {count} {split} images")
    except Exception as error:  # damaged files can raise anything
        raise damaged(builder.name, builder.data_dir, error) from error
    images, labels = map(np.concatenate, zip(*batches, strict=True))
    return images, labels


def split_records(builder: Any, split: str) -> RecordFiles:
    """Opens the TFRecord files of a split.

    Args:
        builder: From `prepared_dataset` or `opened_dataset`.
        split: Name of the split.

    Returns:
        Its records, as many as the data set says.

    Raises:
        DataUnavailableError: Files are missing or damaged, or contain another number of records.
    """
    try:
        info = builder.info.splits[split]
        if info.num_shards > (files := len(os.listdir(builder.data_dir))):
            raise ValueError(f"{info.num_shards} files of {split} among {files}")
        records = RecordFiles([str(path) for path in info.filepaths], info.num_examples)
        if len(records) != info.num_examples:
            raise ValueError(f"{len(records)} of {info.num_examples} records of {split}")
        return records
    except Exception as error:  # the names and numbers of files are those of the data
        raise damaged(builder.name, builder.data_dir, error) from error


def answers(url: str, seconds: float) -> bool:
    """Returns whether a server answers at an address, be it by an error page.

    Proxies of the environment are used. The request is made in a thread, because the look-up of a name has no time
    limit.

    Args:
        url: The address.
        seconds: How long to wait at most.

    Returns:
        Whether there was an answer in time.
    """
    answered = threading.Event()

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds):
                answered.set()
        except urllib.error.HTTPError:
            answered.set()
        except (OSError, ValueError):
            return

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return answered.is_set()
