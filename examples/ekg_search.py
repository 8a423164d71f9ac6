"""Lets EKG search for the best sub-network of your own model.

EKG (Lee & Song, ECCV 2022) narrows many channel groups step by step and keeps the sub-network that agrees best with
the labels and with the ensemble of the sub-networks found so far. It works on any functional or sequential classifier.
Nothing is downloaded; it takes seconds. Run it from the root of the repository:

    python examples/ekg_search.py
"""

import keras

import tfprune


def build(input_shape, num_classes):
    """Returns a small convolutional classifier that returns logits."""
    inputs = x = keras.Input(input_shape)
    for filters in (16, 32, 32):
        x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))
        x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(inputs, keras.layers.Dense(num_classes)(x))


def train(model, images, labels, epochs):
    """Trains a classifier that returns logits."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    model.fit(images, labels, epochs=epochs, verbose=0)


def main():
    """Trains, searches, and fine-tunes what the search found."""
    keras.utils.set_random_seed(0)
    data = tfprune.recipes.data.load_data("digits")
    images, labels = data.normalize(data.train_images), data.train_labels
    test = data.normalize(data.test_images), data.test_labels
    model = build(data.input_shape, data.num_classes)
    train(model, images[:-320], labels[:-320], epochs=5)

    # The search looks at 320 images that the training did not see.
    small = tfprune.ekg.search(model, (images[-320:], labels[-320:]), flops=0.5, progress=False).slim()
    before, after = tfprune.complexity(model), tfprune.complexity(small)
    print(f"FLOPs (multiply-adds): {before.flops:,} -> {after.flops:,}")
    print("widths:", [layer.filters for layer in small.layers if isinstance(layer, keras.layers.Conv2D)])

    train(small, images, labels, epochs=5)
    for name, each in (("original", model), ("found by EKG", small)):
        print(f"{name}: {each.evaluate(*test, verbose=0)[1]:.1%} of the test images are classified correctly")


if __name__ == "__main__":
    main()
