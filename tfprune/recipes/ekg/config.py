"""The settings of EKG: one frozen dataclass, whose fields are the flags and the YAML keys."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from tfprune.recipes.run_config import RunConfig

SearchPrecision = Literal["float32", "mixed_bfloat16"]
KnowledgeType = Literal["float32", "float16"]


@dataclass(frozen=True)
class EKGConfig(RunConfig):
    """Settings of `train_cifar.py`: EKG from the trained network to the fine-tuned small one.

    The names are those of the original's command line; where it had a flag that did nothing, the flag does here what
    its name promises (`data_path`, `search_seed`, `setting`).

    Attributes:
        method: `ekg`; what `train_cifar.py` is to do. The other is `peekaboo`: `--method peekaboo --help`.
        train_path: Folder of the run: settings, metrics, checkpoints, models, results. Default: a folder under
            `runs/ekg` named after architecture, data set and target.
        arch: Architecture: ResNet-20, -32, -56, -110, -18, -34 or -50.
        trained_param: Trained network to start from: a `.keras` file or EKG's `.pkl`. Default: a baseline is trained
            first and kept in `baseline_path`.
        baseline_path: Folder where trained baselines are kept for the next run.
        baseline_epoch: Epochs of training a baseline, where none is given or kept.
        baseline_learning_rate: Base learning rate of training a baseline.
        Knowledge: Fine-tune with the knowledge of the memory bank and two augmented views. The original left it off
            unless asked, and then built the bank for nothing.
        num_teacher: Interim sub-networks in the memory bank.
        knowledge_dtype: Number format of the memory bank: float32, or float16 in half the room.
        knowledge_shard: Images in each file of the memory bank; building it goes on after the last whole one.
        learning_rate: Base learning rate of fine-tuning (SGD, Nesterov momentum 0.9).
        decay_points: Where the learning rate drops: fractions of the epochs (< 1) or epochs.
        decay_rate: Factor of the learning rate at each decay point.
        weight_decay: L2 coefficient, added to the gradient of every trainable variable.
        batch_size: Batch size of training and fine-tuning, over all devices.
        val_batch_size: Batch size of evaluation and of the memory bank.
        train_epoch: Epochs of fine-tuning; 0 stops after slimming.
        searching: Search and slim before fine-tuning; without it the given network is fine-tuned as it is.
        search_target_rate: Stop searching when FLOPs fall to this fraction of the start.
        search_step: Width that a try takes off a gate used by one layer; less for shared gates.
        search_batch_size: Batch size of the search's validation and of the short training before it.
        search_seed: Seed of the order of the search's two subsets.
        search_images: Validation images of the search, per class (the last ones of each class of the training set).
        search_precision: Number format of candidate evaluation: float32 or mixed_bfloat16.
        pretrain_images: Images per class of the ten-step training before the search (the first ones).
        batch_statistics: Evaluate with the statistics of each test batch, as the original does, instead of moving
            averages.
        original_quirks: Follow the original's code where it departs from the paper (see `tfprune.ekg.Search`), to
            reproduce its choices number for number.
    """

    GROUPS: ClassVar[Mapping[str, str]] = {
        **RunConfig.GROUPS,
        "data and network": "dataset data_path arch stem trained_param",
        "baseline": "baseline_path baseline_epoch baseline_learning_rate",
        "search": "searching search_target_rate search_step search_batch_size search_seed search_images "
        "search_precision pretrain_images original_quirks",
        "fine-tuning": "train_epoch Knowledge num_teacher knowledge_dtype knowledge_shard learning_rate decay_points "
        "decay_rate weight_decay batch_size",
        "evaluation": "val_batch_size batch_statistics",
    }

    POSITIVE: ClassVar[str] = (
        f"{RunConfig.POSITIVE} baseline_epoch num_teacher knowledge_shard search_batch_size search_images "
        "pretrain_images learning_rate baseline_learning_rate decay_rate"
    )
    NOT_NEGATIVE: ClassVar[str] = f"{RunConfig.NOT_NEGATIVE} weight_decay train_epoch search_seed"

    method: Literal["ekg"] = "ekg"
    arch: str = "ResNet-56"
    trained_param: str | None = None
    baseline_path: str = "runs/baselines"
    baseline_epoch: int = 200
    baseline_learning_rate: float = 0.1
    Knowledge: bool = True
    num_teacher: int = 5
    knowledge_dtype: KnowledgeType = "float32"
    knowledge_shard: int = 12_800
    learning_rate: float = 1e-2
    decay_points: tuple[float, ...] = (0.3, 0.6, 0.8)
    decay_rate: float = 0.2
    weight_decay: float = 5e-4
    train_epoch: int = 100
    searching: bool = True
    search_target_rate: float = 0.45
    search_step: float = 0.2
    search_batch_size: int = 256
    search_seed: int = 1
    search_images: int = 32
    search_precision: SearchPrecision = "float32"
    pretrain_images: int = 256
    seed: int = 1
    batch_statistics: bool = False
    original_quirks: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(0 < self.search_target_rate < 1, "search_target_rate", "a fraction of the FLOPs between 0 and 1")
        self._require(0 < self.search_step < 1, "search_step", "a fraction of the width between 0 and 1")
        self._require(all(point > 0 for point in self.decay_points), "decay_points", "values above 0")
