"""Which student nodes have learned which teacher node."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

SPECIALISED = 0.7


@dataclass(frozen=True, eq=False)
class Alignment:
    """Student nodes in the order of the teacher nodes that they stand for.

    Attributes:
        order: Student nodes, those of a teacher node together, `[hidden]`.
        teacher: The teacher node of each, in that order.
        strengths: |R| of each pair.
    """

    order: np.ndarray
    teacher: np.ndarray
    strengths: np.ndarray

    @classmethod
    def of(cls, overlaps: np.ndarray) -> "Alignment":
        """Shares the student nodes out among the teacher nodes, evenly and with the largest total overlap.

        It needs no converged student: `converged` says whether the result means something.

        Args:
            overlaps: R, `[hidden, teacher hidden]`.

        Returns:
            The alignment.

        Example:
            >>> Alignment.of(np.array([[0.0, 1.0], [0.9, 0.1], [0.2, -0.8], [1.0, 0.0]])).order.tolist()
            [1, 3, 0, 2]
        """
        hidden, teachers = overlaps.shape
        slots = np.tile(np.arange(teachers), -(-hidden // teachers))
        rows, columns = linear_sum_assignment(np.abs(overlaps)[:, slots], maximize=True)
        teacher = slots[columns]
        order = np.lexsort((rows, teacher))
        return cls(rows[order], teacher[order], np.abs(overlaps[rows, teacher])[order])

    @property
    def converged(self) -> bool:
        """Whether every student node has found its teacher node."""
        return bool((self.strengths >= SPECIALISED).all())

    def warning(self) -> str | None:
        """What to say of a student that has not converged; None of one that has."""
        lost = int((self.strengths < SPECIALISED).sum())
        if not lost:
            return None
        return (
            f"the student has not converged: {lost} of {len(self.order)} hidden nodes overlap by less than "
            f"{SPECIALISED} with the teacher node that they stand for; train with more data or another --lr or --seed"
        )
