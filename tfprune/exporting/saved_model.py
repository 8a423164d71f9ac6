"""SavedModels: folders that TensorFlow runs without Keras, TensorFlow Serving among others."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import tensorflow as tf

from tfprune.console import quiet
from tfprune.errors import ConfigError
from tfprune.exporting.keras import plain_model
from tfprune.exporting.record import EXTRA_FOLDER, Record, add_record
from tfprune.exporting.serving import conversion_error, input_signature, serving_function
from tfprune.files import as_path, make_folder, writing

_CONTENT = frozenset({"saved_model.pb", "fingerprint.pb", "variables", "assets", EXTRA_FOLDER})


def export_saved_model(model: keras.Model, path: str | os.PathLike[str], *, record: Record | None = None) -> None:
    """Writes a model as a SavedModel, which TensorFlow alone can run (`tf.saved_model.load(path).serve`).

    Args:
        model: A functional or sequential model without masks and gates.
        path: The folder; an older SavedModel there is replaced when the new one is complete.
        record: What to store in the file about the model, see `tfprune.exporting.record_text`. Default: nothing.

    Raises:
        UnsupportedLayerError: See `plain_model`; or a layer does not run on inputs of open sizes.
        ConfigError: There is something other than a SavedModel at `path`; it is not changed.
        WriteError: The folder cannot be written.
    """
    with output_folder(as_path(path), _CONTENT) as partial:
        plain = plain_model(model)
        archive = keras.export.ExportArchive()
        archive.track(plain)
        with quiet():
            try:
                archive.add_endpoint("serve", serving_function(plain), input_signature(plain))
                archive.write_out(partial, verbose=False)
            except (OSError, MemoryError, tf.errors.OpError):
                raise
            except Exception as error:  # layers raise anything
                raise conversion_error("a SavedModel", plain, error) from error
        add_record(partial, record)


@contextmanager
def output_folder(path: Path, content: frozenset[str]) -> Iterator[Path]:
    """Replaces a folder when the block is complete; a block that fails leaves the old one.

    Args:
        path: The folder; missing folders above it are created.
        content: All names that a folder of this kind may contain.

    Yields:
        The folder to write instead, which does not exist yet.

    Raises:
        ConfigError: There is something other than such a folder at `path`; it is not changed.
        WriteError: It cannot be written.
    """
    with writing(path):
        if path.exists() and not (path.is_dir() and content.issuperset(entry.name for entry in path.iterdir())):
            raise ConfigError(
                f"expected a folder with nothing but {', '.join(sorted(content))} to replace, or nothing, at {path}; "
                "found something else; name another"
            )
        whole = path.absolute()
        partial, old = (whole.with_name(f".{whole.name}.{state}") for state in ("partial", "old"))
        for link in filter(Path.is_symlink, (partial, old)):  # it would lead to another folder
            link.unlink()
        if old.exists() and not path.exists():  # a process was killed between the two renames below
            os.replace(old, path)
    make_folder(path.parent)
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    try:
        with writing(path, tf.errors.OpError):
            yield partial
            # A folder with content cannot be replaced in one step; two renames leave the shortest gap.
            if path.exists():
                os.replace(path, old)
            os.replace(partial, path)
    except BaseException:
        if old.exists() and not path.exists():
            os.replace(old, path)
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
