"""Whether a training can be cut into these steps."""

from collections.abc import Sequence

from tfprune.errors import ConfigError


def check_batch_size(batch_size: int, examples: int) -> None:
    """Raises a `ConfigError` unless a batch can be filled."""
    if not 1 <= batch_size <= examples:
        raise ConfigError(f"expected a batch size from 1 to the {examples} training images, received {batch_size}")


def check_steps(examples: int, *, batch_size: int, epochs: int, views: int, start_step: int) -> None:
    """Raises a `ConfigError` unless a training can consist of these steps and begin at this one."""
    check_batch_size(batch_size, examples)
    if epochs < 0 or views < 1:
        raise ConfigError(f"expected epochs >= 0 and views >= 1, received {epochs} and {views}")
    if not 0 <= start_step <= epochs * (examples // batch_size):
        raise ConfigError(
            f"expected a start step from 0 to the {epochs * (examples // batch_size)} steps of {epochs} epochs, "
            f"received {start_step}"
        )


def check_rows(rows: Sequence[int] | None, batch_size: int) -> None:
    """Raises a `ConfigError` unless these places lie within a batch."""
    if rows is not None and not (rows and all(0 <= row < batch_size for row in rows)):
        raise ConfigError(f"expected rows of a batch, 0 to {batch_size - 1}, at least one, received {list(rows)}")
