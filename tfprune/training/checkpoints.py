"""The checkpoints of one training: the last good one counts."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfprune.errors import RunFolderError
from tfprune.files import writing

_KEPT = 2
# A file that ends early is an IndexError: TensorFlow's reader does not always use its own errors.
_DAMAGED = (tf.errors.OpError, IndexError)


class Checkpoints:
    """Writes checkpoints to a folder and reads back the latest that is sound.

    TensorFlow notes a checkpoint as the latest when all of it is written, and keeps a checksum of every tensor. One
    that a crash of the machine damaged is passed over for the one before.

    Args:
        folder: The folder, which exists.
        objects: What is in a checkpoint, by name, see `tf.train.Checkpoint`.
    """

    def __init__(self, folder: Path, objects: Mapping[str, Any]) -> None:
        self._folder = folder
        _remove_damaged_note(folder)
        self._checkpoint = tf.train.Checkpoint(**objects)
        self._manager = tf.train.CheckpointManager(self._checkpoint, str(folder), max_to_keep=_KEPT)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._paths())

    def restore(self) -> None:
        """Reads the latest sound checkpoint, if there is any at all.

        Raises:
            RunFolderError: None of those that are there can be read, or they belong to another training.
        """
        damaged: dict[str, str] = {}
        for path in self._paths():
            try:
                self._checkpoint.restore(path).assert_consumed()
            except _DAMAGED as error:
                damaged[Path(path).name] = getattr(error, "message", str(error)).splitlines()[0]
            except (AssertionError, ValueError) as error:
                reason = str(error).splitlines()[0]
                raise RunFolderError(
                    f"{path} is a checkpoint of another training: {reason}; take another --train_path, or --overwrite"
                ) from error
            else:
                for name, reason in damaged.items():
                    print(f"{self._folder / name} is damaged ({reason}): going on from {Path(path).name}")
                return
        if damaged:
            name, reason = next(iter(damaged.items()))
            raise RunFolderError(
                f"no checkpoint in {self._folder} can be read, the latest, {name}, is damaged: {reason}; start anew "
                "with --overwrite, or in another --train_path"
            )

    def save(self) -> None:
        """Writes one; older ones but the last are removed when it is complete.

        Raises:
            WriteError: It cannot be written; the last one is still there.
        """
        try:
            with writing(self._folder, tf.errors.OpError):
                self._manager.save()
        finally:
            for left in self._folder.glob("ckpt-*_temp"):  # of this save, if it failed, or of a process killed in one
                shutil.rmtree(left, ignore_errors=True)

    def _paths(self) -> list[str]:
        """All checkpoints: first the one that was noted as the latest, then the others from the newest on."""
        found = [path.with_suffix("") for path in self._folder.glob("ckpt-*.index")]
        numbered = {int(match[1]): str(path) for path in found if (match := re.fullmatch(r"ckpt-(\d+)", path.name))}
        latest = self._manager.latest_checkpoint
        paths = [numbered[number] for number in sorted(numbered, reverse=True)]
        return [latest, *(path for path in paths if path != latest)] if latest in paths else paths


def _remove_damaged_note(folder: Path) -> None:
    """TensorFlow's manager cannot start with a note of the latest checkpoint that a crash of the machine emptied."""
    try:
        tf.train.get_checkpoint_state(folder)
    except ValueError:
        (folder / "checkpoint").unlink()
