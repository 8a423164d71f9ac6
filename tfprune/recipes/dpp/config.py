"""The settings of `tfprune dpp`, one class for each of its commands."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tfprune.errors import CheckpointError, ConfigError, RunFolderError
from tfprune.files import check_output
from tfprune.settings import Settings, require, setting

Choice = Literal["dpp_node", "dpp_edge", "random_node", "random_edge", "importance_node", "importance_edge"]
Mode = Literal["normal", "soft_committee"]
Nonlinearity = Literal["erf", "sigmoid", "relu"]


@dataclass(frozen=True)
class TeacherConfig(Settings):
    """Draws a teacher network, whose outputs are a student's task."""

    out: str = setting(help="The .npz file to write. It holds the teacher and how to draw its data, not the data.")
    input_dim: int = setting(500, "Input dimension, N.", at_least=1)
    teacher_h_size: int = setting(2, "Hidden nodes of the teacher, M.", at_least=1)
    num_data: int = setting(800_000, "Training examples; a tenth as many again are for testing.", at_least=1)
    mode: Mode = setting("normal", "Output weights are v_star (normal) or 1 (soft_committee).")
    sig_w: float = setting(0.0, "Standard deviation of the noise on the outputs.", at_least=0)
    v_star: float = setting(4.0, "The teacher's output weights.")
    nonlinearity: Nonlinearity = setting(
        "erf", "Activation of the hidden nodes: erf(h / sqrt 2), as in the original, logistic sigmoid, or ReLU."
    )
    seed: int = setting(1, "The same seed gives the same teacher and data.", at_least=0)
    overwrite: bool = setting(False, "Replace an existing file.")

    def check_files(self) -> None:
        """Checks that the result can be written."""
        check_output(self.out, suffix=".npz", overwrite=self.overwrite)


@dataclass(frozen=True)
class StudentConfig(Settings):
    """Trains a student on a teacher's examples, one after the other; after a stop, the same command continues."""

    teacher: str = setting(help="The teacher, from `tfprune dpp teacher`.")
    out: str = setting(
        help="The .npz file to write; until it is complete, the state of the training is beside it (.progress.npz)."
    )
    student_h_size: int = setting(6, "Hidden nodes of the student, K.", at_least=1)
    nonlinearity: Nonlinearity | None = setting(
        None,
        "Activation of the hidden nodes. What the original calls sigmoid is erf.",
        if_none="the teacher's",
    )
    lr: float = setting(
        0.5,
        "Learning rate; the hidden layer learns at lr / sqrt N, the output layer at lr / N.",
        above=0,
    )
    epochs: int = setting(1, "Passes over the data.", at_least=1)
    seed: int = setting(1, "Seed of the initial weights.", at_least=0)
    overwrite: bool = setting(False, "Replace an existing file.")

    def check_files(self) -> None:
        """Checks that the teacher exists and the result can be written."""
        _check_input(self.teacher, "teacher")
        check_output(self.out, suffix=".npz", overwrite=self.overwrite)


@dataclass(frozen=True)
class PruneStudentConfig(Settings):
    """Draws masks for a student's hidden layer."""

    student: str = setting(help="The student, from `tfprune dpp student`.")
    teacher: str = setting(help="Its teacher.")
    k: int | Literal["random"] = setting(
        help="Nodes to keep, or edges to keep in each node. random: as many as an L-ensemble draws (for dpp_node and "
        "dpp_edge).",
        at_least=1,
    )
    out: str = setting(help="The .npz file to write; a .csv file beside it has a row for each mask.")
    choice: Choice = setting("dpp_node", "What is pruned, and how it is chosen.")
    num_masks: int = setting(100, "How many masks to draw; choices by importance have one.", at_least=1)
    expected_size: float | None = setting(
        None,
        "Expected number of nodes, or of edges of a node, if k is random. Empty draws count as 0; they are rejected, "
        "so that masks keep a little more on average.",
        if_none="half of them",
        above=0,
    )
    kernels: str | None = setting(
        None,
        "An .npz file of the kernels that a DPP draws from: read if it exists, otherwise written.",
        if_none="none",
    )
    reweight: bool = setting(False, "Change the kept weights to compensate for the removed ones.")
    seed: int = setting(1, "Seed of the masks.", at_least=0)
    sampler: Literal["tfprune", "dppy"] = setting(
        "tfprune",
        "What samples from DPPs: our sampler, or the library DPPy, which has the same distribution and is many times "
        "slower. Subsets of random size are sampled by tensorflow-probability.",
    )
    original_quirks: bool = setting(
        False,
        "Do as the original: select each random edge independently, so that their number varies; rank output weights "
        "with their sign; leave the removed nodes in if nodes are reweighted.",
    )
    overwrite: bool = setting(False, "Replace an existing file.")

    @property
    def table(self) -> str:
        """The .csv file with a row for each mask."""
        return str(Path(self.out).with_suffix(".csv"))

    def __post_init__(self) -> None:
        super().__post_init__()
        drawn, varies = self.choice in ("dpp_node", "dpp_edge"), self.k == "random"
        require(drawn or not varies, "k", f"a whole number for {self.choice}", self.k)
        if self.expected_size is not None and not varies:
            raise ConfigError("--expected_size: it is for --k random; leave it out")
        if self.sampler != "tfprune" and varies:
            raise ConfigError("--sampler: subsets of random size are sampled by tensorflow-probability; leave it out")
        if self.kernels is not None and not drawn:
            raise ConfigError(f"--kernels: {self.choice} draws from no kernel; leave it out")
        if self.kernels is not None and Path(self.kernels).absolute() == Path(self.out).absolute():
            raise ConfigError(f"--kernels: expected another file than --out, received {self.out} twice")

    def check_files(self) -> None:
        """Checks that student and teacher exist and the results can be written."""
        _check_input(self.student, "student")
        _check_input(self.teacher, "teacher")
        check_output(self.out, suffix=".npz", overwrite=self.overwrite)
        check_output(self.table, overwrite=self.overwrite)
        check_output(self.kernels, suffix=".npz", overwrite=True)


@dataclass(frozen=True)
class EvaluateMasksConfig(Settings):
    """Computes order parameters and generalization errors of a pruned student, in theory and in simulation."""

    masks: str = setting(help="The masks, from `tfprune dpp prune`.")
    teacher: str = setting(help="The teacher of the student that they prune.")
    examples: int = setting(20_000, "Fresh examples to simulate on.", at_least=2)
    figure: str | None = setting(
        None, "A .png file for heat maps of Q and R, before and after pruning.", if_none="beside the masks"
    )
    out: str | None = setting(None, "An .npz file for the numbers.", if_none="none")
    overwrite: bool = setting(False, "Replace existing files.")

    def check_files(self) -> None:
        """Checks that masks and teacher exist and the results can be written."""
        _check_input(self.masks, "prune")
        _check_input(self.teacher, "teacher")
        check_output(self.figure, suffix=".png", overwrite=self.overwrite)
        check_output(self.out, suffix=".npz", overwrite=self.overwrite)


@dataclass(frozen=True)
class RepeatsConfig(Settings):
    """Prunes several models in all ways."""

    out: str = setting(help="Folder for results.csv, table.md, figure.png and what is needed to continue.")
    repeats: int = setting(3, "How many models, each with its own seeds.", at_least=1)
    num_masks: int = setting(100, "Masks for each model, way of pruning and size.", at_least=1)
    lr: float = setting(0.5, "Learning rate of the models.", above=0)
    seed: int = setting(1, "Seed of the first model; those after it have the next ones.", at_least=0)


@dataclass(frozen=True)
class CompareConfig(RepeatsConfig):
    """Compares ways of pruning at equal numbers of parameters: the paper's figure."""

    out: str = setting(
        help="Folder for results.csv, table.md, figure.png, teachers and students. Existing teachers and students are "
        "used again."
    )
    node_k: tuple[int, ...] | None = setting(
        None,
        "Numbers of nodes to keep. Edges follow: K e + K = k (N + 1).",
        if_none="1 to one less than all",
    )
    random_k: bool = setting(
        False,
        "Also draw nodes from L-ensembles, whose number is random, with node_k as the expected size; empty draws are "
        "rejected.",
    )
    simulated: int = setting(5, "How many of these masks are also simulated.", at_least=1)
    examples: int = setting(10_000, "Fresh examples to simulate on.", at_least=2)
    input_dim: int = setting(500, "Input dimension, N.", at_least=2)
    teacher_h_size: int = setting(2, "Hidden nodes of the teachers, M.", at_least=1)
    student_h_size: int = setting(6, "Hidden nodes of the students, K.", at_least=2)
    num_data: int = setting(800_000, "Training examples.", at_least=1)
    mode: Mode = setting("normal", "Output weights are v_star (normal) or 1 (soft_committee).")
    sig_w: float = setting(0.0, "Standard deviation of the noise on the outputs.", at_least=0)
    v_star: float = setting(4.0, "The teachers' output weights.")
    nonlinearity: Nonlinearity = setting("erf", "Activation of teachers and students.")

    @property
    def nodes(self) -> tuple[int, ...]:
        """The numbers of nodes to keep."""
        return tuple(range(1, self.student_h_size)) if self.node_k is None else self.node_k

    def edges(self, nodes: int) -> int:
        """Returns how many edges of each node have as many parameters as so many nodes; halves are rounded up."""
        return math.floor((nodes * self.input_dim + nodes - self.student_h_size) / self.student_h_size + 0.5)

    def __post_init__(self) -> None:
        super().__post_init__()
        for k in self.nodes:
            if not 1 <= k < self.student_h_size or self.edges(k) < 1:
                raise ConfigError(
                    f"--node_k: expected numbers from 1 to {self.student_h_size - 1} (--student_h_size less one) that "
                    f"leave an edge for each node, received {k}"
                )

    def check_files(self) -> None:
        """Checks that the folder can be written; raises `RunFolderError` if it cannot."""
        check_output(self.out, overwrite=True, folder=True)


@dataclass(frozen=True)
class ImageConfig(RepeatsConfig):
    """Trains image classifiers of dense sigmoid layers, prunes their first layer, and measures accuracies."""

    num_masks: int = setting(5, "Masks for each model, way of pruning and density; ways by importance have one.")
    dataset: str = setting(
        "digits", "Data set: digits, MNIST, CIFAR10 or another of `tfprune.recipes.data.data_names()`."
    )
    data_path: str | None = setting(
        None, "Folder where TensorFlow Datasets keeps its prepared data.", if_none="TFDS's own"
    )
    examples: int | None = setting(None, "Training images to use, the first ones.", if_none="all", at_least=1)
    pool: int = setting(
        1,
        "Average the images over squares of this side: the time for the kernels of edges grows with the third power of "
        "the number of inputs, for each hidden node.",
        at_least=1,
    )
    arch: Literal["mlp"] = setting("mlp", "Kind of model.")
    widths: tuple[int, ...] = setting(
        (500, 500),
        "Hidden widths. The original has 500 500 for MNIST and 1000 1000 1000 for CIFAR-10.",
        nonempty=True,
        at_least=1,
    )
    choices: tuple[Choice, ...] = setting(
        ("dpp_node", "random_node", "importance_node", "dpp_edge", "random_edge", "importance_edge"),
        "Ways of pruning.",
        nonempty=True,
    )
    density: tuple[float, ...] = setting(
        (0.1, 0.3, 0.5, 0.7, 0.9),
        "Fractions of the first layer's edges to keep; as many nodes are kept as have the same number of weights in "
        "the first two layers.",
        nonempty=True,
        above=0,
        below=1,
    )
    beta: float = setting(
        10.0,
        "Parameter of the RBF kernels exp(-beta d^2), d^2 the mean squared distance per example; 10 is that of the "
        "original, whose 10 / 60000 is for the sum over all examples.",
        above=0,
    )
    epochs: int = setting(100, "Largest number of passes over the data.", at_least=1)
    stop_accuracy: float = setting(0.99, "Stop training at this accuracy on the training set.")
    lr: float = setting(0.1, "Learning rate, with momentum 0.9.")
    batch_size: int = setting(128, "Examples per step.", at_least=1)
    overwrite: bool = setting(False, "Replace results that are in the folder.")

    def check_files(self) -> None:
        """Checks that the folder can be written, and no results are lost; raises `RunFolderError` otherwise."""
        check_output(self.out, overwrite=True, folder=True)
        if not self.overwrite and (Path(self.out) / "results.csv").exists():
            raise RunFolderError(f"{self.out} holds results.csv; add --overwrite to replace it, or name another folder")


DPP_COMMANDS: dict[str, type] = {
    "teacher": TeacherConfig,
    "student": StudentConfig,
    "prune": PruneStudentConfig,
    "evaluate": EvaluateMasksConfig,
    "compare": CompareConfig,
    "image": ImageConfig,
}
"""Config classes by the command's name; `DPP_MODULES` names the modules with the functions `run(config)`."""


def _check_input(path: str, made_by: str) -> None:
    if not Path(path).is_file():
        raise CheckpointError(f"expected a file made by `tfprune dpp {made_by}`, {path} does not exist; check the path")
