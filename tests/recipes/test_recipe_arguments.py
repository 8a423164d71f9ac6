"""Every parameter of every public function of the recipes is given what it does not take, and what it should.

As `tests/test_arguments.py` does it for the library.
"""

import keras
import numpy as np
import pytest

from tests.arguments import FILE, wrong_answers
from tests.models import conv_chain
from tfprune import data, ekg, models, multiprize, optimizers, peekaboo, search, tickets, training

IMAGES, LABELS = np.zeros((8, 8, 8, 3), np.uint8), np.arange(8) % 2
DATA = data.ImageData("some", 2, IMAGES, LABELS, IMAGES, LABELS, (0.5,) * 3, (0.5,) * 3, False, 0)
MODEL = conv_chain((8, 8, 3), (4, 4), 2, seed=0)
SIZES = {"num_classes": 2, "input_shape": (8, 8, 3)}
REQUEST = data.BatchRequest(batch_size=2, epochs=1, seed=0)
STEPS = {"epochs": 2, "steps_per_epoch": 3}
LOOP = training.Loop(MODEL, keras.optimizers.SGD(), training.CrossEntropy(), global_batch_size=2)
NOWHERE = {"data_path": "none", "dataset": "tiny-imagenet"}


def images_rows():
    """Returns the rows of models and data sets, by function."""
    return {
        models.build_model: {"arch": "LeNet-300-100", **SIZES},
        models.initialize: {"model": MODEL, "name": "standard"},
        models.initializer: {"name": "standard"},
        models.load_application: {"name": "none"},
        models.load_checkpoint: {"path": FILE, "arch": None, **SIZES},
        models.model_from_arrays: {"arrays": {}, "arch": "LeNet-300-100", **SIZES},
        models.model_names: {},
        data.AugMix: {},
        data.BatchRequest: {"batch_size": 2, "epochs": 1, "seed": 0},
        data.BatchRequest.check: {"self": REQUEST, "data": DATA},
        data.GaussianNoise: {},
        data.ImageData: {
            "name": "some",
            "num_classes": 2,
            "train_images": IMAGES,
            "train_labels": LABELS,
            "test_images": IMAGES,
            "test_labels": LABELS,
            "mean": (0.5,) * 3,
            "std": (0.5,) * 3,
            "flip": False,
            "crop_padding": 0,
        },
        data.ImageData.test_batches: {"self": DATA, "batch_size": 2},
        data.ImageData.plain_batches: {"self": DATA, "batch_size": 2},
        data.ImageData.training_batches: {"self": DATA, "request": REQUEST},
        data.ImageData.train_labels_at: {"self": DATA, "positions": np.arange(2)},
        data.ImageData.prune_images: {"self": DATA, "count": 4},
        data.ImageData.prune_batches: {"self": DATA, "count": 4, "batch_size": 2},
        data.ImageData.steps_per_epoch: {"self": DATA, "batch_size": 2},
        data.ImageData.normalize: {"self": DATA, "images": IMAGES},
        data.PruneBatches: {"data": DATA, "positions": np.arange(8), "batch_size": 4},
        data.ShardedRows: {"shards": [IMAGES]},
        data.Subsets: {"validation": np.arange(2), "training": np.arange(2)},
        data.data_fraction: {"data": DATA, "fraction": 0.5},
        data.fixed_batches: {"images": IMAGES, "labels": LABELS, "data": DATA, "batch_size": 2},
        data.load_data: {"name": "none"},
        data.open_data: {"path": FILE},
        data.random_labels: {"data": DATA},
        data.register_data: {"name": "x", "load": print},
        data.search_subsets: {"data": DATA, "validation_per_class": 1, "training_per_class": 1},
        data.shuffled_pixels: {"data": DATA},
    }


def training_rows():
    """Returns the rows of trainings, by function."""
    return {
        training.CrossEntropy: {},
        training.Consistency: {},
        training.DensityRamp: {"final": 0.5, "epochs": 2},
        training.EpochRates: {"base": 0.1, "policy": "cosine", **STEPS},
        training.EpochRates.rate: {"self": training.EpochRates(0.1, "cosine", **STEPS), "epoch": 0},
        training.PeriodicDecay: {"initial": 0.1, "ratio": 0.5, "every_epochs": 2, "steps_per_epoch": 3},
        training.StepDecay: {"base": 0.1, "points": (0.5,), "rate": 0.1, **STEPS},
        training.SubnetCallback: {},
        training.TrainingConfig: {"batches": REQUEST},
        training.Loop: {
            "model": MODEL,
            "optimizer": keras.optimizers.SGD(),
            "objective": training.CrossEntropy(),
            "global_batch_size": 2,
        },
        training.RunFolder.create: {"path": FILE, "settings": {}},
        training.ScoreEvents: {"folder": FILE},
        training.StageTimes: {"path": FILE},
        training.check_parts: {"batch_size": 8, "chunks": 2, "replicas": 1},
        training.evaluate: {"model": MODEL, "batches": (IMAGES, LABELS)},
        training.predict_logits: {"model": MODEL, "batches": (IMAGES, LABELS)},
        training.recalibrate_batch_norm: {"model": MODEL, "batches": IMAGES},
        training.loss_scaled: {"optimizer": optimizers.SGD(), "precision": "float32"},
        training.make_strategy: {},
        training.missed_drops: {"schedule": training.EpochRates(0.1, "cosine", **STEPS), "epochs": 1},
    }


def method_rows():
    """Returns the rows of the methods, by function."""
    return {
        ekg.EKGConfig: {},
        ekg.KnowledgeObjective: {"classes": 2},
        ekg.MemoryBank: {"folder": FILE},
        ekg.run: {"config": ekg.EKGConfig(**NOWHERE)},
        multiprize.MultiPrizeConfig: {"name": "some", "density": 0.5},
        multiprize.load_original: {"original": FILE, "model": MODEL},
        multiprize.run: {"config": multiprize.MultiPrizeConfig(name="some", density=0.5, **NOWHERE)},
        peekaboo.PeekabooConfig: {},
        peekaboo.find_masks: {
            "config": peekaboo.PeekabooConfig(pruner="Mag", prune_iters=1),
            "model": MODEL,
            "data": DATA,
            "density": 0.5,
        },
        peekaboo.run: {"config": peekaboo.PeekabooConfig(**NOWHERE)},
        tickets.DenseConfig: {},
        tickets.TicketConfig: {},
        tickets.find_ticket: {"config": tickets.TicketConfig(ticket="random"), "model": MODEL, "data": DATA},
        tickets.run: {"config": tickets.DenseConfig(**NOWHERE)},
    }


VALID = images_rows() | training_rows() | method_rows()
OF_THE_USER = frozenset({"on_scores", "objective", "load"})
"""Functions of the user."""


@pytest.mark.parametrize("function", VALID, ids=lambda each: each.__qualname__)
def test_wrong_values_are_answered_in_one_line(function, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert list(wrong_answers(function, VALID[function], tmp_path, OF_THE_USER)) == []


MADE_INSIDE = {
    *("Application", "Evaluation", "EKGResult", "MultiPrizeResult", "PeekabooResult", "TicketResult"),
    *("ImageDataset", "Objective", "View"),
}
"""Results that functions with a row make, and what users derive from."""

ELSEWHERE = {
    "RunFolder": "its `create` has a row",
    "StreamedData": "open_data makes it",
    "Workers": "made of a strategy",
    "GradientProbe": "takes what Loop takes",
    "fast_copy": "takes what convert takes",
    "train_model": "takes what Loop takes",
    "GracefulInterrupt": "no parameters",
    "application_names": "no parameters",
    "data_names": "no parameters",
    "initializer_names": "no parameters",
}
"""Public names without a row, and why."""


@pytest.mark.parametrize(
    "package", [models, data, training, ekg, multiprize, peekaboo, tickets], ids=lambda each: each.__name__
)
def test_every_public_name_of_a_package_has_a_row(package):
    public = {name: getattr(package, name) for name in package.__all__ if name not in search.__all__}
    missing = {name for name, each in public.items() if callable(each) and each not in VALID}
    assert missing <= MADE_INSIDE | ELSEWHERE.keys()
