"""Layers with layers inside, as users and KerasHub write them: what they compute shows only in their code."""

import keras
import numpy as np
from keras import ops

layers = keras.layers


@keras.saving.register_keras_serializable("tests")
class GatedMLP(layers.Layer):
    """A residual block with a gated MLP, whose setting is twice its width, as in Gemma."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner

    def build(self, shape):
        self.norm = layers.LayerNormalization(name="norm")
        self.gate = layers.Dense(self.inner // 2, name="gate")
        self.up = layers.Dense(self.inner // 2, name="up")
        self.down = layers.Dense(shape[-1], name="down")
        self.norm.build(shape)
        self.gate.build(shape)
        self.up.build(shape)
        self.down.build((*shape[:-1], self.inner // 2))

    def call(self, x):
        inside = self.norm(x)
        return x + self.down(ops.silu(self.gate(inside)) * self.up(inside))

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return {**super().get_config(), "inner": self.inner}


@keras.saving.register_keras_serializable("tests")
class CausalBlock(layers.Layer):
    """Causal attention whose code needs to know the number of examples; its head width is the width by the heads."""

    def __init__(self, heads, head_dim=None, cached=False, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.head_dim = heads, head_dim

    def build(self, shape):
        head = self.head_dim or shape[-1] // self.heads
        self.project = {
            name: layers.EinsumDense("btd,dhk->bthk", (None, self.heads, head), name=name)
            for name in ("query", "key", "value")
        }
        self.merge = layers.EinsumDense("bthk,hkd->btd", (None, shape[-1]), name="merge")
        for each in self.project.values():
            each.build(shape)
        self.merge.build((*shape[:-1], self.heads, head))

    def call(self, x, cache=None):
        examples, length = ops.shape(x)[:2]
        rows = ops.broadcast_to(ops.arange(length)[:, None], (examples, length, length))
        visible = ops.cast(rows >= ops.arange(length), x.dtype)
        query, key, value = (self.project[name](x) for name in ("query", "key", "value"))
        scores = ops.einsum("bqhk,bshk->bhqs", query, key) - 1e4 * (1 - visible[:, None])
        return x + self.merge(ops.einsum("bhqs,bshk->bqhk", ops.softmax(scores), value))

    def compute_output_shape(self, shape, **others):
        return shape

    def get_config(self):
        return {**super().get_config(), "heads": self.heads, "head_dim": self.head_dim}


@keras.saving.register_keras_serializable("tests")
class Stack(layers.Layer):
    """Two blocks that share one setting."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner

    def build(self, shape):
        self.blocks = [GatedMLP(self.inner, name=f"block_{index}") for index in range(2)]
        for block in self.blocks:
            block.build(shape)

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return x

    def get_config(self):
        return {**super().get_config(), "inner": self.inner}


class Branching(layers.Layer):
    """Its code looks at values, so it does not run on symbolic tensors."""

    def build(self, shape):
        self.inside = layers.Dense(shape[-1], name="inside")
        self.inside.build(shape)

    def call(self, x):
        return self.inside(x) if ops.max(x) > 0 else x

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


class Scaled(layers.Layer):
    """A layer with a layer inside that also uses a weight of its own."""

    def build(self, shape):
        self.inside = layers.Dense(6, name="inside")
        self.outside = layers.Dense(shape[-1], name="outside")
        self.factor = self.add_weight(shape=(6,), initializer="random_uniform", name="factor")
        self.inside.build(shape)
        self.outside.build((*shape[:-1], 6))

    def call(self, x):
        return self.outside(ops.multiply(self.inside(x), self.factor))


class _Pair(layers.Layer):
    """Returns None beside its result, says that it returns something else, and asks for the rank of its input."""

    def build(self, shape):
        self.inside = layers.Dense(6, name="inside")
        self.outside = layers.Dense(shape[-1], name="outside")
        self.inside.build(shape)
        self.outside.build((*shape[:-1], 6))

    def call(self, x):
        axis = ops.ndim(x) or 1
        return self.outside(ops.squeeze(ops.relu(self.inside(ops.expand_dims(x, axis - 1))), axis - 1)), None

    def compute_output_shape(self, shape):
        return shape[0]["batch"]


class Unpacking(layers.Layer):
    """Unpacks what a layer within it returns."""

    def build(self, shape):
        self.pair = _Pair(name="pair")
        self.pair.build(shape)

    def call(self, x):
        result, cache = self.pair(x)
        assert cache is None
        return x + result

    def compute_output_shape(self, shape):
        return shape


@keras.saving.register_keras_serializable("tests")
class MergedHeads(layers.Layer):
    """Attention whose heads are merged to a width that its code does not say, but that follows from the other sizes."""

    def __init__(self, heads, head_dim, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.head_dim = heads, head_dim

    def build(self, shape):
        self.project = {name: layers.Dense(self.heads * self.head_dim, name=name) for name in ("query", "key", "value")}
        self.merge = layers.Dense(shape[-1], name="merge")
        for each in self.project.values():
            each.build(shape)
        self.merge.build((*shape[:-1], self.heads * self.head_dim))

    def call(self, x):
        examples, length = ops.shape(x)[:2]
        query, key, value = (
            ops.reshape(self.project[name](x), (examples, length, self.heads, self.head_dim))
            for name in ("query", "key", "value")
        )
        attended = ops.dot_product_attention(query, key, value)
        return x + self.merge(ops.reshape(attended, (examples, length, -1)))

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return {**super().get_config(), "heads": self.heads, "head_dim": self.head_dim}


@keras.saving.register_keras_serializable("tests")
class Experts(layers.Layer):
    """An MLP on all positions as rows, whose two halves are stacked along the first axis and summed, as experts are."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner

    def build(self, shape):
        self.parts = [layers.Dense(self.inner, name=f"part_{index}") for index in range(2)]
        self.down = layers.Dense(shape[-1], name="down")
        for part in self.parts:
            part.build(shape)
        self.down.build((*shape[:-1], self.inner))

    def call(self, x):
        rows = ops.reshape(x, (-1, x.shape[-1]))
        both = ops.concatenate([ops.expand_dims(part(rows), 1) for part in self.parts], axis=1)
        merged = ops.sum(ops.relu(ops.transpose(both, (1, 0, 2))), axis=0)
        return x + ops.reshape(self.down(merged), ops.shape(x))

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return {**super().get_config(), "inner": self.inner}


@keras.saving.register_keras_serializable("tests")
class TwoAttentions(layers.Layer):
    """Two attentions with as many heads; one that is called with a cache, so no functional model takes its place."""

    def __init__(self, heads, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads

    def build(self, shape):
        self.attentions = [CausalBlock(self.heads, 3, name=name) for name in ("first", "second")]
        for each in self.attentions:
            each.build(shape)

    def call(self, x, cache=None):
        first, second = self.attentions
        return second(first(x))

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return {**super().get_config(), "heads": self.heads}


@keras.saving.register_keras_serializable("tests")
class Tokens(layers.Layer):
    """Patches of images after a class token, with positions, registers and a scale of its own."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width

    def build(self, shape):
        count = (shape[1] // 4) * (shape[2] // 4)
        self.patches = layers.Conv2D(self.width, 4, 4, name="patches")
        self.patches.build(shape)
        draw = {"initializer": "random_normal"}
        self.token = self.add_weight(shape=(1, 1, self.width), name="token", **draw)
        self.registers = self.add_weight(shape=(2, self.width), name="registers", **draw)
        self.table = self.add_weight(shape=(1, 1 + count, self.width), name="table", **draw)
        self.factor = self.add_weight(shape=(self.width,), name="factor", **draw)

    def call(self, images):
        x = self.patches(images)
        examples = ops.shape(x)[0]
        x = ops.reshape(x, (examples, -1, self.width))
        x = ops.concatenate([ops.tile(self.token, (examples, 1, 1)), x], axis=1) + self.table
        registers = ops.repeat(ops.expand_dims(self.registers, 0), examples, axis=0)
        x = ops.concatenate([x[:, :1], ops.broadcast_to(registers, (examples, 2, self.width)), x[:, 1:]], axis=1)
        return x * self.factor

    def get_config(self):
        return {**super().get_config(), "width": self.width}


@keras.saving.register_keras_serializable("tests")
class Windows(layers.Layer):
    """Attention within shifted windows, with a table of biases by relative position, and an MLP."""

    def __init__(self, heads, inner, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.inner = heads, inner

    def build(self, shape):
        width = shape[-1]
        self.project = layers.Dense(3 * width, name="project")
        self.merge = layers.Dense(width, name="merge")
        self.up = layers.Dense(self.inner * 3, activation="relu", name="up")
        self.down = layers.Dense(width, name="down")
        for each, size in ((self.project, width), (self.merge, width), (self.up, width), (self.down, self.inner * 3)):
            each.build((None, None, None, size))
        self.biases = self.add_weight(shape=(9, self.heads), initializer="random_normal", name="biases")
        places = np.stack(np.meshgrid([0, 1], [0, 1], indexing="ij")).reshape(2, -1)
        steps = places[:, :, None] - places[:, None] + 1
        self.steps = steps[0] * 3 + steps[1]

    def call(self, x):
        examples, height, width, size = ops.shape(x)
        inside = ops.roll(x, (-1, -1), (1, 2))
        inside = ops.reshape(inside, (examples, height // 2, 2, width // 2, 2, size))
        inside = ops.reshape(ops.transpose(inside, (0, 1, 3, 2, 4, 5)), (-1, 4, size))
        windows = ops.shape(inside)[0]
        parts = ops.reshape(self.project(inside), (windows, 4, 3, self.heads, -1))
        query, key, value = ops.unstack(ops.transpose(parts, (2, 0, 3, 1, 4)), axis=0)
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))
        scores = scores + ops.transpose(ops.take(self.biases, self.steps, axis=0), (2, 0, 1))
        seen = ops.matmul(ops.softmax(scores), value)
        seen = self.merge(ops.reshape(ops.transpose(seen, (0, 2, 1, 3)), (windows, 4, size)))
        seen = ops.reshape(seen, (examples, height // 2, width // 2, 2, 2, size))
        seen = ops.reshape(ops.transpose(seen, (0, 1, 3, 2, 4, 5)), (examples, height, width, size))
        x = x + ops.roll(seen, (1, 1), (1, 2))
        return x + self.down(self.up(x))

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return {**super().get_config(), "heads": self.heads, "inner": self.inner}


@keras.saving.register_keras_serializable("tests")
class ByHand(layers.Layer):
    """Its product has a weight of its own as one operand; examples and heads share an axis."""

    def __init__(self, heads, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads

    def build(self, shape):
        self.inside = layers.Dense(self.heads * 6, name="inside")
        self.outside = layers.Dense(shape[-1], name="outside")
        self.inside.build(shape)
        self.outside.build((*shape[:-1], self.heads * 6))
        self.places = self.add_weight(shape=(shape[1], 6), initializer="random_normal", name="places")

    def call(self, x):
        examples, length, _ = ops.shape(x)
        heads = ops.transpose(ops.reshape(self.inside(x), (examples, length, self.heads, 6)), (0, 2, 1, 3))
        heads = ops.reshape(heads, (examples * self.heads, length, 6))
        weights = ops.softmax(ops.einsum("bqc,kc->bqk", heads, self.places))
        heads = ops.reshape(ops.matmul(weights, heads), (examples, self.heads, length, 6))
        heads = ops.reshape(ops.transpose(heads, (0, 2, 1, 3)), (examples, length, self.heads * 6))
        return x + self.outside(heads)

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return {**super().get_config(), "heads": self.heads}
