"""Every layer that Keras exports has a rule, or stands here with what it is instead."""

import keras

from tfprune.graph.rules.lookup import registered_kinds

CELLS = {"GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells"}
"""Have no calls of their own: `RNN` has the rule."""

BASES = {"InputSpec", "Layer", "Wrapper"}
"""Nothing that a model consists of."""

PROBED = {"Lambda"}
"""May compute anything: is tried on random values."""

IMAGES = {"ContrastLimitedAdaptiveHistogramEqualization", "Pipeline"}
"""Prepare images, whose channels nobody removes."""

FOREIGN = {"FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper"}
"""Run what is not Keras'; are left alone as layers without a rule."""


def test_every_layer_of_keras():
    known = registered_kinds()
    exported = {name: kind for name, kind in vars(keras.layers).items() if isinstance(kind, type)}
    without = {name for name, kind in exported.items() if kind not in known}
    assert without == CELLS | BASES | PROBED | IMAGES | FOREIGN
