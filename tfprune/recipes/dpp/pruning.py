"""Pruned students: masks of nodes or edges, chosen by DPPs, at random or by importance, and optional reweighting.

`draw_masks` decides which nodes, or which edges of each node, are kept: a fixed number (k-DPPs, chance, importance), or
as many as an L-ensemble draws. `log_probabilities` are those of its draws. `prune_student` applies one mask and, if
asked to, changes the kept weights to compensate for the removed ones. `run` is `tfprune dpp prune`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from tfprune.dpp import (
    KDPP,
    Committee,
    LEnsemble,
    dppy_draws,
    generalization_error,
    node_kernel,
    reweighted_edges,
    reweighted_readers,
)
from tfprune.errors import ConfigError
from tfprune.reading import Expected
from tfprune.recipes.dpp.config import Choice, PruneStudentConfig
from tfprune.recipes.dpp.files import load_arrays, save_arrays, write_rows
from tfprune.recipes.dpp.kernels import StudentKernels
from tfprune.recipes.dpp.student import TrainedStudent
from tfprune.recipes.dpp.teacher import COMMITTEE, TeacherTask
from tfprune.reprs import short_repr

_PLURAL = {"node": "nodes", "edge": "edges of a node"}
_SETTINGS = {
    "choice": Expected("text", choices=get_args(Choice)),
    "k": Expected("whole numbers or text", least=1),
    "expected_size": Expected(finite=False),
    "reweight": Expected("flags"),
    "seed": Expected("whole numbers", least=0),
    "sampler": Expected("text"),
    "original_quirks": Expected("flags"),
    "teacher": Expected("text"),
}
_ARRAYS = COMMITTEE | {
    "masks": Expected("flags", "masks hidden inputs"),
    "pruned_weights": Expected(axes="masks hidden inputs"),
    "pruned_outgoing": Expected(axes="masks hidden"),
    "log_probabilities": Expected(axes="masks", finite=False),
}


@dataclass(frozen=True)
class MaskRow:
    """One mask of a student.

    Attributes:
        mask: Its number.
        nodes: Nodes kept.
        parameters: Weights left, with those of the output layer.
        log_probability: Logarithm of the probability with which a DPP draws it; NaN for other choices.
        error: Generalization error of the student under it, in theory.
    """

    mask: int
    nodes: int
    parameters: int
    log_probability: float
    error: float


@dataclass(frozen=True, eq=False)
class PrunedStudents:
    """One student under several masks.

    Attributes:
        whole: The student before pruning, with rows of equal length.
        masks: Bool `[masks, hidden, inputs]`, True for kept edges.
        networks: The student under each mask.
        log_probabilities: Logarithms of the probabilities with which a DPP draws each mask, `[masks]`, see
            `log_probabilities`; NaN for other choices.
        settings: How it was pruned: choice, k, expected_size (NaN unless k is random), reweight, seed, sampler,
            original_quirks, and the digest of its teacher.
    """

    whole: Committee
    masks: np.ndarray
    networks: list[Committee]
    log_probabilities: np.ndarray
    settings: dict[str, str | int | float | bool]

    __repr__ = short_repr

    def save(self, path: str) -> None:
        """Writes masks and students to an .npz file."""
        arrays = {
            "weights": self.whole.weights,
            "outgoing": self.whole.outgoing,
            "nonlinearity": self.whole.nonlinearity,
            "masks": self.masks,
            "pruned_weights": np.stack([each.weights for each in self.networks]),
            "pruned_outgoing": np.stack([each.outgoing for each in self.networks]),
            "log_probabilities": self.log_probabilities,
        }
        save_arrays(path, "set of masks", arrays | self.settings)

    @classmethod
    def load(cls, path: str) -> "PrunedStudents":
        """Reads masks and students from an .npz file; raises `CheckpointError` if it contains none."""
        arrays = load_arrays(path, "set of masks", _ARRAYS | _SETTINGS)
        pairs = zip(arrays["pruned_weights"], arrays["pruned_outgoing"], strict=True)
        whole = Committee(*(arrays[name] for name in COMMITTEE))
        networks = [Committee(*pair, whole.nonlinearity) for pair in pairs]
        settings = {name: arrays[name] for name in _SETTINGS}
        return cls(whole, arrays["masks"], networks, arrays["log_probabilities"], settings)

    def table(self, errors: Sequence[float]) -> list[MaskRow]:
        """Returns a row for each mask, with its generalization error."""
        return [
            MaskRow(number, int(mask.any(axis=1).sum()), parameters_left(mask), float(log), float(error))
            for number, (mask, log, error) in enumerate(zip(self.masks, self.log_probabilities, errors, strict=True))
        ]


def run(config: PruneStudentConfig) -> PrunedStudents:
    """Draws masks for a student and writes them, with the pruned weights, to a file, and a table of them beside it.

    Args:
        config: The settings.

    Returns:
        The pruned students.

    Raises:
        TfpruneError: An error the user can fix.
    """
    task, trained = TeacherTask.load(config.teacher), TrainedStudent.load(config.student)
    trained.check_teacher(task)
    student, moments = trained.network.normalized(), trained.moments
    quirks, nodes = config.original_quirks, config.choice.endswith("node")
    size = config.expected_size
    if config.k == "random" and size is None:
        size = (student.hidden if nodes else student.inputs) / 2
    kernels = None
    if config.kernels is not None:
        kernels = StudentKernels.stored(config.kernels, "node" if nodes else "edge", student, moments).values
    masks = draw_masks(
        config.choice,
        student,
        moments,
        config.k,
        config.num_masks,
        seed=config.seed,
        original_quirks=quirks,
        sampler=config.sampler,
        expected_size=size,
        kernels=kernels,
    )
    logs = np.full(len(masks), np.nan)
    if config.choice in ("dpp_node", "dpp_edge"):
        logs = log_probabilities(config.choice, student, moments, config.k, masks, expected_size=size, kernels=kernels)
    networks = [
        prune_student(student, mask, moments, nodes=nodes, reweight=config.reweight, quirks=quirks) for mask in masks
    ]
    names = ("choice", "k", "reweight", "seed", "sampler", "original_quirks")
    settings = {name: getattr(config, name) for name in names}
    settings |= {"expected_size": float("nan") if size is None else size, "teacher": task.digest}
    if config.k == "random":
        settings["sampler"] = "tensorflow-probability"
    result = PrunedStudents(student, masks, networks, logs, settings)
    errors = [generalization_error(each, task.network) for each in networks]
    result.save(config.out)
    write_rows(Path(config.table), [asdict(row) for row in result.table(errors)])
    kept = f" (expected {size:g}, kept {_mean_kept(masks, nodes):.3g} on average)" if config.k == "random" else ""
    print(
        f"{config.out}: {len(masks)} mask{'s' * (len(masks) > 1)}, {config.choice} k={config.k}{kept}"
        f"{' reweighted' if config.reweight else ''}; generalization error {np.mean(errors):.5f}, "
        f"unpruned {generalization_error(student, task.network):.5f}; each mask: {config.table}"
    )
    return result


def _mean_kept(masks: np.ndarray, nodes: bool) -> float:
    """Returns the mean number of nodes, or of edges of a node, that masks keep."""
    return float(masks.any(axis=2).sum(axis=1).mean() if nodes else masks.sum(axis=2).mean())


def parameters_left(mask: np.ndarray) -> int:
    """Returns how many weights a mask `[hidden, inputs]` leaves, with those that read the nodes it keeps."""
    return int(mask.sum() + mask.any(axis=1).sum())


def draw_masks(
    choice: str,
    student: Committee,
    moments: np.ndarray,
    k: int | Literal["random"],
    count: int,
    *,
    seed: int,
    original_quirks: bool = False,
    sampler: str = "tfprune",
    expected_size: float | None = None,
    kernels: np.ndarray | None = None,
) -> np.ndarray:
    """Draws masks of nodes or edges.

    Args:
        choice: What is pruned and how it is chosen, such as `dpp_node`; see `tfprune.recipes.dpp.config.Choice`.
        student: The student, with rows of equal length.
        moments: Second moments of its inputs, `[inputs, inputs]`.
        k: Nodes to keep, or edges to keep in each node. `random`: as many as an L-ensemble draws; empty draws are
            rejected, so that each mask keeps a node, or each node an edge. Only choices by DPPs have it.
        count: Number of masks; choices by importance have one.
        seed: The same seed gives the same masks.
        original_quirks: See `PruneStudentConfig`.
        sampler: What samples a fixed number from DPPs, see `PruneStudentConfig`.
        expected_size: The expected size of the L-ensemble, empty draws included.
        kernels: The kernels that DPPs draw from, see `StudentKernels`. Default: they are computed.

    Returns:
        Bool `[masks, hidden, inputs]`, True for kept edges.

    Raises:
        ConfigError: There are fewer than k, or the rank of the kernel is lower.
    """
    way, kind = choice.rsplit("_", 1)
    total = student.hidden if kind == "node" else student.inputs
    if k != "random" and not 1 <= k <= total:
        raise ConfigError(f"--k: expected from 1 to the {total} {_PLURAL[kind]} there are, received {k}")
    rng = np.random.default_rng(seed)
    if way == "dpp":
        if kernels is None:
            kernels = StudentKernels.compute(kind, student, moments).values
        seed = int(rng.integers(2**31)) if kind == "node" else seed
        drawn = _sample(sampler, kernels, k, expected_size, count, seed)
        edges = drawn[0][:, :, None] if kind == "node" else drawn.transpose(1, 0, 2)
        return np.broadcast_to(edges, (count, *student.weights.shape)).copy()
    assert k != "random", "PruneStudentConfig has checked it"
    if kind == "node":
        nodes = _choose_nodes(way, student, k, count, rng, original_quirks)
        return np.repeat(nodes[:, :, None], student.inputs, axis=2)
    if way == "random" and original_quirks:
        return rng.random((count, *student.weights.shape)) < k / student.inputs
    ranks = np.abs(student.weights)[None] if way == "importance" else rng.random((count, *student.weights.shape))
    return as_mask(np.argsort(-ranks, axis=2, kind="stable")[:, :, :k], student.inputs)


def log_probabilities(
    choice: str,
    student: Committee,
    moments: np.ndarray,
    k: int | Literal["random"],
    masks: np.ndarray,
    *,
    expected_size: float | None = None,
    kernels: np.ndarray | None = None,
) -> np.ndarray:
    """Computes the logarithm of the probability with which `draw_masks` draws each mask.

    For nodes it is log det(L_S) - log e_k(L), or, if k is random, log det(L_S) - log(det(L + I) - 1) with the scaled
    kernel, the probability among draws that are not empty. For edges it is the sum of the same over the nodes, whose
    draws are independent.

    Args:
        choice: `dpp_node` or `dpp_edge`.
        student: The student, with rows of equal length.
        moments: Second moments of its inputs.
        k: As for `draw_masks`.
        masks: Bool `[masks, hidden, inputs]`.
        expected_size: As for `draw_masks`.
        kernels: As for `draw_masks`.

    Returns:
        Float64 `[masks]`.
    """
    kind = choice.rsplit("_", 1)[1]
    if kernels is None:
        kernels = StudentKernels.compute(kind, student, moments).values
    chosen = np.any(masks, axis=2)[None] if kind == "node" else masks.transpose(1, 0, 2)
    if k == "random":
        return LEnsemble(kernels, expected_size, nonempty=True).log_probability(chosen).sum(axis=0)
    return KDPP(kernels, k).log_probability(chosen).sum(axis=0)


def _sample(
    sampler: str, kernels: np.ndarray, k: int | Literal["random"], expected_size: float | None, count: int, seed: int
) -> np.ndarray:
    """Samples from DPPs: bool `[kernels, count, items]`."""
    if k == "random":
        return LEnsemble(kernels, expected_size, nonempty=True).sample(count, seed=seed)
    if sampler == "dppy":
        return as_mask(dppy_draws(kernels, k, count, seed=seed % 2**32), kernels.shape[2])
    return as_mask(KDPP(kernels, k).sample(count, seed=seed), kernels.shape[2])


def _choose_nodes(
    way: str, student: Committee, k: int, count: int, rng: np.random.Generator, quirks: bool
) -> np.ndarray:
    """Chooses nodes by importance or at random: bool `[masks, hidden]`."""
    if way == "importance":
        ranks = (student.outgoing if quirks else np.abs(student.outgoing))[None]
    else:
        ranks = rng.random((count, student.hidden))
    return as_mask(np.argsort(-ranks, axis=1, kind="stable")[:, :k], student.hidden)


def as_mask(chosen: np.ndarray, size: int) -> np.ndarray:
    """Marks chosen positions, `[..., k]`, in a bool mask `[..., size]`."""
    mask = np.zeros((*chosen.shape[:-1], size), bool)
    np.put_along_axis(mask, chosen, True, axis=-1)
    return mask


def prune_student(
    student: Committee, mask: np.ndarray, moments: np.ndarray, *, nodes: bool, reweight: bool, quirks: bool = False
) -> Committee:
    """Prunes a student by one mask.

    Args:
        student: The student, with rows of equal length.
        mask: Bool `[hidden, inputs]`, True for kept edges.
        moments: Second moments of its inputs.
        nodes: Whether the mask removes whole nodes.
        reweight: Change the kept weights to compensate for the removed ones: edges within their node, nodes in the
            output layer.
        quirks: Leave removed nodes in when reweighting, as the original does.

    Returns:
        The pruned student.
    """
    pruned = student.masked(mask)
    if not reweight:
        return pruned
    if not nodes:
        return replace(pruned, weights=reweighted_edges(student.weights, mask, moments))
    kept = np.any(mask, axis=1)
    outgoing = reweighted_readers(student.outgoing, kept, node_kernel(student.weights, moments))
    if quirks:
        return replace(student, outgoing=np.where(kept, outgoing, student.outgoing))
    return replace(pruned, outgoing=outgoing)
