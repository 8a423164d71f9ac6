"""How much students and teachers overlap: the numbers on which the generalisation error depends."""

from dataclasses import dataclass

import numpy as np

from tfprune.dpp.committee import Committee
from tfprune.errors import ConfigError


@dataclass(frozen=True, eq=False)
class OrderParameters:
    """Overlaps of weight vectors, divided by the input dimension.

    Attributes:
        q: Student with student, `[hidden, hidden]`.
        r: Student with teacher, `[hidden, teacher hidden]`.
        t: Teacher with teacher.
    """

    q: np.ndarray
    r: np.ndarray
    t: np.ndarray

    @classmethod
    def of(cls, student: Committee, teacher: Committee) -> "OrderParameters":
        """The overlaps of two networks; `ConfigError` if they take inputs of different size."""
        if student.inputs != teacher.inputs:
            raise ConfigError(
                f"expected a student and a teacher of the same input size, received {student.inputs} and "
                f"{teacher.inputs}; give the teacher that the student was trained with"
            )
        w, w_star = np.asarray(student.weights, np.float64), np.asarray(teacher.weights, np.float64)
        return cls(w @ w.T / student.inputs, w @ w_star.T / student.inputs, w_star @ w_star.T / student.inputs)
