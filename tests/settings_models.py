"""Models of classes that make their own layers from settings, as the backbones and tasks of KerasHub do."""

import keras

from tests.opaque_layers import GatedMLP

layers = keras.layers


@keras.saving.register_keras_serializable("tests")
class Backbone(keras.Model):
    """Blocks with layers inside, between dense layers."""

    def __init__(self, width=8, inner=24, depth=3, classes=5, rate=0.0, **kwargs):
        self.stem = layers.Dense(width, name="stem")
        self.blocks = [GatedMLP(inner, name=f"block_{index}") for index in range(depth)]
        self.last = layers.Dense(classes, name="last")
        inputs = keras.Input((None, 6), name="x")
        x = layers.Dropout(rate)(self.stem(inputs))
        for block in self.blocks:
            x = block(x)
        super().__init__(inputs, self.last(x), **kwargs)
        self.width, self.inner, self.depth, self.classes, self.rate = width, inner, depth, classes, rate
        self.teacher, self.factor = None, 1.0

    def get_config(self):
        return {
            **{"name": self.name, "trainable": self.trainable, "width": self.width, "inner": self.inner},
            **{"depth": self.depth, "classes": self.classes, "rate": self.rate},
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@keras.saving.register_keras_serializable("tests")
class TimesRootOfWidth(keras.Model):
    """Computes with the number that is its width, as Gemma does."""

    def __init__(self, width=8, **kwargs):
        inputs = keras.Input((None, 6), name="x")
        x = layers.Dense(width, name="stem")(inputs) * width**0.5
        super().__init__(inputs, layers.Dense(3, name="out")(x), **kwargs)
        self.width = width

    def get_config(self):
        return {"name": self.name, "width": self.width}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@keras.saving.register_keras_serializable("tests")
class Stages(keras.Model):
    """Has a width for each stage, and another setting of the same value."""

    def __init__(self, widths=(8, 16), classes=8, **kwargs):
        inputs = x = keras.Input((8, 8, 3))
        for index, width in enumerate(widths):
            x = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"conv_{index}")(x)
        x = layers.GlobalAveragePooling2D()(x)
        super().__init__(inputs, layers.Dense(classes, name="out")(x), **kwargs)
        self.widths, self.classes = list(widths), classes

    def get_config(self):
        return {"name": self.name, "widths": list(self.widths), "classes": self.classes}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@keras.saving.register_keras_serializable("tests")
class Task(keras.Model):
    """Has a backbone and a head, compiles itself, and takes a sampler to compile."""

    def __init__(self, backbone, classes=3, preprocessor=None, **kwargs):
        self.backbone, self.preprocessor = backbone, preprocessor
        self.head = layers.Dense(classes, name="head")
        super().__init__(backbone.input, self.head(backbone(backbone.input)), **kwargs)
        self.classes = classes
        self.compile()

    def build(self, shape=None):
        self.built = True

    def compile(self, optimizer="adam", loss="mse", sampler="greedy", **settings):
        super().compile(optimizer, loss, **settings)
        self.sampler = sampler

    def get_config(self):
        return {
            "name": self.name,
            "backbone": keras.layers.serialize(self.backbone),
            "classes": self.classes,
            "preprocessor": keras.layers.serialize(self.preprocessor),
        }

    @classmethod
    def from_config(cls, config):
        parts = {key: keras.layers.deserialize(config.pop(key)) for key in ("backbone", "preprocessor") if config[key]}
        return cls(**{**config, **parts})
