"""The two-layer networks of the teacher-student setup."""

from dataclasses import dataclass, replace

import numpy as np

from tfprune.dpp.activations import activation
from tfprune.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Committee:
    """y = v g(W x / sqrt N), without biases.

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

    def __post_init__(self) -> None:
        activation(self.nonlinearity)
        if self.weights.ndim != 2 or self.outgoing.shape != self.weights.shape[:1]:
            raise ConfigError(
                f"expected weights [hidden, inputs] and [hidden], received shapes {self.weights.shape} and "
                f"{self.outgoing.shape}"
            )
        if not (np.isfinite(self.weights).all() and np.isfinite(self.outgoing).all()):
            raise ConfigError("expected finite weights, received NaN or infinity: the training diverged; lower --lr")

    @property
    def hidden(self) -> int:
        """Number of hidden nodes."""
        return self.weights.shape[0]

    @property
    def inputs(self) -> int:
        """Input dimension, N."""
        return self.weights.shape[1]

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Outputs `[examples]` for inputs `[examples, inputs]`."""
        fields = inputs @ np.asarray(self.weights, inputs.dtype).T / np.sqrt(self.inputs)
        return activation(self.nonlinearity)(fields) @ self.outgoing

    def normalized(self) -> "Committee":
        """The same with rows of W of length sqrt N, which is what is pruned; v stays."""
        lengths = np.linalg.norm(np.asarray(self.weights, np.float64), axis=1, keepdims=True)
        if not lengths.all():
            raise ConfigError("expected hidden nodes with weights, received one whose weights are all 0; train longer")
        return replace(self, weights=self.weights / lengths * np.sqrt(self.inputs))

    def masked(self, mask: np.ndarray) -> "Committee":
        """The network without the edges where the bool `[hidden, inputs]` mask is False; nodes without edges go."""
        if mask.shape != self.weights.shape:
            raise ConfigError(
                f"expected masks of {self.hidden} x {self.inputs} edges, received {' x '.join(map(str, mask.shape))}: "
                "they belong to another student"
            )
        return replace(self, weights=self.weights * mask, outgoing=self.outgoing * mask.any(axis=1))
