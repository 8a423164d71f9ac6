"""The theory of teacher-student networks: order parameters and the generalization error that follows from them.

A `Committee` is a two-layer network without biases. For Gaussian inputs its error depends only on the overlaps of
student and teacher (`OrderParameters`), so `generalization_error` is exact and needs no examples. `Alignment` assigns
the student's nodes to those of the teacher.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import erf, expit

from tfprune.arguments import number, whole_number
from tfprune.arrays import checked_array
from tfprune.errors import ConfigError, check_choice
from tfprune.reprs import described, short_repr

Nonlinearity = Literal["erf", "sigmoid", "relu"]
_NODES = 96  # of the Gauss-Hermite quadrature
_SPECIALIZED = 0.7  # least overlap of a student's node with its teacher's node after convergence


@dataclass(frozen=True, eq=False)
class Committee:
    """A two-layer network y = v g(W x / sqrt N), without biases.

    Attributes:
        weights: W, `[hidden, inputs]`.
        outgoing: v, `[hidden]`.
        nonlinearity: Name of g, see `activation`.

    Example:
        >>> Committee(np.ones((2, 4)), np.array([1.0, -1.0])).predict(np.ones((3, 4))).tolist()
        [0.0, 0.0, 0.0]
    """

    weights: np.ndarray
    outgoing: np.ndarray
    nonlinearity: str = "erf"

    __repr__ = short_repr

    def __post_init__(self) -> None:
        activation(self.nonlinearity)
        for name in ("weights", "outgoing"):
            object.__setattr__(self, name, checked_array(getattr(self, name), name, finite=False))
        if self.weights.ndim != 2 or self.outgoing.shape != self.weights.shape[:1]:
            raise ConfigError(
                f"expected weights [hidden, inputs] and [hidden], received shapes {self.weights.shape} and "
                f"{self.outgoing.shape}"
            )
        if not (np.isfinite(self.weights).all() and np.isfinite(self.outgoing).all()):
            raise ConfigError("expected finite weights, received NaN or infinity: the training diverged; lower --lr")

    @property
    def hidden(self) -> int:
        """The number of hidden nodes."""
        return self.weights.shape[0]

    @property
    def inputs(self) -> int:
        """The input dimension, N."""
        return self.weights.shape[1]

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Returns the outputs `[examples]` for inputs `[examples, inputs]`."""
        inputs = checked_array(inputs, "inputs", within=np.float64)
        if inputs.ndim != 2 or inputs.shape[1] != self.inputs:
            raise ConfigError(
                f"inputs: expected an array [examples, {self.inputs}], received shape {list(inputs.shape)}"
            )
        fields = inputs @ np.asarray(self.weights, inputs.dtype).T / np.sqrt(self.inputs)
        return activation(self.nonlinearity)(fields) @ self.outgoing

    def normalized(self) -> "Committee":
        """Returns a copy whose rows of W have length sqrt N, which is what is pruned; v is the same."""
        lengths = np.linalg.norm(np.asarray(self.weights, np.float64), axis=1, keepdims=True)
        if not lengths.all():
            raise ConfigError("expected hidden nodes with weights, received one whose weights are all 0; train longer")
        return replace(self, weights=self.weights / lengths * np.sqrt(self.inputs))

    def masked(self, mask: np.ndarray) -> "Committee":
        """Returns a copy with the edges where the bool mask `[hidden, inputs]` is True, without nodes that lose all."""
        mask = checked_array(mask, "mask")
        if mask.shape != self.weights.shape:
            raise ConfigError(
                f"expected masks of {self.hidden} x {self.inputs} edges, received {' x '.join(map(str, mask.shape))}: "
                "they belong to another student"
            )
        return replace(self, weights=self.weights * mask, outgoing=self.outgoing * mask.any(axis=1))


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

    __repr__ = short_repr

    @classmethod
    def from_committees(cls, student: Committee, teacher: Committee) -> "OrderParameters":
        """Computes the overlaps of two networks; raises `ConfigError` if their inputs differ in size."""
        for each in (student, teacher):
            if not isinstance(each, Committee):
                raise ConfigError(f"expected a Committee, received {described(each)}")
        if student.inputs != teacher.inputs:
            raise ConfigError(
                f"expected a student and a teacher of the same input size, received {student.inputs} and "
                f"{teacher.inputs}; give the teacher that the student was trained with"
            )
        w, w_star = np.asarray(student.weights, np.float64), np.asarray(teacher.weights, np.float64)
        return cls(w @ w.T / student.inputs, w @ w_star.T / student.inputs, w_star @ w_star.T / student.inputs)


def activation(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """Returns an activation by name.

    Args:
        name: `erf`: erf(h / sqrt 2); `sigmoid`: 1 / (1 + exp(-h)); `relu`: max(h, 0).

    Raises:
        ConfigError: The name is another one.
    """
    check_choice("nonlinearity", name, Nonlinearity)
    functions: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "erf": lambda h: erf(h / np.sqrt(2)),
        "sigmoid": expit,
        "relu": lambda h: np.maximum(h, 0),
    }
    return functions[name]


def expected_products(
    first: str, second: str, covariances: np.ndarray, first_variances: np.ndarray, second_variances: np.ndarray
) -> np.ndarray:
    """Computes E[g(u_i) f(v_j)] for jointly Gaussian u, v with mean 0.

    In closed form for erf with erf and ReLU with ReLU; other pairs by Gauss-Hermite quadrature.

    Args:
        first: Name of g.
        second: Name of f.
        covariances: `[i, j]`.
        first_variances: `[i]`.
        second_variances: `[j]`.

    Returns:
        Float64 `[i, j]`.

    Example:
        >>> float(expected_products("relu", "relu", np.eye(1), np.ones(1), np.ones(1))[0, 0])
        0.5

    Reference:
        Saad and Solla, On-line learning in soft committee machines (1995) for erf; Cho and Saul, Kernel methods for
        deep learning (2009) for ReLU.
    """
    c = checked_array(covariances, "covariances", within=np.float64)
    first_variances = checked_array(first_variances, "first_variances", within=np.float64)
    second_variances = checked_array(second_variances, "second_variances", within=np.float64)
    if c.ndim != 2 or (first_variances.shape, second_variances.shape) != (c.shape[:1], c.shape[1:]):
        raise ConfigError(
            f"expected covariances [i, j] and variances [i] and [j], received shapes {list(c.shape)}, "
            f"{list(first_variances.shape)} and {list(second_variances.shape)}"
        )
    functions = activation(first), activation(second)
    a, b = first_variances[:, None], second_variances[None, :]
    if first == second == "erf":
        return 2 / np.pi * np.arcsin(np.clip(c / np.sqrt((1 + a) * (1 + b)), -1, 1))
    if first == second == "relu":
        scale = np.sqrt(a * b)
        angle = np.arccos(np.clip(np.divide(c, scale, out=np.zeros_like(c + scale), where=scale > 0), -1, 1))
        return scale / (2 * np.pi) * (np.sin(angle) + (np.pi - angle) * np.cos(angle))
    return _quadrature(*functions, a + 0 * c, b + 0 * c, c)


def _quadrature(g: Callable, f: Callable, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Computes the expectation over u = sqrt(a) s and v = (c / a) u + rest t, s and t standard normal."""
    points, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    weights = weights / weights.sum()
    slope = np.divide(c, np.sqrt(a), out=np.zeros_like(c, dtype=float), where=a > 0)
    rest = np.sqrt(np.maximum(b - slope**2, 0))
    inner = f(slope[..., None, None] * points[:, None] + rest[..., None, None] * points) @ weights
    return (g(np.sqrt(a)[..., None] * points) * inner) @ weights


def generalization_error(student: Committee, teacher: Committee, *, noise: float = 0.0) -> float:
    """Computes the expectation of half the squared error over standard normal inputs.

    Args:
        student: The student, pruned or not.
        teacher: The teacher.
        noise: Standard deviation of the noise on the teacher's outputs.

    Returns:
        The error.

    Raises:
        ConfigError: Their inputs differ in size.

    Example:
        >>> net = Committee(np.eye(2, 4), np.ones(2))
        >>> generalization_error(net, net)
        0.0

    Reference:
        Goldt et al., Dynamics of stochastic gradient descent for two-layer neural networks in the teacher-student setup
        (NeurIPS 2019), equation 9; Saad and Solla (1995).
    """
    order, noise = OrderParameters.from_committees(student, teacher), number("noise", noise, at_least=0)
    q, t = np.diagonal(order.q), np.diagonal(order.t)
    v, v_star = np.asarray(student.outgoing, np.float64), np.asarray(teacher.outgoing, np.float64)
    g, f = student.nonlinearity, teacher.nonlinearity
    own = v @ expected_products(g, g, order.q, q, q) @ v
    target = v_star @ expected_products(f, f, order.t, t, t) @ v_star
    both = v @ expected_products(g, f, order.r, q, t) @ v_star
    return float(max(0.5 * (own + target) - both, 0.0) + noise * noise / 2)


def random_edges_error(density: float, teacher_hidden: int, per_teacher: int, v_star: float) -> float:
    """Computes the error of a perfect student after removal of random edges, a special case with a short formula.

    Args:
        density: Fraction of the edges kept, c.
        teacher_hidden: M, orthonormal teacher nodes.
        per_teacher: Student nodes for each of them, z, which share its output weight.
        v_star: The teacher's output weight.

    Returns:
        The error of erf networks.
    """
    c, z = number("density", density, above=0, at_most=1), whole_number("per_teacher", per_teacher)
    teacher_hidden, v_star = whole_number("teacher_hidden", teacher_hidden), number("v_star", v_star)
    within = np.arcsin(c * c / (1 + c)) + (np.arcsin(c / (1 + c)) - np.arcsin(c * c / (1 + c))) / z
    bracket = within + np.pi / 6 - 2 * np.arcsin(c / np.sqrt(2 + 2 * c))
    return float(teacher_hidden * v_star * v_star / np.pi * bracket)


@dataclass(frozen=True, eq=False)
class Alignment:
    """Student nodes in the order of the teacher nodes to which they are assigned.

    Attributes:
        order: Student nodes, those of a teacher node together, `[hidden]`.
        teacher: The teacher node of each, in that order.
        strengths: |R| of each pair.
    """

    order: np.ndarray
    teacher: np.ndarray
    strengths: np.ndarray

    __repr__ = short_repr

    @classmethod
    def from_overlaps(cls, overlaps: np.ndarray) -> "Alignment":
        """Assigns the student nodes to the teacher nodes, evenly and with the largest total overlap.

        The student need not have converged; `converged` says whether the result is meaningful.

        Args:
            overlaps: R, `[hidden, teacher hidden]`.

        Returns:
            The alignment.

        Example:
            >>> Alignment.from_overlaps(np.array([[0.0, 1.0], [0.9, 0.1], [0.2, -0.8], [1.0, 0.0]])).order.tolist()
            [1, 3, 0, 2]
        """
        overlaps = checked_array(overlaps, "overlaps", within=np.float64)
        if overlaps.ndim != 2 or not overlaps.size:
            raise ConfigError(f"overlaps: expected [hidden, teacher hidden], received shape {list(overlaps.shape)}")
        hidden, teachers = overlaps.shape
        slots = np.tile(np.arange(teachers), -(-hidden // teachers))
        rows, columns = linear_sum_assignment(np.abs(overlaps)[:, slots], maximize=True)
        teacher = slots[columns]
        order = np.lexsort((rows, teacher))
        return cls(rows[order], teacher[order], np.abs(overlaps[rows, teacher])[order])

    @property
    def converged(self) -> bool:
        """Whether every student node overlaps with its teacher node."""
        return bool((self.strengths >= _SPECIALIZED).all())

    def warning(self) -> str | None:
        """Returns a warning about a student that has not converged; None for others."""
        lost = int((self.strengths < _SPECIALIZED).sum())
        if not lost:
            return None
        return (
            f"the student has not converged: {lost} of {len(self.order)} hidden nodes overlap by less than "
            f"{_SPECIALIZED} with their teacher node; train with more data or another --lr or --seed"
        )
