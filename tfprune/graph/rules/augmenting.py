"""Rules for the augmentation layers of Keras, most of which do nothing unless the model is trained."""

import keras

from tfprune.graph.calls import Call
from tfprune.graph.labels import Labels
from tfprune.graph.rules.lookup import channel_axis, only, pin_all_but, rule

layers = keras.layers


@rule(
    *(layers.RandomFlip, layers.RandomRotation, layers.RandomTranslation, layers.RandomZoom, layers.RandomShear),
    *(layers.RandomPerspective, layers.RandomElasticTransform, layers.RandomErasing, layers.RandomGaussianBlur),
    *(layers.RandomBrightness, layers.RandomContrast, layers.RandomSharpness, layers.RandomInvert),
    *(layers.RandomColorDegeneration, layers.RandomColorJitter, layers.RandomGrayscale, layers.RandomHue),
    *(layers.RandomPosterization, layers.RandomSaturation, layers.Solarization, layers.Equalization),
    *(layers.AugMix, layers.CutMix, layers.MixUp, layers.RandAugment, layers.MaxNumBoundingBoxes),
)
def _training_only(labels: Labels, call: Call) -> None:
    """Passes its input on, as all of these do in inference mode."""
    labels.put(call.outputs[0], labels.of(call.inputs[0]))


@rule(layers.RandomCrop, layers.CenterCrop, layers.AutoContrast)
def _positions(labels: Labels, call: Call) -> None:
    """Selects positions, or stretches values, in each channel alone."""
    axis = channel_axis(call.layer, call.inputs[0])
    channels = pin_all_but(labels, labels.of(call.inputs[0]), axis)
    labels.put(call.outputs[0], only(axis, channels, call.outputs[0]))
