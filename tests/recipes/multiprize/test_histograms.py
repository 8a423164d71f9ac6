import keras
import numpy as np
import tensorflow as tf

from tfprune.recipes.multiprize.training import Histograms


def test_gradients_that_overflow_are_left_out(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="dense")])
    gradients = [tf.constant([[1.0, np.inf, 2.0]] * 2), tf.ones(3)]
    Histograms(tmp_path, model, lambda: gradients).write(4)
    (file,) = tmp_path.iterdir()
    values = [(e.step, v.tag) for e in tf.compat.v1.train.summary_iterator(str(file)) for v in e.summary.value]
    bias = model.trainable_variables[1].path
    assert values == [(4, "dense/kernel"), (4, "dense/bias"), (4, f"gradients/{bias}")]
