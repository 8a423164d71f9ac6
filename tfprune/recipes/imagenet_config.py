"""The settings that methods share where images are read from the disk."""

from dataclasses import dataclass, field
from typing import ClassVar

from tfprune.errors import ConfigError
from tfprune.recipes.run_config import Stem


@dataclass(frozen=True)
class ImageNetConfig:
    """Images of ImageNet, or of data like it; comes before a method's own settings among the bases of a class.

    Attributes:
        data_path: Folder with images train/CLASS/*.JPEG and val/CLASS/*.JPEG (or .jpg, .png), or the data_dir of TFDS.
        dataset: Name of the data set in TFDS; not used for folders of images.
        image_size: Pixels of each side of an image in a batch.
        resize_size: Pixels of the shorter side of a test image, of which the middle is taken.
    """

    POSITIONAL: ClassVar[str] = "data_path"
    IMAGES: ClassVar[str] = "dataset image_size resize_size"

    data_path: str = field(kw_only=True)
    dataset: str = "imagenet2012"
    image_size: int = 224
    resize_size: int = 256
    stem: Stem = "large"
    batch_size: int = 256

    def __post_init__(self) -> None:
        if self.image_size < 1:
            raise ConfigError(f"--image_size: expected a value above 0, received {self.image_size}")
        if self.resize_size < self.image_size:
            raise ConfigError(
                f"--resize_size: expected at least image_size, {self.image_size}, received {self.resize_size}"
            )
        super().__post_init__()  # type: ignore[misc]  # the method's
