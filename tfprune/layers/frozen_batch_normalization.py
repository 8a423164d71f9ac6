"""Batch normalisation whose factor and offset are not trained."""

from typing import Any

import keras

from tfprune.layers.fused_batch_normalization import FusedBatchNormalization


@keras.saving.register_keras_serializable(package="tfprune")
class FrozenBatchNormalization(FusedBatchNormalization):
    """`FusedBatchNormalization` that keeps its gamma and beta; the moving averages go on following the batches.

    A layer with `trainable=False` would do neither: it takes the moving averages in training, too.

    Args:
        *args: Those of `FusedBatchNormalization`.
        train_offset: Whether beta is trained all the same.
        **kwargs: Those of `FusedBatchNormalization`.
    """

    def __init__(self, *args: Any, train_offset: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.train_offset = train_offset

    def add_weight(self, *args: Any, name: str | None = None, **kwargs: Any) -> keras.Variable:
        """Adds a weight as Keras does, but gamma and beta frozen."""
        if name == "gamma" or (name == "beta" and not self.train_offset):
            kwargs["trainable"] = False
        return super().add_weight(*args, name=name, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {**super().get_config(), "train_offset": self.train_offset}
