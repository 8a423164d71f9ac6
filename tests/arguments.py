"""Wrong arguments: values of all kinds for each parameter of a function, and what is wrong with its answers.

`wrong_answers` gives every parameter what it does not take, and what it should, the others as in the row of the
function. The parameters come from the signature. Data, models of any kind and paths have tests of their own
(`test_wrong_types`, `test_outputs`); what users write themselves (`between`, losses) and NumPy arrays of scores are not
tried.
"""

import decimal
import enum
import inspect
import warnings
from fractions import Fraction
from pathlib import Path

import keras
import numpy as np

from tfprune.errors import TfpruneError

layers = keras.layers


class Word(enum.Enum):
    """A value of no use."""

    A = 1


def endless():
    while True:
        yield "x"


class NoRepr:
    """A value that fails when it is shown."""

    def __repr__(self):
        raise RuntimeError("no")


POOL = [
    *(None, True, False, 0, 1, -1, 3, 2**31, -(2**63), 10**22, 10**400, 0.5, -0.5, 1.5, 1e308),
    *(float("nan"), float("inf"), float("-inf"), np.float32(0.5), np.int64(8), np.float64("nan"), np.bool_(True)),
    *(Fraction(1, 2), decimal.Decimal("0.5"), 1j, "", "x", "global", "a\n\x1b[31mb\0", "y" * 5000, b"x", "\udcff"),
    *([], (), {}, set(), [0.5], (8, 8), ["a"], ("a", None), {"a": 0.5}, {"a": "x"}, {1: 2}, [[]], [[1], [2, 3]]),
    *(np.zeros(0), np.array(0.5), np.ones((2, 2)), np.array([None]), np.array(["a"]), range(3), iter("ab"), slice(1)),
    *(keras.Model, keras.layers.Dense, layers.Dense(2), print, lambda: 0, object(), type, Word.A, Path("no/such"), ...),
]

FILE = object()
"""Stands for the path of a file that does not exist yet."""

LATER = {
    "data",
    "between",
    "reweight",
    "recalibrate",
    "plans",
    "scores",
    "score_initializer",
    "loss",
    "images",
    "labels",
    "x",
    "y",
    "on_scores",
}
"""Parameters that take data, functions of the user, or objects that only tfprune makes."""


def parameters(function, left_out):
    """Names of the parameters that are tried."""
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    found = inspect.signature(function).parameters.values()
    return [each.name for each in found if each.kind not in kinds and each.name not in left_out | {"self"}]


def answer(call):
    """Returns what is wrong with the answer of a call; empty if it is accepted, or refused in one line of tfprune."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            call()
        except TfpruneError as error:
            said = str(error)
            if not said.isprintable() or len(said) >= 400:
                return f"{len(said)} characters: {said[:200]}"
            if "expected" not in said and "cannot" not in said:
                return ""
        except Exception as error:
            return f"{type(error).__name__}: {str(error)[:150]}"
    return ""


MANY = ("runs", "warm_up", "steps", "epochs", "iterations")
"""Parameters of which large numbers are right, and would be done."""


def wrong_answers(function, valid, folder, left_out=frozenset(LATER)):
    """Yields parameter, value and answer where the answer is not as it should be."""
    for name in parameters(function, left_out):
        for number, value in enumerate(POOL):
            given = {key: folder / f"{name}{number}.keras" if each is FILE else each for key, each in valid.items()}
            if name in MANY and not isinstance(value, bool) and isinstance(value, int | np.integer) and value > 3:
                continue
            if said := answer(lambda given=given | {name: value}: function(**given)):
                yield name, type(value).__name__, said
