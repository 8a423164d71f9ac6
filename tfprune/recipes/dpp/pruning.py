"""Pruned students: masks of nodes or edges, chosen by DPPs, at random or by importance, and optional reweighting.

`draw_masks` decides which nodes, or which edges of each node, are kept. `prune_student` applies one mask and, if asked
to, changes the kept weights to compensate for the removed ones. `run` is `tfprune dpp prune`.
"""

from dataclasses import dataclass, replace

import numpy as np

from tfprune.dpp import (
    KDPP,
    Committee,
    dppy_draws,
    edge_kernels,
    generalization_error,
    node_kernel,
    reweighted_edges,
    reweighted_readers,
)
from tfprune.errors import ConfigError
from tfprune.recipes.dpp.config import PruneStudentConfig
from tfprune.recipes.dpp.files import load_arrays, save_arrays
from tfprune.recipes.dpp.student import TrainedStudent
from tfprune.recipes.dpp.teacher import TeacherTask
from tfprune.reprs import short_repr

_PLURAL = {"node": "nodes", "edge": "edges of a node"}
_SETTINGS = ("choice", "k", "reweight", "seed", "sampler", "original_quirks", "teacher")


@dataclass(frozen=True, eq=False)
class PrunedStudents:
    """One student under several masks.

    Attributes:
        whole: The student before pruning, with rows of equal length.
        masks: Bool `[masks, hidden, inputs]`, True for kept edges.
        networks: The student under each mask.
        settings: How it was pruned: choice, k, reweight, seed, sampler, original_quirks, and the digest of its
            teacher.
    """

    whole: Committee
    masks: np.ndarray
    networks: list[Committee]
    settings: dict[str, str | int | bool]

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
        }
        save_arrays(path, "set of masks", arrays | self.settings)

    @classmethod
    def load(cls, path: str) -> "PrunedStudents":
        """Reads masks and students from an .npz file; raises `CheckpointError` if it contains none."""
        arrays = load_arrays(path, "set of masks")
        name = str(arrays["nonlinearity"])
        pairs = zip(arrays["pruned_weights"], arrays["pruned_outgoing"], strict=True)
        settings = {name: arrays[name].item() for name in _SETTINGS}
        whole = Committee(arrays["weights"], arrays["outgoing"], name)
        return cls(whole, arrays["masks"], [Committee(w, v, name) for w, v in pairs], settings)


def run(config: PruneStudentConfig) -> PrunedStudents:
    """Draws masks for a student and writes them, with the pruned weights, to a file.

    Args:
        config: The settings.

    Returns:
        The pruned students.

    Raises:
        TfpruneError: An error the user can fix.
    """
    task, trained = TeacherTask.load(config.teacher), TrainedStudent.load(config.student)
    trained.check_teacher(task)
    student = trained.network.normalized()
    quirks = config.original_quirks
    masks = draw_masks(
        config.choice,
        student,
        trained.moments,
        config.k,
        config.num_masks,
        seed=config.seed,
        original_quirks=quirks,
        sampler=config.sampler,
    )
    nodes = config.choice.endswith("node")
    networks = [
        prune_student(student, mask, trained.moments, nodes=nodes, reweight=config.reweight, quirks=quirks)
        for mask in masks
    ]
    names = ("choice", "k", "reweight", "seed", "sampler", "original_quirks")
    settings = {name: getattr(config, name) for name in names} | {"teacher": task.digest}
    result = PrunedStudents(student, masks, networks, settings)
    result.save(config.out)
    errors = [generalization_error(each, task.network) for each in networks]
    print(
        f"{config.out}: {len(masks)} mask{'s' * (len(masks) > 1)}, {config.choice} k={config.k}"
        f"{' reweighted' if config.reweight else ''}; generalization error {np.mean(errors):.5f}, "
        f"unpruned {generalization_error(student, task.network):.5f}"
    )
    return result


def draw_masks(
    choice: str,
    student: Committee,
    moments: np.ndarray,
    k: int,
    count: int,
    *,
    seed: int,
    original_quirks: bool = False,
    sampler: str = "tfprune",
) -> np.ndarray:
    """Draws masks of nodes or edges.

    Args:
        choice: What is pruned and how it is chosen, such as `dpp_node`; see `tfprune.recipes.dpp.config.Choice`.
        student: The student, with rows of equal length.
        moments: Second moments of its inputs, `[inputs, inputs]`.
        k: Nodes to keep, or edges to keep in each node.
        count: Number of masks; choices by importance have one.
        seed: The same seed gives the same masks.
        original_quirks: See `PruneStudentConfig`.
        sampler: What samples from DPPs, see `PruneStudentConfig`.

    Returns:
        Bool `[masks, hidden, inputs]`, True for kept edges.

    Raises:
        ConfigError: There are fewer than k, or the rank of the kernel is lower.
    """
    way, kind = choice.rsplit("_", 1)
    total = student.hidden if kind == "node" else student.inputs
    if not 1 <= k <= total:
        raise ConfigError(f"--k: expected from 1 to the {total} {_PLURAL[kind]} there are, received {k}")
    rng = np.random.default_rng(seed)
    if kind == "node":
        if way == "dpp":
            drawn = _sample(sampler, node_kernel(student.weights, moments), k, count, int(rng.integers(2**31)))
            nodes = as_mask(drawn[0], student.hidden)
        else:
            nodes = _choose_nodes(way, student, k, count, rng, original_quirks)
        return np.repeat(nodes[:, :, None], student.inputs, axis=2)
    if way == "dpp":
        drawn = _sample(sampler, edge_kernels(student.weights, moments), k, count, seed)
        return as_mask(drawn.transpose(1, 0, 2), student.inputs)
    if way == "random" and original_quirks:
        return rng.random((count, *student.weights.shape)) < k / student.inputs
    ranks = np.abs(student.weights)[None] if way == "importance" else rng.random((count, *student.weights.shape))
    return as_mask(np.argsort(-ranks, axis=2, kind="stable")[:, :, :k], student.inputs)


def _sample(sampler: str, kernels: np.ndarray, k: int, count: int, seed: int) -> np.ndarray:
    """Samples from k-DPPs: int `[kernels, count, k]`."""
    if sampler == "dppy":
        return dppy_draws(kernels, k, count, seed=seed % 2**32)
    return KDPP(kernels, k).sample(count, seed=seed)


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
