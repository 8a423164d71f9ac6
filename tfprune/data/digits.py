"""Handwritten digits, 8 x 8 grey: the data set that needs no network and trains in seconds."""

import numpy as np

from tfprune.data.image_data import ImageData

_TEST_IMAGES = 360
_SPLIT_SEED = 0


def load_digits() -> ImageData:
    """The 1797 digits that come with scikit-learn, 1437 to train on and 360 to test with.

    The split is stratified and always the same (scikit-learn's `train_test_split` with `random_state=0`); both parts
    keep the order of the file. Grey values 0 .. 16 are stretched to 0 .. 255. A mirrored digit is no digit, so `flip`
    is off, and at 8 pixels a digit is moved by one pixel at most.

    Returns:
        The data set; its mean and standard deviation are those of the training images.

    Reference:
        E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI (1998).
    """
    from sklearn.datasets import load_digits as bundled
    from sklearn.model_selection import train_test_split

    file = bundled()
    images = np.round(file.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = file.target.astype(np.int64)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=_TEST_IMAGES, stratify=labels, random_state=_SPLIT_SEED
    )
    train, test = np.sort(train), np.sort(test)
    return ImageData(
        name="digits",
        num_classes=10,
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        mean=(float(images[train].mean()),),
        std=(float(images[train].std()),),
        flip=False,
        crop_padding=1,
    )
