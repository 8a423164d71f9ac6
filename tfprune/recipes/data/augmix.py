"""AugMix: mixtures of chains of simple image operations.

`AugMix` is a `View` that augments images as in the paper of Hendrycks et al.; `OPERATIONS` are its image operations,
which call Pillow.
"""

import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.arguments import number, truth, whole_number
from tfprune.recipes.data.views import View

_USUAL = ("autocontrast", "equalize", "posterize", "rotate", "solarize")
_SHIFTS = ("shear_x", "shear_y", "translate_x", "translate_y")
_COLORS = ("color", "contrast", "brightness", "sharpness")
# For images of at most this many bytes, passing Python's lock between threads takes longer than the operations.
_SMALL = 48 * 48 * 3
_TURN = threading.Lock()
_LONGEST = 1000  # operations of a chain, and chains


@dataclass(frozen=True)
class AugMix(View):
    """Mixes an image with a mixture of chains of random Pillow operations on it.

    Args:
        severity: Strength of the operations, up to 10; levels are drawn from 0.1 to it.
        width: Number of chains.
        depth: Operations of a chain; 0 for one to three, drawn for each chain.
        all_operations: Whether to change color, contrast, brightness and sharpness, too. These are among the
            corruptions of CIFAR-10-C, so that a model trained with them must not be tested on it.

    Raises:
        ConfigError: A number is out of range.

    Example:
        >>> image = np.zeros((32, 32, 3), np.uint8)
        >>> AugMix().mixed(image, np.random.RandomState(0)).shape
        (32, 32, 3)

    Reference:
        Hendrycks et al., AugMix (ICLR 2020).
    """

    severity: float = 3
    width: int = 3
    depth: int = 0
    all_operations: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "severity", number("severity", self.severity, at_least=0.1, at_most=10))
        object.__setattr__(self, "width", whole_number("width", self.width, at_most=_LONGEST))
        object.__setattr__(self, "depth", whole_number("depth", self.depth, at_least=0, at_most=_LONGEST))
        object.__setattr__(self, "all_operations", truth("all_operations", self.all_operations))

    def __call__(self, images: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
        """Changes each image, rounded to bytes, by its own draws, see `View`."""

        def mix(images: np.ndarray, seeds: np.ndarray) -> np.ndarray:
            pairs = zip(images, seeds.view(np.uint32), strict=True)
            with _TURN if images[0].size <= _SMALL else nullcontext():
                # Seeding a Mersenne Twister takes 80 microseconds, PCG64 only 6.
                changed = [self.mixed(image, np.random.RandomState(np.random.PCG64(seed))) for image, seed in pairs]
            return np.stack(changed)

        rounded = tf.saturate_cast(tf.round(images), tf.uint8)
        return tf.ensure_shape(tf.numpy_function(mix, [rounded, seeds], tf.float32, stateful=False), images.shape)

    def mixed(self, image: np.ndarray, random: np.random.RandomState) -> np.ndarray:
        """Augments one image.

        Args:
            image: Bytes, `[height, width, 1 or 3]`.
            random: Generator of the draws.

        Returns:
            Float32 of the same shape, on the scale 0 .. 255.
        """
        from PIL import Image

        source = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        weights = random.dirichlet([1] * self.width).astype(np.float32)
        share = np.float32(random.beta(1, 1))
        mixture = np.zeros(image.shape, np.float32)
        for weight in weights:
            chain = source
            for _ in range(self.depth or random.randint(1, 4)):
                chain = self._operations[random.randint(len(self._operations))](chain, self.severity, random)
            mixture += weight * np.asarray(chain, np.float32).reshape(image.shape)
        return (1 - share) * image.astype(np.float32) + share * mixture

    @cached_property
    def _operations(self) -> tuple[Callable[..., Any], ...]:
        names = _USUAL + _SHIFTS + (_COLORS if self.all_operations else ())
        return tuple(OPERATIONS[name] for name in names)


def _level(severity: float, random: np.random.RandomState) -> float:
    """Draws the strength of an operation."""
    return random.uniform(0.1, severity)


def _signed(value: Any, random: np.random.RandomState) -> Any:
    """Negates a value with probability 1/2."""
    return -value if random.uniform() > 0.5 else value


def _autocontrast(image: Any, severity: float, random: np.random.RandomState) -> Any:
    from PIL import ImageOps

    return ImageOps.autocontrast(image)


def _equalize(image: Any, severity: float, random: np.random.RandomState) -> Any:
    from PIL import ImageOps

    return ImageOps.equalize(image)


def _posterize(image: Any, severity: float, random: np.random.RandomState) -> Any:
    from PIL import ImageOps

    return ImageOps.posterize(image, 4 - int(_level(severity, random) * 4 / 10))


def _solarize(image: Any, severity: float, random: np.random.RandomState) -> Any:
    from PIL import ImageOps

    return ImageOps.solarize(image, 256 - int(_level(severity, random) * 256 / 10))


def _rotate(image: Any, severity: float, random: np.random.RandomState) -> Any:
    from PIL import Image

    degrees = _signed(int(_level(severity, random) * 30 / 10), random)
    return image.rotate(degrees, resample=Image.Resampling.BILINEAR)


def _sheared(image: Any, values: tuple[float, ...]) -> Any:
    from PIL import Image

    return image.transform(image.size, Image.Transform.AFFINE, values, resample=Image.Resampling.BILINEAR)


def _translated(image: Any, columns: int, rows: int) -> Any:
    from PIL import Image

    # By whole pixels, so NEAREST gives the same as BILINEAR, up to 25 times as fast.
    return image.transform(image.size, Image.Transform.AFFINE, (1, 0, columns, 0, 1, rows), Image.Resampling.NEAREST)


def _shear_x(image: Any, severity: float, random: np.random.RandomState) -> Any:
    return _sheared(image, (1, _signed(_level(severity, random) * 0.3 / 10, random), 0, 0, 1, 0))


def _shear_y(image: Any, severity: float, random: np.random.RandomState) -> Any:
    return _sheared(image, (1, 0, 0, _signed(_level(severity, random) * 0.3 / 10, random), 1, 0))


def _translate_x(image: Any, severity: float, random: np.random.RandomState) -> Any:
    return _translated(image, _signed(int(_level(severity, random) * (image.size[0] / 3) / 10), random), 0)


def _translate_y(image: Any, severity: float, random: np.random.RandomState) -> Any:
    return _translated(image, 0, _signed(int(_level(severity, random) * (image.size[1] / 3) / 10), random))


def _enhance(name: str) -> Callable[..., Any]:
    """Returns the operation that applies an enhancer of Pillow."""

    def operation(image: Any, severity: float, random: np.random.RandomState) -> Any:
        from PIL import ImageEnhance

        return getattr(ImageEnhance, name)(image).enhance(_level(severity, random) * 1.8 / 10 + 0.1)

    return operation


OPERATIONS: dict[str, Callable[..., Any]] = {
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "posterize": _posterize,
    "rotate": _rotate,
    "solarize": _solarize,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    **{name.lower(): _enhance(name) for name in ("Color", "Contrast", "Brightness", "Sharpness")},
}
"""Functions from an image, a severity and a random generator to the changed image, by name."""
