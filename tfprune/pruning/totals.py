"""What a model amounts to."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Totals:
    """Size of a model.

    Attributes:
        channels: Channels of its groups, those that hang together counted once.
        params: Parameters.
        flops: FLOPs for one example, as `tfprune.complexity` counts.
    """

    channels: int
    params: int
    flops: int

    def of(self, measure: str) -> int:
        """The total that a budget's measure means."""
        return {"flops": self.flops, "params": self.params, "density": self.channels}[measure]
