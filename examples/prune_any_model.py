"""Prunes a Keras model to half of its FLOPs and exports it for a device.

The model is trained on the handwritten digits of scikit-learn. tfprune plans which channels to remove, returns a
smaller model that uses only built-in layers, and this model is trained for a few more epochs and written as a `.keras`
and a `.tflite` file. Nothing is downloaded; it takes seconds. Run it from the root of the repository:

    python examples/prune_any_model.py
"""

from pathlib import Path

import keras

import tfprune

OUT = Path("runs/examples/prune_any_model")


def train(model, images, labels, epochs):
    """Trains a classifier that returns logits."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    model.fit(images, labels, epochs=epochs, verbose=0)


def main():
    """Trains, prunes, fine-tunes and exports."""
    keras.utils.set_random_seed(0)
    data = tfprune.recipes.data.load_data("digits")
    images, labels = data.normalize(data.train_images), data.train_labels
    test = data.normalize(data.test_images), data.test_labels

    inputs = keras.Input(data.input_shape)
    x = keras.layers.Conv2D(32, 3, padding="same", activation="relu")(inputs)
    y = keras.layers.Conv2D(32, 3, padding="same", activation="relu")(x)
    x = keras.layers.Add()([x, y])  # a residual connection: both convolutions lose the same channels
    x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Conv2D(64, 3, activation="relu")(x)
    x = keras.layers.Flatten()(x)
    model = keras.Model(inputs, keras.layers.Dense(data.num_classes)(x))
    train(model, images, labels, epochs=5)

    plan = tfprune.plan_channels(model, criterion="taylor", flops=0.5, round_to=4, data=(images[:256], labels[:256]))
    print(plan.explain())  # the plan decides; the model is unchanged
    small = plan.apply()
    train(small, images, labels, epochs=5)

    tfprune.summary(model, small)
    for name, each in (("original", model), ("pruned", small)):
        print(f"{name}: {each.evaluate(*test, verbose=0)[1]:.1%} of the test images are classified correctly")
    OUT.mkdir(parents=True, exist_ok=True)
    tfprune.save_model(small, OUT / "small.keras")
    tfprune.export(small, OUT / "small.tflite")


if __name__ == "__main__":
    main()
