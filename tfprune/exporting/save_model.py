"""Models as `.keras` files."""

import os
from pathlib import Path

import keras

from tfprune.errors import ConfigError
from tfprune.exporting.plain_model import plain_model
from tfprune.exporting.quiet import quiet
from tfprune.exporting.replacement import replaced_file


def save_model(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Writes a model as a `.keras` file of stock layers, all or nothing: it loads without tfprune.

    Args:
        model: A functional or sequential model without masks and gates.
        path: The file, ending in `.keras`; an older one is replaced, a missing folder made.

    Raises:
        UnsupportedLayerError: See `plain_model`.
        ConfigError: The name does not end in `.keras`, or is that of a folder.
    """
    path = Path(path)
    if path.suffix != ".keras":
        raise ConfigError(f"expected a file name that ends in .keras, received {path}; rename it")
    plain = plain_model(model)
    with replaced_file(path) as partial, quiet():
        plain.save(partial)
