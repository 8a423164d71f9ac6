"""The settings of training a ticket."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from tfprune.errors import ConfigError
from tfprune.recipes.tickets.dense_config import DenseConfig

Corrupt = Literal["pruning", "training", "both"]
Rule = Literal["quadratic", "linear_decay", "ascend", "cubic", "uniform"]
Treatment = Literal["auto", "chain", "residual"]
TICKETS = ("smart_ratio", "hybrid", "lottery", "magnitude", "snip", "grasp", "synflow", "random", "iterative")
BY_RATIO = ("smart_ratio", "hybrid")


@dataclass(frozen=True)
class TicketConfig(DenseConfig):
    """Finds a ticket, the weights of a network that are kept, and trains it; or what a sanity check makes of it.

    Attributes:
        method: `ticket`; what `train_cifar.py` is to do. The default there is `ekg`.
        train_path: Folder of the run: settings, metrics, checkpoints, models, results. Default: a folder under
            `runs/ticket` named after architecture, data set, ticket and density.
        init: Network to prune and to start from: a `.keras` file of the same architecture. A trained one makes hybrid
            tickets those of the paper. Default: weights drawn anew.
        ticket: How the ticket is found: smart_ratio, hybrid, lottery, magnitude, snip, grasp, synflow, random, or
            iterative (magnitude, in rounds of training); or a file: masks that `tfprune prune` wrote (.npz), or a
            pruned network (.keras), whose weights that are not 0 are kept.
        density: Fraction of the prunable weights that is kept; a file has its own.
        hybrid: The same as `hybrid` for `smart_ratio`: keep the largest weights rather than any.
        rule: How the smart ratios fall from layer to layer: quadratic, linear_decay, ascend, cubic or uniform.
        treatment: Whether they are divided by the square of a layer's place as for VGG (chain), or not as for ResNets
            (residual). Default: as the network is.
        last_ratio: Fraction of the last layer that the smart ratios keep.
        original_quirks: Keep exactly as many weights as the original did, one more or less, and lose what the
            smart ratios of later layers have too much.
        samples_per_class: Images of each class that snip and grasp look at, sorted by class.
        prune_iters: Rounds in which synflow prunes.
        rounds: Rounds of training and pruning of an iterative ticket.
        rewind_epoch: Epoch to whose weights an iterative ticket goes back; 0 for the initial ones.
        rearrange: Sanity check: permute the mask of every layer.
        inverse: Sanity check: keep the weights with the lowest scores of each layer, as many as it would keep.
        shuffle_weights: Sanity check: permute the kept weights of every layer.
        reinitialize: Sanity check: draw all weights anew after pruning.
        corrupt: Where random_labels, shuffle_pixels and fraction hold: pruning (as with the original), training, both.
    """

    GROUPS: ClassVar[Mapping[str, str]] = {
        **DenseConfig.GROUPS,
        "ticket": "ticket density hybrid rule treatment last_ratio original_quirks samples_per_class prune_iters "
        "rounds rewind_epoch",
        "sanity checks": "rearrange inverse shuffle_weights reinitialize corrupt",
    }

    POSITIVE: ClassVar[str] = f"{DenseConfig.POSITIVE} samples_per_class prune_iters rounds"

    method: Literal["ticket"] = "ticket"  # type: ignore[assignment]
    ticket: str = "smart_ratio"
    density: float = 0.02
    hybrid: bool = False
    rule: Rule = "quadratic"
    treatment: Treatment = "auto"
    last_ratio: float = 0.3
    original_quirks: bool = False
    samples_per_class: int = 10
    prune_iters: int = 100
    rounds: int = 5
    rewind_epoch: int = 0
    rearrange: bool = False
    inverse: bool = False
    shuffle_weights: bool = False
    reinitialize: bool = False
    corrupt: Corrupt = "pruning"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(
            self.ticket in TICKETS or self.from_file, "ticket", f"{', '.join(TICKETS)}, or a .npz or .keras file"
        )
        self._require(0 < self.density <= 1, "density", "a fraction of the weights to keep, above 0 and at most 1")
        self._require(0 <= self.last_ratio <= 1, "last_ratio", "a fraction from 0 to 1")
        epochs, _ = self.schedule
        self._require(0 <= self.rewind_epoch < epochs, "rewind_epoch", f"an epoch before the last of {epochs}")
        if self.hybrid and self.ticket not in BY_RATIO:
            raise ConfigError(f"--hybrid is for smart_ratio, received --ticket {self.ticket}: leave one out")
        if self.inverse and (self.from_file or self.ticket == "iterative"):
            raise ConfigError(f"--inverse needs scores, --ticket {self.ticket} has none: name another ticket")
        if self.rewind_epoch and self.ticket != "iterative":
            raise ConfigError("--rewind_epoch is for iterative tickets; others start from the weights of --init")

    @property
    def from_file(self) -> bool:
        """Whether the ticket is read from a file."""
        return self.ticket.endswith((".npz", ".keras"))

    @property
    def default_path(self) -> str:
        """The run's folder where none is given."""
        what = "file" if self.from_file else f"{'hybrid' if self.hybrid else self.ticket}-{self.density:g}"
        checks = ("rearrange", "inverse", "shuffle_weights", "reinitialize")
        marks = "".join(f"-{name}" for name in checks if getattr(self, name))
        return f"runs/ticket/{self.arch}-{self.dataset}-{what}{marks}"
