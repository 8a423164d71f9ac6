"""Golden numbers: arrays that were computed once with the original code of the papers, in `tests/golden`.

What would give away CIFAR-10's images or the pretrained ResNet-56's weights is sealed: combined with a stream of bytes
that only somebody who has them can compute. It is read as any other array, and its test is skipped without them.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np

from tests import outside

FOLDER = Path(__file__).parent / "golden"
MEAN, STD = np.float32([113.9, 123, 125.3]), np.float32([66.7, 62.1, 63])  # of CIFAR-10's channels, in the original EKG
SECRETS = {"cifar10": outside.cifar10_secret, "pretrained": outside.pretrained_secret}
FROM_CIFAR10: Mapping[str, Mapping[str, Callable[[], np.ndarray]]] = {
    "ekg": {
        "test64_images": lambda: outside.first_test_images()[0],
        "test64_labels": lambda: outside.first_test_images()[1],
        "test64_x": lambda: (outside.first_test_images()[0] - MEAN) / STD,
    },
    "biprop": {"aug/image": lambda: outside.first_test_images()[0][0]},
}


def seal(array: np.ndarray, name: str, secret: bytes) -> np.ndarray:
    """Combines an array with a stream of bytes that follows from a secret; done twice, it gives the array again.

    Args:
        array: The array.
        name: Its name, so that every array has a stream of its own.
        secret: Bytes from which the stream follows.

    Returns:
        An array of the same type and shape, whose bytes tell nothing to somebody without the secret.
    """
    stream = np.frombuffer(hashlib.shake_256(name.encode() + secret).digest(array.nbytes), np.uint8)
    sealed = np.ascontiguousarray(array).reshape(-1).view(np.uint8) ^ stream
    return sealed.view(array.dtype).reshape(array.shape)


@cache
def _opened(original: str) -> Mapping[str, np.ndarray]:
    return np.load(FOLDER / f"{original}.npz")


class GoldenArrays(Mapping[str, np.ndarray]):
    """The arrays of one original, read when they are asked for, or those whose names begin with a prefix."""

    def __init__(self, original: str, prefix: str = "") -> None:
        self.original, self.prefix = original, prefix
        self._file = _opened(original)
        self._computed = FROM_CIFAR10.get(original, {})
        self._secrets = {}
        for name in self._file:
            if name.startswith("sealed/"):
                _, kind, plain = name.split("/", 2)
                self._secrets[plain] = kind
        names = [name for name in self._file if not name.startswith("sealed/")]
        names = [*names, *self._secrets, *self._computed]
        self._names = {name.removeprefix(prefix): name for name in names if name.startswith(prefix)}

    def section(self, prefix: str) -> "GoldenArrays":
        """Returns the arrays whose names begin with `prefix`, by the rest of their names."""
        return GoldenArrays(self.original, self.prefix + prefix)

    def __getitem__(self, name: str) -> np.ndarray:
        name = self._names[name]
        if name in self._computed:
            return self._computed[name]()
        if name in self._secrets:
            kind = self._secrets[name]
            return seal(self._file[f"sealed/{kind}/{name}"], name, SECRETS[kind]())
        return self._file[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
