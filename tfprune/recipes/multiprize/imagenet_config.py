"""The settings of multi-prize tickets on ImageNet."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tfprune.recipes.imagenet_config import ImageNetConfig
from tfprune.recipes.multiprize.config import MultiPrizeConfig


@dataclass(frozen=True)
class MultiPrizeImageNetConfig(ImageNetConfig, MultiPrizeConfig):  # type: ignore[misc]  # data_path must be given here
    """Multi-prize tickets on ImageNet, or on data like it: a good binary sub-network of a random network.

    The defaults are the authors' recipe for ResNet-50; `configs/multiprize/imagenet_*.yaml` have all of theirs.

    Attributes:
        method: `multiprize`; what `train_imagenet.py` is to do.
        fraction: 1, as images are read from the disk.
        arch: Architecture, such as ResNet-50, WideResNet-34-2.
        weight_decay: L2 coefficient of SGD, added to the gradients; Adam has none. Default: 2^-15.
    """

    GROUPS: ClassVar[Mapping[str, str]] = {
        **MultiPrizeConfig.GROUPS,
        "data and network": " ".join(
            (
                ImageNetConfig.IMAGES,
                *(name for name in MultiPrizeConfig.GROUPS["data and network"].split() if not name.startswith("data")),
            )
        ),
    }

    arch: str = "ResNet-50"
    learning_rate: float = 0.256
    warmup_epochs: int = 5
    momentum: float = 0.875
    weight_decay: float = 2**-15
    label_smoothing: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.fraction == 1, "fraction", "1, as images are read from the disk here")
