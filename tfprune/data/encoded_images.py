"""Images as files hold them."""

from abc import ABC, abstractmethod

import numpy as np
import tensorflow as tf


class EncodedImages(ABC):
    """One part of a data set, training or test: encoded images with labels, any of them at any time."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abstractmethod
    def labels(self, positions: np.ndarray) -> np.ndarray:
        """Labels, int64, of images at positions `0 .. len - 1`."""

    @abstractmethod
    def read(self, position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """One image in a `tf.data` pipeline.

        Args:
            position: int64 scalar.

        Returns:
            Its encoded bytes (string scalar) and its label (int64 scalar).
        """

    @abstractmethod
    def describe(self, position: int) -> str:
        """What a user would call an image: its path, or its place in a file."""
