"""Sub-networks in Keras' own training loop."""

from collections.abc import Callable

import keras

from tfprune.layers import refresh_masks, set_density


class SubnetCallback(keras.callbacks.Callback):
    """Sets the density of a model's sub-network layers before each epoch of `fit`, and keeps their masks up to date.

    Without it everything works, too, at a constant density; evaluation and files then have the masks of the last
    training step rather than those of the scores it led to.

    Args:
        density: From an epoch, counted from 0, to the share of weights to keep, such as a `DensityRamp`. Default: as
            the layers have it.

    Example:
        >>> from tfprune.training import DensityRamp
        >>> model.fit(images, labels, callbacks=[SubnetCallback(DensityRamp(0.2, epochs=10))])  # doctest: +SKIP
    """

    def __init__(self, density: Callable[[int], float] | None = None) -> None:
        super().__init__()
        self._density = density

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Sets the density."""
        if self._density is not None:
            set_density(self.model, self._density(epoch))

    def on_test_begin(self, logs: dict | None = None) -> None:
        """Makes the masks follow the scores."""
        refresh_masks(self.model)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Makes the masks follow the scores."""
        refresh_masks(self.model)
