"""What a student errs on inputs that it has not seen, in closed form."""

import numpy as np

from tfprune.dpp.activations import expected_products
from tfprune.dpp.committee import Committee
from tfprune.dpp.order_parameters import OrderParameters


def generalization_error(student: Committee, teacher: Committee, *, noise: float = 0.0) -> float:
    """The expectation of half the squared error over standard normal inputs.

    Args:
        student: The student, pruned or not.
        teacher: The teacher.
        noise: Standard deviation of the noise on the teacher's outputs.

    Returns:
        The error.

    Raises:
        ConfigError: They take inputs of different size.

    Example:
        >>> net = Committee(np.eye(2, 4), np.ones(2))
        >>> generalization_error(net, net)
        0.0

    Reference:
        Goldt et al., Dynamics of stochastic gradient descent for two-layer neural networks in the teacher-student setup
        (NeurIPS 2019), equation 9; Saad and Solla (1995).
    """
    order = OrderParameters.of(student, teacher)
    q, t = np.diagonal(order.q), np.diagonal(order.t)
    v, v_star = np.asarray(student.outgoing, np.float64), np.asarray(teacher.outgoing, np.float64)
    g, f = student.nonlinearity, teacher.nonlinearity
    own = v @ expected_products(g, g, order.q, q, q) @ v
    target = v_star @ expected_products(f, f, order.t, t, t) @ v_star
    both = v @ expected_products(g, f, order.r, q, t) @ v_star
    return float(max(0.5 * (own + target) - both, 0.0) + noise**2 / 2)


def random_edges_error(density: float, teacher_hidden: int, per_teacher: int, v_star: float) -> float:
    """The error of a perfect student after random cuts: the special case that has a short formula.

    Args:
        density: Fraction of the edges kept, c.
        teacher_hidden: M, orthonormal teacher nodes.
        per_teacher: Student nodes for each of them, z, which share its output weight.
        v_star: The teacher's output weight.

    Returns:
        The error of erf networks.
    """
    c, z = density, per_teacher
    within = np.arcsin(c * c / (1 + c)) + (np.arcsin(c / (1 + c)) - np.arcsin(c * c / (1 + c))) / z
    bracket = within + np.pi / 6 - 2 * np.arcsin(c / np.sqrt(2 + 2 * c))
    return float(teacher_hidden * v_star**2 / np.pi * bracket)
