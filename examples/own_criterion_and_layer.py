"""Adds a criterion and a layer of your own, and prunes a model with both.

A criterion gives each channel a score; higher scores are kept. A layer rule says how a layer treats channels, so that
tfprune can remove some of them. Nothing is downloaded; it takes seconds. Run it from the root of the repository:

    python examples/own_criterion_and_layer.py
"""

import keras
import numpy as np

import tfprune


@tfprune.criteria.register("peak")
class Peak:
    """Scores a channel by the largest absolute weight among the kernels that produce it."""

    uses_data = "never"

    def scores(self, model, groups, data=None):
        """Returns one score per channel; NaN where this criterion has none, and such channels are kept."""
        scores = np.full(groups.channels, np.nan)
        for path, slots in groups.slots.items():
            for slot in slots:
                if slot.role == "out" and slot.weight == "kernel":
                    kernel = np.moveaxis(np.abs(groups.layers[path].kernel), slot.axis, 0)
                    free = slot.channels >= 0  # channels of the model's output cannot be pruned
                    np.fmax.at(scores, slot.channels[free], kernel.reshape(len(kernel), -1).max(axis=1)[free])
        return scores


class Scale(keras.layers.Layer):
    """Multiplies each channel by a trained factor, and all by their mean: the rule says that fewer channels will do."""

    def build(self, shape):
        """Creates the factors `[channels]`."""
        self.factor = self.add_weight(shape=shape[-1:], initializer="ones", name="factor")

    def call(self, inputs):
        """Scales `[batch, ..., channels]`."""
        return inputs * self.factor * keras.ops.mean(inputs, axis=-1, keepdims=True)


def scale_rule(labels, call):
    """Removes a factor with its channel; the output has the channels of the input."""
    axes = labels.of(call.inputs[0])
    labels.slot(call, "factor", -1, axes[-1], "pass")
    labels.put(call.outputs[0], axes)


if __name__ == "__main__":
    layers = [keras.Input((32, 32, 3)), keras.layers.Conv2D(16, 3), Scale(name="scale"), keras.layers.Conv2D(32, 3)]
    model = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(10)])
    print("without a rule:", tfprune.channel_groups(model).pinned)
    tfprune.register_rule(Scale, scale_rule)
    print(tfprune.channel_groups(model))
    small = tfprune.prune_channels(model, criterion="peak", density=0.5, scope="local")
    print("factors:", model.get_layer("scale").factor.shape[0], "->", small.get_layer("scale").factor.shape[0])
