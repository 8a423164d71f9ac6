"""Layers with layers inside, as users and KerasHub write them: what they compute shows only in their code."""

import keras
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
