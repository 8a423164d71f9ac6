"""Finds a binary sub-network in a model with random weights, and stores it with about one bit per weight.

This is the idea of multi-prize tickets (Diffenderfer & Kailkhura, ICLR 2021): no weight is ever trained. A score for
each weight is, and the 20 % with the largest scores form the sub-network, of which only the signs and one size per
output channel are used. Nothing is downloaded; it takes seconds. Run it from the root of the repository:

    python examples/binary_subnetwork.py
"""

from pathlib import Path

import keras
import numpy as np

import tfprune

OUT = Path("runs/examples/binary_subnetwork")


def main():
    """Trains scores, exports the sub-network, and loads it again."""
    keras.utils.set_random_seed(0)
    data = tfprune.recipes.data.load_data("digits")
    images, labels = data.normalize(data.train_images), data.train_labels
    test = data.normalize(data.test_images), data.test_labels
    inputs = x = keras.Input(data.input_shape)
    for filters in (64, 128):
        x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = keras.layers.BatchNormalization(momentum=0.9, center=False, scale=False)(x)
        x = keras.layers.MaxPooling2D()(keras.layers.ReLU()(x))
    x = keras.layers.Flatten()(x)
    model = keras.Model(inputs, keras.layers.Dense(data.num_classes, use_bias=False)(x))

    subnet = tfprune.convert(model, "subnet", density=0.2)  # binary_activations=True: binary activations, too
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    subnet.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    subnet.fit(images, labels, epochs=10, verbose=0)
    print(f"{subnet.evaluate(*test, verbose=0)[1]:.1%} of the test images are classified correctly")

    OUT.mkdir(parents=True, exist_ok=True)
    tfprune.export(subnet, OUT / "ticket.mpt")
    packed, floats = (OUT / "ticket.mpt").stat().st_size, 4 * model.count_params()
    print(f"{packed:,} bytes, where float32 weights take {floats:,}")
    plain = tfprune.exporting.load_packed(OUT / "ticket.mpt")  # built-in Keras layers
    same = np.allclose(plain(test[0][:8]), subnet(test[0][:8]), rtol=1e-4, atol=1e-4)
    print("the loaded model returns the same outputs:", same)


if __name__ == "__main__":
    main()
