"""The arrays of a data set of images that is whole in memory."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf


@dataclass(frozen=True, eq=False)
class ImageArrays:
    """Images and labels in file order, and how they are normalised and augmented.

    Args:
        name: Name of the data set, as `data_names()` lists it.
        num_classes: Number of classes; labels lie in `0 .. num_classes - 1`.
        train_images: `[train, height, width, channels]`, uint8.
        train_labels: `[train]`, int64.
        test_images: `[test, height, width, channels]`, uint8.
        test_labels: `[test]`, int64.
        mean: Subtracted per channel, on the scale 0 .. 255.
        std: Divided by per channel, after the mean.
        flip: Whether a mirrored image is still an image of its class.
        crop_padding: Pixels by which training images are padded (by reflection) before a crop of their own size.
    """

    name: str
    num_classes: int
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool
    crop_padding: int

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)` of one image."""
        height, width, channels = self.train_images.shape[1:]
        return height, width, channels

    def normalize(self, images: np.ndarray) -> np.ndarray:
        """Images as a network sees them.

        Args:
            images: `[..., height, width, channels]`, on the scale 0 .. 255.

        Returns:
            `(images - mean) / std`, float32 of the same shape.
        """
        return (images.astype(np.float32) - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)

    def normalize_tensor(self, images: tf.Tensor) -> tf.Tensor:
        """The same as `normalize`, on a tensor of any number type."""
        return (tf.cast(images, tf.float32) - tf.constant(self.mean)) / tf.constant(self.std)
