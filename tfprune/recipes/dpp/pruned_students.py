"""Students under masks, reweighted or not."""

from dataclasses import dataclass, replace

import numpy as np

from tfprune.dpp import Committee, node_kernel, reweighted_edges, reweighted_readers
from tfprune.recipes.dpp.arrays_file import load_arrays, save_arrays

_SETTINGS = ("choice", "k", "reweight", "seed", "sampler", "original_quirks", "teacher")


@dataclass(frozen=True, eq=False)
class PrunedStudents:
    """One student under several masks.

    Attributes:
        whole: The student before pruning, with rows of equal length.
        masks: Bool `[masks, hidden, inputs]`.
        networks: The student under each mask.
        settings: How it was pruned: choice, k, reweight, seed, sampler, original_quirks, and the digest of its
            teacher.
    """

    whole: Committee
    masks: np.ndarray
    networks: list[Committee]
    settings: dict[str, str | int | bool]

    def save(self, path: str) -> None:
        """Writes it to an .npz file."""
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
        """Reads it from an .npz file; `CheckpointError` if it holds none."""
        arrays = load_arrays(path, "set of masks")
        name = str(arrays["nonlinearity"])
        pairs = zip(arrays["pruned_weights"], arrays["pruned_outgoing"], strict=True)
        settings = {name: arrays[name].item() for name in _SETTINGS}
        whole = Committee(arrays["weights"], arrays["outgoing"], name)
        return cls(whole, arrays["masks"], [Committee(w, v, name) for w, v in pairs], settings)


def prune_student(
    student: Committee, mask: np.ndarray, moments: np.ndarray, *, nodes: bool, reweight: bool, quirks: bool = False
) -> Committee:
    """The student under one mask.

    Args:
        student: The student, with rows of equal length.
        mask: Bool `[hidden, inputs]`.
        moments: Second moments of its inputs.
        nodes: Whether whole nodes were cut.
        reweight: Let what is kept take over the work of what is cut: of edges within their node, of nodes in the
            output layer.
        quirks: Leave cut nodes in when reweighting, as the original does.

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
