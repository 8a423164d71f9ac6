import numpy as np

from tfprune.data import load_data


def test_split_and_values():
    data = load_data("digits")
    assert data.train_images.shape == (1437, 8, 8, 1)
    assert data.test_images.shape == (360, 8, 8, 1)
    assert data.train_images.dtype == np.uint8
    assert data.train_labels.dtype == np.int64
    assert data.train_images.max() == 255
    assert set(np.unique(data.train_images)) <= {round(grey * 255 / 16) for grey in range(17)}
    assert not data.flip
    assert data.crop_padding == 1
    assert data.num_classes == 10


def test_split_is_stratified_and_always_the_same():
    data, again = load_data("digits"), load_data("digits")
    np.testing.assert_array_equal(data.test_images, again.test_images)
    share = np.bincount(data.test_labels) / np.bincount(np.concatenate([data.test_labels, data.train_labels]))
    np.testing.assert_allclose(share, 360 / 1797, atol=0.005)
    assert data.test_labels[:12].tolist() == [1, 4, 8, 6, 5, 9, 9, 1, 3, 2, 2, 2]


def test_normalised_training_images_are_centred():
    data = load_data("digits")
    x = data.normalize(data.train_images)
    assert abs(x.mean()) < 1e-5
    assert abs(x.std() - 1) < 1e-5
