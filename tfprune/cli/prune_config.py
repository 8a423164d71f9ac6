"""The settings of `tfprune prune`: of channels, or of single weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tfprune.cli.command import quiet_tensorflow
from tfprune.cli.plugins import plugin_setting
from tfprune.criteria.registry import (
    CriterionInfo,
    Kind,
    criterion_help,
    depth_criterion_help,
    find_criterion,
    installed_criteria,
    load_plugins,
    registered_criteria,
)
from tfprune.errors import ConfigError, suggestion
from tfprune.files import check_output
from tfprune.settings import Settings, check_model_file, setting

_CHANNELS_ONLY = (
    "flops",
    "params",
    "depth",
    "depth_criterion",
    "round_to",
    "min_channels",
    "max_sparsity",
    "max_sparsity_of",
    "keep_width",
    "keep_classes",
    "allow_unknown",
    "match",
    "steps",
    "reweight",
    "recalibrate",
    "plan",
)
_WEIGHTS_ONLY = ("iterations", "original_ties", "batch_size")
_OF_WIDTHS = ("criterion", "scope", "round_to", "min_channels", "max_sparsity", "max_sparsity_of", "allow_unknown")
"""What has no effect where only residual blocks are dropped."""

_DECIDED = (
    "criterion",
    "depth_criterion",
    "scope",
    "round_to",
    "min_channels",
    "max_sparsity",
    "max_sparsity_of",
    "ignore",
    "keep_width",
    "keep_classes",
    "allow_unknown",
    "schedule",
    "input_shape",
)
"""What a plan has decided already."""


@dataclass(frozen=True)
class PruneConfig(Settings):
    """Prunes channels and residual blocks and writes the smaller model, or single weights and writes masks.

    One of flops, params and density says how much is kept, or depth, or both; for weights, density does.
    """

    model: str = setting(help="The .keras file to prune.", positional=True, path="file")
    out: str | None = setting(
        None,
        "The .keras file to write, or, to prune single weights, the .npz file for their masks. Optional in a dry run.",
        if_none="none",
        positional=True,
        recorded=False,
    )
    flops: float | None = setting(
        None,
        "Fraction of the FLOPs (multiply-adds) to keep, such as 0.5.",
        if_none="none; one of the three is needed",
        group="target",
        above=0,
        at_most=1,
    )
    params: float | None = setting(
        None,
        "Fraction of the parameters to keep.",
        if_none="none; one of the three is needed",
        group="target",
        above=0,
        at_most=1,
    )
    density: float | None = setting(
        None,
        "Fraction of the channels, or weights, to keep.",
        if_none="none; one of the three is needed",
        group="target",
        above=0,
        at_most=1,
    )
    depth: float | None = setting(
        None,
        "Fraction of the residual blocks to keep at least. Blocks are dropped first, then channels.",
        if_none="all",
        group="target",
        above=0,
        at_most=1,
    )
    criterion: str = setting("l2", criterion_help(), group="decision")
    depth_criterion: str = setting("cosine", depth_criterion_help(), group="decision")
    plugin: tuple[str, ...] = plugin_setting("decision", ", and criteria")
    scope: Literal["global", "local"] = setting(
        "global",
        "Compare channels over the whole model (global), or keep the same fraction of every group (local). For "
        "weights: over the model or in every kernel.",
        group="decision",
    )
    round_to: int = setting(1, "Keep multiples of this many channels.", group="decision", at_least=1)
    min_channels: int = setting(1, "Keep at least this many channels in every layer.", group="decision", at_least=1)
    max_sparsity: float = setting(
        1.0, "The largest fraction of its channels that a layer may lose.", group="decision", above=0, at_most=1
    )
    max_sparsity_of: tuple[str, ...] = setting(
        (),
        "The same for some layers: names or patterns with a fraction, such as stage1_*=0.3. The first that matches a "
        "layer counts.",
        group="decision",
    )
    ignore: tuple[str, ...] = setting(
        (), "Layers that keep all their channels, or weights: names, or patterns such as stage1_*.", group="decision"
    )
    keep_width: tuple[str, ...] = setting(
        (),
        "Layers that keep all channels that they produce, while they may read fewer: names or patterns.",
        group="decision",
    )
    keep_classes: bool = setting(
        False,
        "Let layers with layers within them stay of their class: prune only channels whose number their settings say.",
        group="decision",
    )
    allow_unknown: bool = setting(
        False, "Take a target for the FLOPs although many of them are not known; these count as 0.", group="decision"
    )
    input_shape: tuple[int, ...] | None = setting(
        None,
        "Shape of one example, such as 224 224 3, for models that take inputs of any size.",
        if_none="the model's",
        group="decision",
        nonempty=True,
        at_least=1,
    )
    original_ties: bool = setting(
        False, "Keep none of the weights that tie at the threshold, as the authors of SynFlow do.", group="decision"
    )
    steps: int = setting(
        1, "Prune channels in this many steps, and score the rest again after each.", group="procedure", at_least=1
    )
    iterations: int | None = setting(
        None,
        "Prune weights in this many steps, and score the rest again after each.",
        if_none="100 for synflow, 1 for others",
        group="procedure",
        at_least=1,
    )
    schedule: Literal["linear", "exponential", "cubic"] | None = setting(
        None,
        "How fast the steps approach the target.",
        if_none="linear for channels, exponential for weights",
        group="procedure",
    )
    data: str | None = setting(
        None,
        "Examples for criteria that use some, for reweight and for recalibrate: CIFAR10, CIFAR100, digits, or an .npz "
        "file with arrays x and y. When single weights are pruned, the accuracy before and after is measured, too, on "
        "the test images or the whole file; without --data it is not.",
        if_none="none",
        group="data",
        path="file",
    )
    data_path: str | None = setting(
        None, "Folder that holds the TFDS data sets (its data_dir).", if_none="TFDS's own", group="data", path="folder"
    )
    examples: int = setting(1024, "How many examples to use, but for accuracies.", group="data", at_least=1)
    batch_size: int | None = setting(
        None,
        "The most examples for which snip, grasp, grad_norm and fisher compute gradients at the same time; this bounds "
        "the memory. It changes masks only where batch norms use the statistics of the batch, as with grasp.",
        if_none="as many as need about 5 GB",
        group="data",
        at_least=1,
    )
    reweight: bool = setting(
        False,
        "Fit the kernels that read pruned channels by least squares on the data, to compensate for these channels. "
        "The outputs of the layers for all examples are held in memory.",
        group="procedure",
    )
    recalibrate: bool = setting(
        False, "Measure the moving averages of batch norms on the data after pruning.", group="procedure"
    )
    plan: str | None = setting(
        None,
        "JSON file of the plan, or of those of all steps. With a target it is written; without one it is read and "
        "applied.",
        if_none="none",
        group="output",
        path="file",
    )
    match: Literal["name", "position"] = setting(
        "name", "Find the layers of a plan that is read by their names, or by their order.", group="output"
    )
    dry_run: bool = setting(False, "Show the plan, and prune nothing.", group="output", recorded=False)
    overwrite: bool = setting(False, "Replace existing files.", group="output", recorded=False)

    @property
    def target(self) -> dict[str, float]:
        """The fraction to keep, by what is counted; empty if a plan is to be read."""
        targets = {"flops": self.flops, "params": self.params, "density": self.density}
        return {name: value for name, value in targets.items() if value is not None}

    @property
    def sparsity_limits(self) -> float | dict[str, float]:
        """The largest fractions that layers may lose: of all, or by pattern."""
        limits = _limits(self.max_sparsity_of)
        return limits | {"*": self.max_sparsity} if limits and "*" not in limits else limits or self.max_sparsity

    @property
    def prunes_weights(self) -> bool:
        """Whether single weights are pruned, not channels: masks go to `.npz` files, models to `.keras` files."""
        return self.out.endswith(".npz") if self.out is not None else find_criterion(self.criterion, "channels") is None

    @property
    def reads_plan(self) -> bool:
        """Whether an existing plan is applied."""
        return self.plan is not None and not self.target and self.depth is None

    @property
    def scores_on_data(self) -> bool:
        """Whether a criterion uses examples if there are some."""
        return not self.reads_plan and any(each.uses_data != "never" for each in self.criteria.values())

    @property
    def uses_examples(self) -> bool:
        """Whether examples are used for more than the accuracy."""
        return self.scores_on_data or self.reweight or self.recalibrate

    @property
    def criteria(self) -> dict[str, CriterionInfo]:
        """The criteria that have an effect, by the name of the setting."""
        kinds: dict[str, Kind] = {"criterion": "weights" if self.prunes_weights else "channels"}
        if self.depth is not None:
            kinds = {"depth_criterion": "blocks", **(kinds if self.target else {})}
        infos = {name: find_criterion(getattr(self, name), kind) for name, kind in kinds.items()}
        return {name: info for name, info in infos.items() if info is not None}

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_out()
        if self.plugin or self.criterion in installed_criteria():
            quiet_tensorflow()  # they probably import it
        load_plugins(self.plugin)
        self._check_name()
        if self.prunes_weights:
            self._check_weights()
        else:
            self._check_channels()
        self._check_target()
        if self.steps > 1 and self.dry_run:
            raise ConfigError("--steps: a plan is made in one step; drop --dry_run, or --steps")
        if self.steps > 1 and self.reads_plan:
            raise ConfigError("--steps: a plan that is read has its steps; leave it out")
        if self.match != "name" and not self.reads_plan:
            raise ConfigError("--match: it is for a plan that is read; give --plan without a target, or leave it out")
        self._check_data()
        if self.reads_plan and (changed := self.changed(_DECIDED)):
            raise ConfigError(
                f"--{changed[0]}: it would change the plan {self.plan}, which is read and applied as it is; leave it "
                "out, or give a target, such as --flops 0.5, and another --plan to write"
            )

    def check_files(self) -> None:
        """Checks that the model exists and the results can be written.

        Raises:
            CheckpointError: The model does not exist.
            RunFolderError: A result exists and must not be overwritten, or its folder cannot be created.
        """
        check_model_file(self.model)
        check_output(None if self.dry_run else self.out, overwrite=self.overwrite)
        check_output(None if self.reads_plan else self.plan, overwrite=self.overwrite)

    def _check_out(self) -> None:
        if self.out is None and not self.dry_run:
            raise ConfigError(
                "OUT is missing: the .keras file to write, or .npz for masks of weights; or add --dry_run"
            )
        if self.out is not None and not self.out.endswith((".keras", ".npz")):
            raise ConfigError(
                f"expected a file to write that ends in .keras, received {self.out}; `tfprune export` writes others, "
                "and .npz is for masks of weights"
            )

    def _check_weights(self) -> None:
        masks = f"the criterion {self.criterion}" if self.out is None else self.out
        self._refuse(_CHANNELS_ONLY, f"channels, and {masks} is for masks of weights; name a .keras file to write")
        self._check_criterion("weights", f"masks of weights ({self.out})", ".keras")
        if self.density is None:
            raise ConfigError("--density is missing: the fraction of the weights to keep, such as --density 0.1")
        if self.schedule == "cubic":
            raise ConfigError("--schedule: expected linear or exponential for weights, received cubic")

    def _check_channels(self) -> None:
        if self.depth is None and "depth_criterion" in self.changed(["depth_criterion"]):
            raise ConfigError("--depth_criterion: it scores residual blocks; give --depth, or leave it out")
        if self.depth is not None and not self.target and (changed := self.changed(_OF_WIDTHS)):
            raise ConfigError(
                f"--{changed[0]}: it is for channels, and only residual blocks are dropped; give --flops, --params or "
                "--density, or leave it out"
            )
        if self.steps > 1 and self.depth is not None and not self.target:
            raise ConfigError("--steps: blocks are dropped in one step; give --flops, --params or --density, too")
        if find_criterion(self.depth_criterion, "blocks") is None:
            known = ", ".join(info.name for info in registered_criteria("blocks"))
            raise ConfigError(f"--depth_criterion: expected one of {known}, received {self.depth_criterion}")
        if self.criterion == "dpp_node" and self.density is None and self.plan is None:
            raise ConfigError("--criterion dpp_node: the number of channels to sample must be known; give --density")
        if self.criterion == "dpp_node" and self.steps > 1:
            raise ConfigError("--steps: dpp_node samples the channels in one step; leave it out")
        _limits(self.max_sparsity_of)
        self._check_criterion("channels", f"a model with fewer channels ({self.out})", ".npz")
        self._refuse(_WEIGHTS_ONLY, "single weights; name a file to write that ends in .npz to get their masks")

    def _check_name(self) -> None:
        if find_criterion(self.criterion) is None:
            known = dict.fromkeys([*(info.name for info in registered_criteria()), *installed_criteria()])
            raise ConfigError(
                f"--criterion: expected one of {', '.join(known)}, received {self.criterion}"
                f"{suggestion(self.criterion, known) or '; use one of these'}, or name the module that registers it "
                "with --plugin"
            )

    def _check_criterion(self, kind: Kind, what: str, other: str) -> None:
        if find_criterion(self.criterion, kind) is None:
            fitting = ", ".join(info.name for info in registered_criteria(kind))
            raise ConfigError(
                f"--criterion: expected one of {fitting} for {what}, received {self.criterion}; change it, or name a "
                f"file to write that ends in {other}"
            )

    def _check_target(self) -> None:
        if len(self.target) > 1 or not (self.target or self.plan or self.depth is not None):
            received = " and ".join(f"--{name}" for name in self.target) or "none"
            raise ConfigError(
                f"expected one of --flops, --params and --density, such as --flops 0.5, received {received}"
                f"{'' if self.target or self.prunes_weights else '; or --depth, or a --plan to apply'}"
            )

    def _check_data(self) -> None:
        if self.batch_size is not None and self.criteria["criterion"].uses_data != "always":
            raise ConfigError(f"--batch_size: criterion {self.criterion} computes no gradients; leave it out")
        if self.data is not None:
            if not (self.prunes_weights or self.uses_examples):
                names = " and ".join(info.name for info in self.criteria.values())
                without = "a plan that is read" if self.reads_plan else f"criterion {names}"
                raise ConfigError(
                    f"--data: {without} uses no examples; leave it out, or add --reweight or --recalibrate"
                )
            return
        if self.data_path is not None:
            raise ConfigError("--data_path: it is where --data is looked for; give --data, or leave it out")
        if self.recalibrate:
            raise ConfigError("--recalibrate: the batch norms need examples; give --data")
        if self.reweight:
            raise ConfigError("--reweight: the kernels are fitted to examples; give --data")
        for name, info in self.criteria.items():
            if info.uses_data == "always" and not self.reads_plan:
                raise ConfigError(f"--{name} {info.name}: it uses examples; give --data")

    def _refuse(self, names: Sequence[str], what: str) -> None:
        """Raises an error if one of the settings was changed although it is for the other kind of pruning."""
        if changed := self.changed(names):
            raise ConfigError(f"--{changed[0]}: it is for pruning {what}, or leave it out")


def _limits(texts: Sequence[str]) -> dict[str, float]:
    """Returns the fraction of each pattern, from `PATTERN=FRACTION`; the first of a pattern counts."""
    limits: dict[str, float] = {}
    for text in texts:
        pattern, _, number = text.rpartition("=")
        try:
            limit = float(number)
        except ValueError:
            limit = -1.0
        if not pattern or not 0 <= limit <= 1:
            raise ConfigError(
                "--max_sparsity_of: expected names or patterns with a fraction between 0 and 1, such as stage1_*=0.3, "
                f"received {text!r}"
            )
        limits.setdefault(pattern, limit)
    return limits
