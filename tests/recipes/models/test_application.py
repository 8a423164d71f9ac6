import keras
import numpy as np
import pytest

from tfprune.errors import ConfigError, DataUnavailableError
from tfprune.recipes.models import application, application_names, load_application


def test_names():
    names = application_names()
    assert len(names) == 40
    assert {"resnet50", "mobilenetv2", "convnexttiny", "nasnetlarge"} <= set(names)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ResNet50", lambda x: x[..., ::-1] - np.float32([103.939, 116.779, 123.68])),
        ("mobilenetv2", lambda x: x / 127.5 - 1),
        ("efficientnetb0", lambda x: x),
        ("densenet121", lambda x: (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]),
    ],
)
def test_images_are_prepared_as_the_model_was_trained(monkeypatch, name, expected):
    inputs = keras.Input((8, 8, 3))

    def constructor(**settings):
        assert settings == {"weights": "imagenet", "classifier_activation": None}  # logits
        return keras.Model(inputs, keras.layers.Dense(1000)(inputs))

    real = application._constructors()[name.casefold()]
    constructor.__module__ = real.__module__
    monkeypatch.setattr(application, "_constructors", lambda: {name.casefold(): constructor})
    images = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype(np.float32)
    prepared = load_application(name).prepare(keras.ops.convert_to_tensor(images))
    np.testing.assert_allclose(prepared, expected(images), rtol=1e-5, atol=1e-4)


def test_no_weights(monkeypatch):
    def unreachable(**settings):
        raise Exception("URL fetch failure on https://there/resnet.h5: None -- [Errno 101]\nmore")

    unreachable.__name__, unreachable.__module__ = "ResNet50", "keras.src.applications.resnet"
    monkeypatch.setattr(application, "_constructors", lambda: {"resnet50": unreachable})
    with pytest.raises(
        DataUnavailableError, match=r"no weights of ResNet50: .*URL fetch failure .*101\]\); put"
    ) as caught:
        load_application("resnet50")
    assert "\n" not in str(caught.value)
    with pytest.raises(
        ConfigError, match=r"expected a model of keras.applications, received 'resnet51'; such as resnet50"
    ):
        load_application("resnet51")
