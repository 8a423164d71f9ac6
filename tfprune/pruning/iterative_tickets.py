"""Lottery tickets found in rounds of training and pruning."""

from collections.abc import Callable, Iterator

import keras

from tfprune.criteria import Magnitude, WeightCriterion
from tfprune.errors import ConfigError
from tfprune.masks import Masks

Train = Callable[[int, keras.Model, Masks], keras.Model]


def iterative_tickets(
    start: keras.Model,
    density: float,
    train: Train,
    *,
    rounds: int,
    masks: Masks | None = None,
    criterion: WeightCriterion | None = None,
    first_round: int = 1,
) -> Iterator[Masks]:
    """Trains, prunes by the same fraction of what is left, goes back to the start, and so on.

    What it goes back to is `start`, initial weights or those of a network that was trained for a few epochs: then
    `train` must begin with the epoch after these.

    Args:
        start: A plain model. It is not changed.
        density: Fraction of all prunable weights that the last round leaves.
        train: Trains a network with masks, given the number of the round from 1 on, the model and its masks; returns
            the trained network, plain.
        rounds: How many.
        masks: What is left before the first round that is done here. Default: everything.
        criterion: What prunes. Default: `Magnitude` over the whole network.
        first_round: Where to go on, with the masks of the round before it.

    Yields:
        The masks after each round.

    Raises:
        ConfigError: A number is out of range, or the pruning is impossible.

    Example:
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8), keras.layers.Dense(2)])
        >>> tickets = iterative_tickets(model, 0.25, lambda round, model, masks: model, rounds=2)
        >>> [masks.density for masks in tickets]
        [0.5, 0.25]

    Reference:
        Frankle & Carbin, The Lottery Ticket Hypothesis (ICLR 2019), strategy 2; going back to later epochs: Frankle et
        al., Linear Mode Connectivity and the Lottery Ticket Hypothesis (ICML 2020).
    """
    if not 0 < density <= 1 or rounds < 1 or not 1 <= first_round <= rounds + 1:
        raise ConfigError(
            f"expected a density above 0 and at most 1 and at least one round, received {density} and {rounds}"
        )
    criterion = criterion or Magnitude()
    if masks is None:
        masks = criterion(start, 1.0)
    for number in range(first_round, rounds + 1):
        trained = train(number, start, masks)
        masks = criterion(trained, density ** (number / rounds), masks=masks)
        yield masks
