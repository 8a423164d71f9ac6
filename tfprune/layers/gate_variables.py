"""What every gated layer owns: score, order and rate of its channels."""

import keras
import tensorflow as tf

from tfprune.ops import channel_mask


class GateVariables:
    """Mixin of layers with a gate on their output channels.

    Attributes:
        score: float32 `[channels]`, 0 at first; its *gradient* is the channels' importance. Not trained: to read it,
            watch `layer.score.value` on a gradient tape.
        order: float32 `[channels]`, rank of each channel, 0 for the most important; all 0 before the first ranking,
            which keeps everything.
        rate: float32 scalar, fraction of channels to keep, 1 at first.
    """

    def add_gate(self: keras.Layer, channels: int) -> None:
        """Creates the variables."""
        shapes = {"score": ((channels,), "zeros"), "order": ((channels,), "zeros"), "rate": ((), "ones")}
        for name, (shape, initializer) in shapes.items():
            variable = self.add_weight(
                name=name, shape=shape, initializer=initializer, dtype="float32", trainable=False, autocast=False
            )
            setattr(self, name, variable)

    def channel_mask(self) -> tf.Tensor:
        """The gate's mask, float32 `[channels]`."""
        return channel_mask(tf.convert_to_tensor(self.order), tf.convert_to_tensor(self.rate))  # type: ignore[attr-defined]
