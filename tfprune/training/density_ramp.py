"""The share of weights that a sub-network keeps, epoch by epoch."""

from dataclasses import dataclass

from tfprune.errors import ConfigError


@dataclass(frozen=True)
class DensityRamp:
    """From a half of the weights down to the wanted share over some epochs, fast at first; constant after.

    A share above a half is kept throughout. The value of an epoch depends on its number alone, so a resumed run goes on
    where it was.

    Args:
        final: The share to end with, in (0, 1].
        epochs: Epochs until then; 0 for the final share at once.
        start: The share to begin with.

    Raises:
        ConfigError: A number is out of its range.

    Example:
        >>> ramp = DensityRamp(0.2, epochs=10)
        >>> [round(ramp(epoch), 4) for epoch in (0, 1, 9, 10, 50)]
        [0.5, 0.4187, 0.2003, 0.2, 0.2]

    Reference:
        Zhu & Gupta, "To prune, or not to prune" (2017), as in the code of the multi-prize tickets.
    """

    final: float
    epochs: int
    start: float = 0.5

    def __post_init__(self) -> None:
        for name, value in (("final", self.final), ("start", self.start)):
            if not 0 < value <= 1:
                raise ConfigError(f"{name}: expected a share of weights in (0, 1], received {value}; mend it")
        if self.epochs < 0:
            raise ConfigError(f"epochs: expected 0 or more, received {self.epochs}; mend it")

    def __call__(self, epoch: int) -> float:
        """The share in an epoch, counted from 0."""
        if epoch >= self.epochs or self.final > self.start:
            return float(self.final)
        return self.final + (self.start - self.final) * (1 - epoch / self.epochs) ** 3
