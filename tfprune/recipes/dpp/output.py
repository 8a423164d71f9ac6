"""Checks of files that can be made before any work."""

from pathlib import Path

from tfprune.errors import CheckpointError, ConfigError, RunFolderError


def check_output(path: str | None, *, suffix: str, overwrite: bool) -> None:
    """Makes sure that a file can be written; `ConfigError` or `RunFolderError` if not."""
    if path is None:
        return
    if Path(path).suffix != suffix:
        raise ConfigError(f"expected a file to write that ends in {suffix}, received {path}")
    if Path(path).exists() and not overwrite:
        raise RunFolderError(f"{path} exists; add --overwrite to replace it, or name another")
    if not Path(path).parent.is_dir():
        raise RunFolderError(f"the folder of {path} does not exist; make it, or name another")


def check_input(path: str, made_by: str) -> None:
    """Makes sure that a file is there; `CheckpointError` that says which command makes it if not."""
    if not Path(path).is_file():
        raise CheckpointError(f"expected a file made by `tfprune dpp {made_by}`, {path} does not exist; check the path")


def check_at_least(least: float, **settings: float | None) -> None:
    """`ConfigError` for settings below a bound; None passes."""
    for name, value in settings.items():
        if value is not None and not value >= least:
            raise ConfigError(f"--{name}: expected a value of at least {least:g}, received {value:g}")
