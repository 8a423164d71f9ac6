"""The settings of EKG on ImageNet."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tfprune.recipes.ekg.config import EKGConfig, KnowledgeType
from tfprune.recipes.imagenet_config import ImageNetConfig


@dataclass(frozen=True)
class EKGImageNetConfig(ImageNetConfig, EKGConfig):  # type: ignore[misc]  # data_path must be given here
    """Settings of `train_imagenet.py`: EKG from the trained network to the fine-tuned small one.

    The authors publish results on ImageNet, but no settings for it: the schedules are those usual for ResNets, the
    images of the search as many as fit into the memory of one device.

    Attributes:
        method: `ekg`; what `train_imagenet.py` is to do. The others are peekaboo, dense, ticket and multiprize:
            `--method METHOD --help`; the words `prune` and `train` before all others are Peek-a-Boo in two stages.
        search_images: Validation images of the search, per class (the last ones of each class of the training set). A
            ResNet-50 of 224 x 224 needs 24 MB of memory for each.
        pretrain_images: Images per class of the short training before the search (the first ones).
        knowledge_dtype: Number format of the memory bank: float16 takes 2 bytes per image, class and teacher.
    """

    GROUPS: ClassVar[Mapping[str, str]] = {
        **EKGConfig.GROUPS,
        "data and network": f"{ImageNetConfig.IMAGES} arch stem trained_param",
    }

    arch: str = "ResNet-50"
    knowledge_dtype: KnowledgeType = "float16"
    baseline_epoch: int = 90
    weight_decay: float = 1e-4
    search_target_rate: float = 0.55
    search_batch_size: int = 64
    search_images: int = 1
    pretrain_images: int = 1
