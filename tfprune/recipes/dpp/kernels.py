"""The kernels that masks of a student are drawn from, and their file.

`--kernels` stores them, so that other draws, and other programs, use the same ones.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfprune.dpp import Committee, edge_kernels, node_kernel
from tfprune.errors import CheckpointError
from tfprune.reading import Expected
from tfprune.recipes.dpp.files import digest, load_arrays, save_arrays
from tfprune.reprs import short_repr

_KIND = "set of kernels"
_TEXTS = {name: Expected("text") for name in ("items", "student", "data")}
_VALUES = {"values": Expected(axes="kernels items items")}


@dataclass(frozen=True, eq=False)
class StudentKernels:
    """Kernels of a student.

    Attributes:
        values: Float64 `[kernels, items, items]`: one kernel of the nodes, or one for the edges of each node.
        items: What the items are, `node` or `edge`.
        student: Digest of the student's weights, rows scaled to equal length.
        data: Digest of the second moments of its training inputs.
    """

    values: np.ndarray
    items: str
    student: str
    data: str

    __repr__ = short_repr

    @classmethod
    def compute(cls, items: str, student: Committee, moments: np.ndarray) -> "StudentKernels":
        """Computes kernels.

        Args:
            items: `node` or `edge`.
            student: The student, with rows of equal length.
            moments: Second moments of its inputs, `[inputs, inputs]`.

        Returns:
            The kernels.
        """
        if items == "node":
            values = node_kernel(student.weights, moments)[None]
        else:
            values = edge_kernels(student.weights, moments)
        return cls(values, items, digest(student.weights), digest(moments))

    @classmethod
    def stored(cls, path: str, items: str, student: Committee, moments: np.ndarray) -> "StudentKernels":
        """Reads kernels from an .npz file; computes and writes them if there is none.

        Args:
            path: The file.
            items: `node` or `edge`.
            student: The student, with rows of equal length.
            moments: Second moments of its inputs.

        Returns:
            The kernels.

        Raises:
            CheckpointError: The file cannot be read, or has kernels of other items, another student or other data.
            WriteError: The file cannot be written.
        """
        if not Path(path).exists():
            kernels = cls.compute(items, student, moments)
            save_arrays(path, _KIND, vars(kernels))
            return kernels
        found = load_arrays(path, _KIND, _TEXTS)
        known = (
            (f"kernels of {items}s", found["items"] == items),
            ("kernels of this student", found["student"] == digest(student.weights)),
            ("kernels of this student's training inputs", found["data"] == digest(moments)),
        )
        for what, holds in known:
            if not holds:
                raise CheckpointError(f"expected {what}, {path} has those of others; remove it, or name another file")
        kernels, size = (1, student.hidden) if items == "node" else student.weights.shape
        return cls(**load_arrays(path, _KIND, _VALUES, {"kernels": kernels, "items": size}), **found)
