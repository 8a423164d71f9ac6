"""Prunes a model before any training, then trains only the signs of the weights that are kept.

This is the idea of Peek-a-Boo (Chen, Zhang & Wang, ICLR 2022): SynFlow keeps 30 % of the randomly drawn weights, and
the optimizer Bop changes their signs and never their magnitudes. Nothing is downloaded; it takes seconds. Run it from
the root of the repository:

    python examples/train_signs.py
"""

import keras
import numpy as np

import tfprune
from tfprune.optimizers import SGD, Bop


def main():
    """Prunes at initialization, trains signs, and returns to built-in layers."""
    keras.utils.set_random_seed(0)
    data = tfprune.recipes.data.load_data("digits")
    images, labels = data.normalize(data.train_images), data.train_labels
    test = data.normalize(data.test_images), data.test_labels
    inputs = x = keras.Input(data.input_shape)
    for filters in (32, 64):
        x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))
        x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Flatten()(x)
    model = keras.Model(inputs, keras.layers.Dense(data.num_classes)(x))
    drawn = np.abs(np.asarray(model.layers[1].kernel))

    masks = tfprune.criteria.SynFlow(iterations=100)(model, density=0.3)  # needs no data
    print(masks.table())

    sparse = tfprune.convert(model, "masked", masks)
    bop = Bop(adaptivity_rate=0.01, threshold=1e-4, companion=SGD(0.01, momentum=0.9, momentum_form="torch"))
    sparse.compile(bop, keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    sparse.fit(images, labels, epochs=10, verbose=0)

    finished = tfprune.convert(sparse, "plain")  # built-in Keras layers; pruned weights are 0
    kernel = np.asarray(finished.layers[1].kernel)
    kept = kernel != 0
    print(f"first convolution: {kept.sum()} of {kept.size} weights are kept")
    print("magnitudes are those that were drawn:", np.array_equal(np.abs(kernel[kept]), drawn[kept]))
    finished.compile(loss=sparse.loss, metrics=["accuracy"])
    print(f"{finished.evaluate(*test, verbose=0)[1]:.1%} of the test images are classified correctly")


if __name__ == "__main__":
    main()
