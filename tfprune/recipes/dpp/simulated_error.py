"""What networks err on examples, to be held against the theory."""

from typing import NamedTuple

import numpy as np

from tfprune.dpp import Committee


class SimulatedError(NamedTuple):
    """Half the mean squared error, and its standard error."""

    mean: float
    standard_error: float


def simulated_error(network: Committee, inputs: np.ndarray, labels: np.ndarray) -> SimulatedError:
    """The error on examples `[examples, inputs]`, `[examples]`."""
    halves = np.square(network.predict(inputs) - labels) / 2
    return SimulatedError(float(halves.mean()), float(halves.std(ddof=1) / np.sqrt(len(halves))))
