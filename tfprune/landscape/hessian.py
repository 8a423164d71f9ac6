"""The extreme eigenvalues of the Hessian of a loss, by Lanczos' method on exact products."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from tqdm import tqdm

from tfprune.arguments import line_width, truth
from tfprune.errors import UnsupportedLayerError
from tfprune.landscape.objective import Objective
from tfprune.landscape.settings import BatchNorm, LandscapeSettings, Precision
from tfprune.reprs import short_repr
from tfprune.tables import WIDTH, Column, make_table

_BASIS = 12  # vectors of a Krylov space, each as long as all weights; up to as many weights the matrix itself is made
_ROUNDING = 1e-6  # what is smaller than this fraction of the Hessian is rounding
_ASYMMETRY = 0.01  # of two products that should agree, relative to what is usual for random vectors
Product = Callable[[np.ndarray], np.ndarray]


class UnconvergedWarning(UserWarning):
    """An eigenvalue was not found to the tolerance; it is NaN in the result."""


@dataclass(frozen=True)
class Curvature:
    """The extreme eigenvalues of the Hessian of a mean loss.

    Attributes:
        smallest: The smallest eigenvalue; NaN if it was not found to the tolerance.
        largest: The largest one; NaN likewise.
        residual: The larger of `|Hv - av| / max |a|` of the two, with `a` an eigenvalue and `v` its vector of length 1:
            no more than this fraction of the largest one away from either is an eigenvalue. If it is above the
            tolerance, both are NaN; it is NaN itself where the iteration did not end.
        products: Hessian products that were computed.
        loss: The mean loss at the weights.
        weights: Trainable weights, the size of the Hessian.
        examples: Examples of the data.
        batch_norm: The statistics that batch norms used.
        seed: Seed of the first vectors.
    """

    smallest: float
    largest: float
    residual: float
    products: int
    loss: float
    weights: int
    examples: int
    batch_norm: BatchNorm
    seed: int

    __repr__ = short_repr

    @property
    def converged(self) -> bool:
        """Whether both eigenvalues were found."""
        return bool(np.isfinite([self.smallest, self.largest]).all())

    @property
    def ratio(self) -> float:
        """The condition measure `|smallest / largest|`; NaN if an eigenvalue is missing or all are 0.

        Near 0 the loss is almost convex at the center; the larger it is, the more the surface bends down somewhere. Li
        et al. (2018, section 6) map this ratio. That it is EKG's "condition number" is an inference: the published
        numbers lie between .0211 and .4078, below 1, which fits this ratio and not its inverse; the authors' code does
        not contain it.
        """
        return abs(self.smallest / self.largest) if self.converged and self.largest else float("nan")

    def table(self, *, width: int = WIDTH) -> str:
        """Returns the numbers as a table.

        Args:
            width: Characters per line.
        """
        width = line_width(width)
        cells = (self.smallest, self.largest, self.ratio, self.residual)
        row = [f"{self.loss:.4f}", *(f"{cell:.4g}" for cell in cells), f"{self.products}"]
        titles = ("loss", "smallest", "largest", "|ratio|", "residual", "products")
        return make_table([Column(title) for title in titles], [row], width=width, indent=0)


def curvature(
    model: keras.Model,
    data: Any,
    *,
    loss: Any = None,
    batch_norm: BatchNorm = "batch",
    batches: int | None = None,
    tolerance: float = 1e-3,
    products: int = 500,
    dtype: Precision = "float32",
    seed: int = 0,
    progress: bool = True,
) -> Curvature:
    """Finds the smallest and the largest eigenvalue of the Hessian of a model's mean loss.

    The Hessian is that of the loss by all trainable weights, at the weights of the model. Lanczos' method (ARPACK)
    first finds the eigenvalue of largest size, then, of the Hessian shifted by it, the one at the other end. So an end
    near 0 converges, too. Each product takes two to four times as long as training on the data once. Products are
    computed in `dtype`, and summed over the batches and by ARPACK in float64; 12 vectors of all weights are held.

    Args:
        model: A functional or sequential model. It is not changed.
        data: A pair of arrays, or batches `(x, y)`, such as a `tf.data.Dataset`; they are held in memory.
        loss: What `compile(loss=...)` takes. None: the loss that the model is compiled with; if it is not compiled,
            cross-entropy.
        batch_norm: `batch`, `moving` or `recalibrated`, see `section`. With `recalibrated`, the averages are measured
            once and constant in the derivatives.
        batches: Use only so many batches. Default: all.
        tolerance: Largest residual, as a fraction of the largest eigenvalue by size.
        products: Stop when so many products did not suffice.
        dtype: `float32`, or `float64` for tolerances below 1e-5.
        seed: Seed of the first vectors.
        progress: Show the number of products.

    Returns:
        The eigenvalues. One that was not found is NaN, with a warning; a number that is there is good to the tolerance.

    Raises:
        ConfigError: The data, the loss or a setting cannot be used.
        UnsupportedLayerError: The model has no graph, or TensorFlow has no second derivative of one of its operations,
            or a wrong one: the products are not symmetric then.

    Warns:
        UnconvergedWarning: An eigenvalue was not found.

    Reference:
        Li et al., Visualizing the Loss Landscape of Neural Nets (NeurIPS 2018), section 6; Lehoucq et al., ARPACK
        Users' Guide (1998).

    Example:
        `tfprune.landscape.curvature(model, (images, labels)).ratio`
    """
    settings = LandscapeSettings(tolerance=tolerance, products=products, batch_norm=batch_norm, dtype=dtype, seed=seed)
    tolerance, products, seed = settings.tolerance, settings.products, settings.seed
    progress = truth("progress", progress)
    objective = Objective(model, data, loss=loss, batch_norm=batch_norm, batches=batches, dtype=dtype)
    size = sum(each.size for each in objective.start)
    with tqdm(
        desc=f"Hessian products of {model.name}", unit=" products", disable=None if progress else True, leave=False
    ) as bar:
        counted = _Counted(objective.hessian_product, products, bar)
        try:
            ends = extreme_eigenvalues(counted, size, tolerance=tolerance, seed=seed)
        except _NotSymmetric:
            raise UnsupportedLayerError(
                f"TensorFlow's second derivatives of {model.name} are not symmetric, so they are wrong: a layer has a "
                "gradient of its own, such as PSG layers, or one that is not differentiable, such as bilinear resizing"
            ) from None
    found = Curvature(
        *ends, counted.count, objective.center, size, examples=objective.examples, batch_norm=batch_norm, seed=seed
    )
    if not found.converged:
        reason = f"in {counted.count} products" if np.isnan(found.residual) else f"but to {found.residual:.2g}"
        warnings.warn(
            f"an end of the Hessian's spectrum of {model.name} was not found to {tolerance:g}, {reason}: it is NaN; "
            "allow more products, a larger tolerance, or float64",
            UnconvergedWarning,
            stacklevel=2,
        )
    return found


class _OutOfProducts(Exception):  # noqa: N818  (ends an iteration, is no error)
    pass


class _NotSymmetric(Exception):  # noqa: N818
    pass


class _Counted:
    """A product that may be computed a number of times."""

    def __init__(self, product: Product, limit: int, bar: tqdm) -> None:
        self._product, self._limit, self._bar = product, limit, bar
        self.count = 0

    def __call__(self, vector: np.ndarray) -> np.ndarray:
        if self.count == self._limit:
            raise _OutOfProducts
        self.count += 1
        self._bar.update()
        return self._product(vector)


def extreme_eigenvalues(product: Product, size: int, *, tolerance: float, seed: int) -> tuple[float, float, float]:
    """Finds both ends of the spectrum of a symmetric matrix that is known by its products with vectors.

    Args:
        product: From a vector `[size]` to the matrix times it, float64; it may raise `_OutOfProducts`.
        size: Rows of the matrix.
        tolerance: Largest residual, relative to the largest eigenvalue by size.
        seed: Seed of the first vectors.

    Returns:
        The smallest and the largest eigenvalue, NaN where one was not found, and the larger residual.

    Raises:
        _NotSymmetric: The products are not those of a symmetric matrix.
    """
    random = np.random.default_rng(seed)
    one, other = (vector / np.linalg.norm(vector) for vector in random.standard_normal((2, size)))
    missing = float("nan")
    found: list[tuple[float, float]] = []
    try:
        if size <= _BASIS:
            return _dense_ends(np.stack([product(row) for row in np.eye(size)]))
        images = product(one), product(other)
        usual = max(map(np.linalg.norm, images)) / np.sqrt(size)
        if abs(other @ images[0] - one @ images[1]) > _ASYMMETRY * usual:
            raise _NotSymmetric
        found.append(_dominant(product, one, images[0], tolerance, 0.0))
        shift = found[0][0]
        value, residual = _dominant(
            lambda vector: product(vector) - shift * vector, other, images[1] - shift * other, tolerance, abs(shift)
        )
        found.append((value + shift, residual))
    except (_OutOfProducts, ArpackNoConvergence):
        known = found[0][0] if found else missing
        return (known, missing, missing) if known < 0 else (missing, known, missing)
    smallest, largest = sorted(value for value, _ in found)
    residual = max(residual for _, residual in found) / (max(-smallest, largest) or 1.0)
    return (smallest, largest, residual) if residual <= tolerance else (missing, missing, residual)


def _dense_ends(matrix: np.ndarray) -> tuple[float, float, float]:
    if np.abs(matrix - matrix.T).max() > _ASYMMETRY * np.abs(matrix).max():
        raise _NotSymmetric
    values = np.linalg.eigvalsh((matrix + matrix.T) / 2)
    return float(values[0]), float(values[-1]), 0.0


def _dominant(
    product: Product, start: np.ndarray, image: np.ndarray, tolerance: float, scale: float
) -> tuple[float, float]:
    """Finds the eigenvalue of largest size.

    Args:
        product: From a vector to the matrix times it.
        start: The first vector, of length 1.
        image: Its product.
        tolerance: Largest residual, relative to the eigenvalue.
        scale: Size of what the matrix was computed from: much smaller products are rounding, the eigenvalue is 0.

    Returns:
        The eigenvalue, and its residual `|Av - av|`.
    """
    if np.linalg.norm(image) <= _ROUNDING * scale:
        return 0.0, 0.0
    operator = LinearOperator((len(start), len(start)), matvec=product, dtype=np.float64)
    # Half of the tolerance leaves room for rounding in the products.
    (value,), vectors = eigsh(operator, 1, which="LM", v0=start, ncv=_BASIS, tol=tolerance / 2)
    vector = vectors[:, 0]
    return float(value), float(np.linalg.norm(product(vector) - value * vector))
