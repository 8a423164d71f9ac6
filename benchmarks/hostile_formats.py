"""The formats that tfprune reads: how valid files are made, and how each is read as a user's command reads it."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hostile_samples as samples
import numpy as np
import tensorflow_datasets.image_classification  # noqa: F401  (imported here, once, and not in every child)

from tfprune.cli.examples import load_examples
from tfprune.cli.model_files import file_size
from tfprune.cli.parser import parse
from tfprune.cluster import Cluster
from tfprune.exporting import TFLiteFile, load_packed, read_packed_record, read_record
from tfprune.exporting.tflite_file import _TRIAL
from tfprune.graph import prunable_weights
from tfprune.landscape import Section
from tfprune.masks import Ticket
from tfprune.model_file import load_model
from tfprune.models import load_checkpoint
from tfprune.pruning import PruningHistory
from tfprune.recipes.data import ImageData, load_data, open_data
from tfprune.recipes.data.tfds import opened_dataset, prepared_images
from tfprune.recipes.dpp.kernels import StudentKernels
from tfprune.recipes.dpp.pruning import PrunedStudents
from tfprune.recipes.dpp.student import TrainedStudent
from tfprune.recipes.dpp.teacher import TeacherTask
from tfprune.recipes.ekg.config import EKGConfig
from tfprune.recipes.ekg.memory_bank import BankShards
from tfprune.recipes.ekg.stages import load_state
from tfprune.recipes.models.checkpoint import model_file, recorded_origin, stored_shape
from tfprune.recipes.multiprize.original_checkpoint import read_original
from tfprune.recipes.tickets.config import DenseConfig
from tfprune.recipes.tickets.method import run as train
from tfprune.recipes.training import StageTimes
from tfprune.recipes.training.run_folder import RunFolder

_IMAGES: dict[str, Any] = {"num_classes": samples.CLASSES, "input_shape": samples.SHAPE}


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        says: What it is, in words.
        make: Makes the valid inputs in a folder.
        read: Reads the input in a folder.
        share: Part of the inputs that it gets, in proportion; less for what takes long.
        in_files: Whether it is in files, so that there may be something else than a file in its place.
        program: The program that its reader starts, in Python.
    """

    says: str
    make: Callable[[Path], None]
    read: Callable[[Path], Any]
    share: float = 1.0
    in_files: bool = True
    program: str = ""


def _only(folder: Path) -> Path:
    """Returns the file of an input that has one."""
    return next((path for path in sorted(folder.iterdir()) if path.name != "tmp"), folder / "missing.npz")


def _pickle(folder: Path) -> None:
    load_checkpoint(folder / "input.pkl", arch=samples.ARCH, **_IMAGES)


def _torch(folder: Path) -> None:
    _ = read_original(folder / "input.pth").settings


def _dpp(folder: Path) -> None:
    path = str(_only(folder))
    kinds = {"teacher.npz": TeacherTask, "student.npz": TrainedStudent, "pruned.npz": PrunedStudents}
    if Path(path).name in kinds:
        kinds[Path(path).name].load(path)
        return
    from tfprune.dpp import Committee

    rng = np.random.default_rng(0)
    StudentKernels.stored(path, "node", Committee(rng.normal(size=(4, 6)), rng.normal(size=4)), np.eye(6))


def _masks(folder: Path) -> None:
    ticket = Ticket.load(_only(folder))
    model = samples.small_model()
    ticket.masks.check(prunable_weights(model))
    ticket.start(model, arch="small", classes=4)


def _packed(folder: Path) -> None:
    read_packed_record(folder / "model.mpt")
    load_packed(folder / "model.mpt")


def _keras(folder: Path) -> None:
    path = str(folder / "model.keras")
    load_model(path)
    file_size(path)
    read_record(path)


def _weights(folder: Path) -> None:
    file = model_file(folder / "run")
    recorded_origin(file)
    stored_shape(file)
    load_checkpoint(folder / "run", arch=samples.ARCH, **_IMAGES)


def _tflite(folder: Path) -> None:
    path = folder / "model.tflite"
    read_record(path)
    TFLiteFile(path).caller(1)()


def _plan(folder: Path) -> None:
    model = samples.small_model()
    plans = PruningHistory.load(folder / "plan.json")
    plans.check(model)
    for plan in plans.plans:
        plan.explain(width=80)
    plans.replay(model)


def _settings(folder: Path) -> None:
    parse(EKGConfig, ["--config", str(folder / "input.yaml")], prog="tfprune ekg")


def _run(folder: Path) -> None:
    try:
        _resumed_and_replaced(folder)
    finally:
        if not os.path.lexists(folder / "other.txt"):
            raise AssertionError("a file of the user beside the run is gone")


def _resumed_and_replaced(folder: Path) -> None:
    with RunFolder.create(folder / "run", samples.RUN_SETTINGS, resume=True) as run:
        run.metrics("training", last_step=30)
        StageTimes(run.file("seconds.json"))
    RunFolder.create(folder / "run", samples.RUN_SETTINGS, overwrite=True).close()


def _few_digits() -> ImageData:
    data = load_data("digits")
    part = {name: getattr(data, name)[:40] for name in ("train_images", "train_labels", "test_images", "test_labels")}
    return type(data)(**{field: getattr(data, field) for field in data.__dataclass_fields__} | part)


def trained(folder: Path) -> None:
    """Trains for an epoch, or resumes the run in the folder."""
    settings: dict[str, Any] = {"arch": "Conv2-BN", "dataset": "digits", "epochs": 1, "batch_size": 20}
    settings |= {"train_path": str(folder / "run"), "export": False, "resume": True, "val_batch_size": 20}
    train(DenseConfig(**settings), _few_digits())


def bank(folder: Path) -> BankShards:
    """Opens the memory bank in a folder."""
    settings = {"shape": [7, 3, 2], "dtype": "float32", "batch_size": 4, "shard_images": 4, "teachers": "ab12"}
    return BankShards(folder, settings, [4, 3], ((3, 2), "float32"))


def _bank(folder: Path) -> None:
    shards = bank(folder)
    if not shards.missing():
        shards.rows()


def _cluster(folder: Path) -> None:
    text = (folder / "input.json").read_bytes().replace(b"\0", b"")
    Cluster.from_json(os.fsdecode(text))  # as the environment has it


def _examples(folder: Path) -> None:
    load_examples(str(folder / "input.npz"), None, 4, samples.small_model())


def _images(folder: Path) -> None:
    data = open_data(folder, image_size=16, resize_size=16)
    for batch in data.test_batches(4):
        assert np.isfinite(batch["images"]).all()


def _tiny_imagenet(folder: Path) -> None:
    load_data("tiny-imagenet", str(folder))


def _prepared(folder: Path) -> None:
    prepared_images(opened_dataset("colors", folder), "test", (9, 8, 3))
    for batch in open_data(folder, "colors", image_size=4, resize_size=4).test_batches(4):
        assert np.isfinite(batch["images"]).all()


FORMATS = {
    "pkl": Format("pickled weights, .pkl", samples.pickles, _pickle),
    "pth": Format("checkpoints of PyTorch, .pth", samples.torch_files, _torch),
    "dpp": Format("teachers, students, masks of dpp, .npz", samples.dpp_files, _dpp),
    "search": Format("state of a search, .npz", samples.search_states, lambda folder: load_state(_only(folder))),
    "masks": Format("masks and tickets, .npz", samples.masks_files, _masks),
    "examples": Format("examples of the user, .npz", samples.example_files, _examples),
    "packed": Format("packed models, .mpt", samples.packed_files, _packed),
    "keras": Format("models, .keras", samples.keras_files, _keras),
    "weights": Format("models in folders of runs, .keras", samples.weights_files, _weights, 0.5),
    "tflite": Format("TFLite files", samples.tflite_files, _tflite, 0.3, program=_TRIAL),
    "plan": Format("pruning plans and histories, JSON", samples.plan_files, _plan, 0.5),
    "settings": Format("settings, YAML", samples.settings_files, _settings),
    "run": Format("tables and notes of run folders", samples.run_folders, _run),
    "resume": Format("whole run folders, checkpoints included", samples.resumed_runs, trained, 0.1),
    "bank": Format("memory banks, notes and shards", samples.banks, _bank),
    "cluster": Format("TF_CONFIG, JSON", samples.clusters, _cluster, in_files=False),
    "section": Format("sections of the loss, JSON", samples.sections, lambda folder: Section.load(_only(folder))),
    "images": Format("folders of JPEG and PNG images", samples.image_folders, _images, 0.3),
    "tiny": Format("Tiny-ImageNet, with its annotations", samples.tiny_imagenets, _tiny_imagenet, 0.3),
    "tfds": Format("data of TensorFlow Datasets", samples.prepared_data, _prepared, 0.3),
}
