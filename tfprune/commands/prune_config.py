"""The settings of `tfprune prune`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from tfprune.cli.quiet import quiet_tensorflow
from tfprune.commands.checks import at_least_one, check_model_file, check_output
from tfprune.commands.prune_kind import check_kind, data_use, prunes_weights
from tfprune.criteria.registry import criterion_help, installed_criteria, load_plugins
from tfprune.errors import ConfigError


@dataclass(frozen=True)
class PruneConfig:
    """Prunes channels and writes the smaller model, or single weights and writes masks.

    How much is to stay is said by one of flops, params and density; for weights, by density.

    Attributes:
        model: The .keras file to prune.
        out: The .keras file to write, or, to prune single weights, the .npz file for their masks. May be missing in a
            dry run. Default: none.
        flops: Fraction of the FLOPs to keep, such as 0.5. Default: another target.
        params: Fraction of the parameters to keep. Default: another target.
        density: Fraction of the channels, or weights, to keep. Default: another target.
        criterion: {criteria}
        plugin: Python modules, of the current folder or installed, that register criteria.
        scope: Compare channels over the whole model (global), or take the same fraction of every group (local). Of
            weights, over the model or in every kernel.
        round_to: Keep multiples of this many channels.
        min_channels: Keep at least this many channels in every group.
        max_sparsity: The largest fraction of its channels that a group may lose.
        ignore: Layers that keep all their channels, or weights: names, or patterns such as stage1_*.
        input_shape: Shape of one example, such as 224 224 3, for models that take inputs of any size. Default: the
            model's.
        original_ties: Of weights that are equally good at the threshold keep none, as the authors of SynFlow do.
        steps: Prune channels in this many steps, judging anew what is left.
        iterations: Prune weights in this many steps, judging anew what is left. Default: 100 for synflow, 1 for others.
        schedule: How fast the steps approach the target. Default: linear for channels, exponential for weights.
        data: Examples for criteria that look at some, for reweight and for recalibrate: CIFAR10, CIFAR100, digits, or
            an .npz file with arrays x and y. Default: none.
        data_path: Folder that holds the TFDS data sets (its data_dir). Default: TFDS's own.
        examples: How many examples to look at.
        reweight: Let the kernels that read pruned channels make up for them, by least squares on the data. What the
            layers make of all examples is held in memory.
        recalibrate: Measure the moving averages of batch norms anew on the data after pruning.
        plan: JSON file of the plan. With a target it is written; without one it is read and carried out. Default: none.
        dry_run: Show the plan, and prune nothing.
        overwrite: Replace files that exist.
    """

    POSITIONAL: ClassVar[str] = "model out"
    GROUPS: ClassVar[Mapping[str, str]] = {
        "target": "flops params density",
        "decision": "criterion plugin scope round_to min_channels max_sparsity ignore input_shape original_ties",
        "procedure": "steps iterations schedule reweight recalibrate",
        "data": "data data_path examples",
        "output": "plan dry_run overwrite",
    }

    model: str
    out: str | None = None
    flops: float | None = None
    params: float | None = None
    density: float | None = None
    criterion: str = "l2"
    plugin: tuple[str, ...] = ()
    scope: Literal["global", "local"] = "global"
    round_to: int = 1
    min_channels: int = 1
    max_sparsity: float = 1.0
    ignore: tuple[str, ...] = ()
    input_shape: tuple[int, ...] | None = None
    original_ties: bool = False
    steps: int = 1
    iterations: int | None = None
    schedule: Literal["linear", "exponential", "cubic"] | None = None
    data: str | None = None
    data_path: str | None = None
    examples: int = 1024
    reweight: bool = False
    recalibrate: bool = False
    plan: str | None = None
    dry_run: bool = False
    overwrite: bool = False

    @property
    def target(self) -> dict[str, float]:
        """The fraction to keep, by what is counted; empty if a plan is to be read."""
        targets = {"flops": self.flops, "params": self.params, "density": self.density}
        return {name: value for name, value in targets.items() if value is not None}

    @property
    def prunes_weights(self) -> bool:
        """Whether single weights are pruned, not channels."""
        return prunes_weights(self.out, self.criterion)

    @property
    def reads_plan(self) -> bool:
        """Whether the plan is made already."""
        return self.plan is not None and not self.target

    @property
    def scores_on_data(self) -> bool:
        """Whether the criterion uses examples if there are some."""
        return data_use(self.out, self.criterion) != "never" and not self.reads_plan

    def __post_init__(self) -> None:
        at_least_one(
            round_to=self.round_to,
            min_channels=self.min_channels,
            steps=self.steps,
            iterations=1 if self.iterations is None else self.iterations,
            examples=self.examples,
            input_shape=self.input_shape,
        )
        self._check_out()
        if self.plugin or self.criterion in installed_criteria():
            quiet_tensorflow()  # they probably import it
        load_plugins(self.plugin)
        check_kind(vars(self))
        self._check_target()
        self._check_steps()
        self._check_data()

    def check_files(self) -> None:
        """Makes sure that the model is there and the results can be written.

        Raises:
            CheckpointError: The model is not there.
            RunFolderError: A result exists and must not be overwritten, or its folder does not exist.
        """
        check_model_file(self.model)
        check_output(None if self.dry_run else self.out, overwrite=self.overwrite)
        check_output(None if self.reads_plan else self.plan, overwrite=self.overwrite)

    def _check_target(self) -> None:
        for name, value in self.target.items():
            if not 0 < value <= 1:
                raise ConfigError(
                    f"--{name}: expected the fraction to keep, above 0 and at most 1, received {value:g}; "
                    "to keep half, write 0.5"
                )
        if len(self.target) > 1 or not (self.target or self.plan):
            received = " and ".join(f"--{name}" for name in self.target) or "none"
            raise ConfigError(
                f"expected one of --flops, --params and --density, such as --flops 0.5, received {received}"
            )
        if not 0 < self.max_sparsity <= 1:
            raise ConfigError(f"--max_sparsity: expected a value above 0 and at most 1, received {self.max_sparsity:g}")

    def _check_data(self) -> None:
        if self.data is not None:
            if not (self.scores_on_data or self.reweight or self.recalibrate):
                blind = "a plan that is made" if self.reads_plan else f"criterion {self.criterion}"
                others = "" if self.prunes_weights else ", or add --reweight or --recalibrate"
                raise ConfigError(f"--data: {blind} looks at no examples; leave it out{others}")
            return
        if self.data_path is not None:
            raise ConfigError("--data_path: it is where --data is looked for; give --data, or leave it out")
        if self.recalibrate:
            raise ConfigError("--recalibrate: the batch norms need examples; give --data")
        if self.reweight:
            raise ConfigError("--reweight: the kernels are fitted to examples; give --data")
        if data_use(self.out, self.criterion) == "always" and not self.reads_plan:
            raise ConfigError(f"--criterion {self.criterion}: it looks at examples; give --data")

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

    def _check_steps(self) -> None:
        if self.steps > 1 and (self.plan is not None or self.dry_run):
            raise ConfigError("--steps: a plan is made in one step; drop --plan and --dry_run, or --steps")


PruneConfig.__doc__ = (PruneConfig.__doc__ or "").replace("{criteria}", criterion_help())
