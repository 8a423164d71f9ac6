"""What is wrong with settings whatever the model, and can be said before TensorFlow is there."""

from pathlib import Path

from tfprune.errors import CheckpointError, ConfigError, RunFolderError


def at_least_one(**settings: int | tuple[int, ...] | None) -> None:
    """Refuses settings below 1; `None` passes.

    Args:
        settings: Whole numbers, or several, by the name of their setting.

    Raises:
        ConfigError: One of them is below 1.
    """
    for name, value in settings.items():
        numbers = value if isinstance(value, tuple) else () if value is None else (value,)
        if any(number < 1 for number in numbers) or value == ():
            shown = " ".join(map(str, numbers)) or "nothing"
            raise ConfigError(f"--{name}: expected values of at least 1, received {shown}")


def check_model_file(path: str | None) -> None:
    """Makes sure that a model can be read.

    Args:
        path: The file; None if there is none to read.

    Raises:
        CheckpointError: There is no such file, or it is no `.keras` file.
    """
    if path is None:
        return
    if Path(path).is_dir():
        raise CheckpointError(f"expected a .keras file, {path} is a folder; name a file")
    if not Path(path).exists():
        raise CheckpointError(f"expected a .keras file, {path} does not exist; check the path")
    if Path(path).suffix != ".keras":
        raise CheckpointError(f"expected a .keras file, received {path}; save the model with model.save('name.keras')")


def check_output(path: str | None, *, overwrite: bool) -> None:
    """Makes sure, before any work, that a file can be written.

    Args:
        path: The file or folder; None if there is nothing to write.
        overwrite: Whether an older one may go.

    Raises:
        RunFolderError: It exists and must not be overwritten, or its folder does not exist.
    """
    if path is None:
        return
    if Path(path).exists() and not overwrite:
        raise RunFolderError(f"{path} exists; add --overwrite to replace it, or name another")
    if not Path(path).parent.is_dir():
        raise RunFolderError(f"the folder of {path} does not exist; make it, or name another")
