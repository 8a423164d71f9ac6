import numpy as np
import pytest

from tfprune.data import load_data, prepared_images
from tfprune.errors import DataUnavailableError


class Splits:
    """A prepared data set, as far as it is looked at: images of one value, which says their number."""

    name, data_dir = "mnist", "there"

    def __init__(self, **examples):
        self.info = self
        self.splits = {split: type("Split", (), {"num_examples": count}) for split, count in examples.items()}

    def as_dataset(self, split, **settings):
        assert settings["shuffle_files"] is False
        self.wanted = range(self.splits[split].num_examples)
        return self

    def as_numpy_iterator(self):
        for first in range(0, len(self.wanted), 2):
            numbers = np.array(self.wanted[first : first + 2])
            yield {"image": np.full((len(numbers), 28, 28, 1), numbers[:, None, None, None]), "label": numbers % 10}


@pytest.fixture
def prepared(monkeypatch):
    def prepare(**examples):
        monkeypatch.setattr(prepared_images, "prepared_dataset", lambda name, path, url: Splits(**examples))

    return prepare


def test_images_are_neither_flipped_nor_cropped(prepared):
    prepared(train=5, test=3)
    data = load_data("mnist")
    assert (data.name, data.num_classes, data.input_shape) == ("MNIST", 10, (28, 28, 1))
    assert data.train_images[:, 3, 4, 0].tolist() == data.train_labels.tolist() == [0, 1, 2, 3, 4]
    assert data.test_labels.tolist() == [0, 1, 2]
    assert not data.flip
    assert data.crop_padding == 0
    for value, expected in ((0, -0.42421296), (255, 2.82148653)):
        assert data.normalize(np.full((1, 28, 28, 1), value, np.uint8))[0, 0, 0, 0] == pytest.approx(expected, abs=1e-5)


def test_a_damaged_split_is_named(prepared):
    prepared(train=5)
    with pytest.raises(DataUnavailableError, match="mnist in there cannot be read"):
        load_data("mnist")
