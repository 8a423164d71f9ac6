"""The settings of EKG, whose fields are the flags and the YAML keys."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from tfprune.errors import ConfigError
from tfprune.recipes.catalog import register_method
from tfprune.recipes.run_config import RunConfig
from tfprune.settings import require, setting

SearchPrecision = Literal["float32", "mixed_bfloat16"]
KnowledgeType = Literal["float32", "float16"]
RecordedLandscape = Literal["sections", "hessian"]


@dataclass(frozen=True)
class EKGConfig(RunConfig):
    """EKG: searches channels to remove from a trained model, then fine-tunes the smaller model.

    The names are those of the original's command line. Flags that have no effect there have the effect that their
    names promise (`data_path`, `search_seed`, `setting`). The authors publish results on ImageNet, but no settings for
    it: the schedules are those usual for ResNets, and the search takes as many images as one device's memory holds.
    """

    HELP_ORDER: ClassVar[tuple[str, ...]] = (*RunConfig.HELP_ORDER, "baseline", "search")

    method: Literal["ekg"] = "ekg"
    train_path: str | None = setting(
        None, if_none="a folder under `runs/ekg` named after architecture, data set and target"
    )
    arch: str = setting(
        "ResNet-56", "Architecture: ResNet-20, -32, -56, -110, -18, -34 or -50.", group="data and model"
    )
    trained_param: str | None = setting(
        None,
        "Trained model to start from: a `.keras` file or EKG's `.pkl`.",
        if_none="a baseline is trained first and kept in `baseline_path`",
        group="data and model",
        path="file",
    )
    baseline_path: str = setting(
        "runs/baselines",
        "Folder where trained baselines are kept for the next run.",
        group="baseline",
        path="folder",
    )
    baseline_epoch: int = setting(
        200, "Epochs of training a baseline, if none is given or kept.", group="baseline", above=0
    )
    baseline_learning_rate: float = setting(
        0.1, "Base learning rate of training a baseline.", group="baseline", above=0
    )
    Knowledge: bool = setting(
        True,
        "Fine-tune with the knowledge of the memory bank and two augmented views. The original has it off by default, "
        "and then builds a bank that it does not use.",
        group="fine-tuning",
    )
    num_teacher: int = setting(5, "Interim sub-networks in the memory bank.", group="fine-tuning", above=0)
    knowledge_dtype: KnowledgeType = setting(
        "float32",
        "Number format of the memory bank: float32, or float16, which takes 2 bytes per image, class and teacher.",
        group="fine-tuning",
    )
    knowledge_shard: int = setting(
        12_800,
        "Images in each file of the memory bank; an interrupted build continues after the last complete file.",
        group="fine-tuning",
        above=0,
    )
    learning_rate: float = setting(
        1e-2, "Base learning rate of fine-tuning (SGD, Nesterov momentum 0.9).", group="fine-tuning", above=0
    )
    decay_points: tuple[float, ...] = setting(
        (0.3, 0.6, 0.8),
        "Where the learning rate drops: fractions of the epochs (< 1) or epochs. Drops are at least one epoch apart, "
        "and none comes in the first epoch.",
        group="fine-tuning",
        above=0,
    )
    decay_rate: float = setting(0.2, "Factor of the learning rate at each decay point.", group="fine-tuning", above=0)
    weight_decay: float = setting(
        5e-4, "L2 coefficient, added to the gradient of every trainable variable.", group="fine-tuning", at_least=0
    )
    batch_size: int = setting(128, "Batch size of training and fine-tuning, over all devices.", group="fine-tuning")
    val_batch_size: int = setting(256, "Batch size of evaluation and of the memory bank.", group="evaluation")
    train_epoch: int = setting(100, "Epochs of fine-tuning; 0 stops after slimming.", group="fine-tuning", at_least=0)
    searching: bool = setting(
        True,
        "Search and slim before fine-tuning; without it the given model is fine-tuned as it is.",
        group="search",
    )
    search_target_rate: float = setting(
        0.45, "Stop searching when FLOPs fall to this fraction of the start.", group="search", above=0, below=1
    )
    search_step: float = setting(
        0.2,
        "Fraction of the width that a candidate removes from a gate used by one layer; less for shared gates.",
        group="search",
        above=0,
        below=1,
    )
    search_batch_size: int = setting(
        256,
        "Batch size of the search's validation and of the short training before it.",
        group="search",
        above=0,
    )
    search_seed: int = setting(1, "Seed of the order of the search's two subsets.", group="search", at_least=0)
    search_images: int = setting(
        32,
        "Validation images of the search, per class (the last ones of each class of the training set). A ResNet-50 "
        "needs 24 MB of memory for each image of 224 x 224.",
        group="search",
        above=0,
    )
    search_precision: SearchPrecision = setting(
        "float32", "Number format of candidate evaluation: float32 or mixed_bfloat16.", group="search"
    )
    record_landscape: RecordedLandscape | None = setting(
        None,
        "Measure the loss landscape of every interim sub-network on the search's validation images, and add it to the "
        "search's metrics: the fluctuation of 5 sections of 5 points, up to half the norm of each filter (sections), "
        "or also the extreme eigenvalues of the Hessian (hessian). Takes as long as about 20 (700) forward passes over "
        "the images for each, and tracing.",
        if_none="nothing",
        group="search",
    )
    pretrain_images: int = setting(
        256, "Images per class of the short training before the search (the first ones).", group="search", above=0
    )
    seed: int = 1
    batch_statistics: bool = setting(
        False,
        "Evaluate with the statistics of each test batch, as the original does, instead of moving averages.",
        group="evaluation",
    )
    original_quirks: bool = setting(
        False,
        "Follow the original's code where it departs from the paper (see `tfprune.ekg.Search`), to reproduce its "
        "choices number for number.",
        group="search",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.record_landscape is not None and not self.searching:
            raise ConfigError("--record_landscape: it is recorded in the search; leave out --no_searching, or this")
        drops = [int(point) if point >= 1 else point for point in self.decay_points]
        require(len(set(drops)) == len(drops), "decay_points", "values that differ", self.decay_points)


register_method(
    EKGConfig,
    imagenet={
        "arch": "ResNet-50",
        "knowledge_dtype": "float16",
        "baseline_epoch": 90,
        "weight_decay": 1e-4,
        "search_target_rate": 0.55,
        "search_batch_size": 64,
        "search_images": 1,
        "pretrain_images": 1,
    },
)
