"""MNIST through TensorFlow Datasets."""

import os

from tfprune.data.image_data import ImageData
from tfprune.data.prepared_images import prepared_image_data

_URL = "https://storage.googleapis.com/cvdf-datasets/mnist/train-labels-idx1-ubyte.gz"
_SHAPE = (28, 28, 1)
# of the training images on the scale 0 .. 1, as everybody rounds them
_MEAN, _STD = 0.1307, 0.3081


def load_mnist(data_path: str | os.PathLike[str] | None = None) -> ImageData:
    """MNIST in file order: 60 000 and 10 000 images of 28 x 28 x 1 in 10 classes; neither flipped nor cropped.

    Args:
        data_path: Folder that holds `mnist/`; `None` for the default of TensorFlow Datasets.

    Returns:
        The data set.

    Raises:
        DataUnavailableError: The data is absent and cannot be downloaded, or is damaged.

    Reference:
        LeCun et al., "Gradient-based learning applied to document recognition" (1998).
    """
    return prepared_image_data(
        "MNIST",
        data_path,
        _URL,
        shape=_SHAPE,
        num_classes=10,
        mean=(255 * _MEAN,),
        std=(255 * _STD,),
        flip=False,
        crop_padding=0,
    )
