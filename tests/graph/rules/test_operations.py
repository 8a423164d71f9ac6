"""Each operation of `keras.ops` after a convolution: what is followed agrees with Keras, what is not says why."""

import inspect

import keras
import numpy as np
import pytest

from tests.graph.agreement import agrees, assert_close, example_inputs, outputs, random_mask, randomize, sizes
from tfprune import keras_private
from tfprune.graph import SlimWeights, channel_groups, executable_groups, execute, model_calls, slim
from tfprune.graph.rules.lookup import registered_kinds

layers, ops = keras.layers, keras.ops
RNG = np.random.default_rng(0)

UNARY = (
    *("abs", "angle", "arcsinh", "arctan", "cbrt", "ceil", "conj", "copy", "cos", "cosh", "deg2rad", "exp", "exp2"),
    *("expm1", "floor", "i0", "imag", "isfinite", "isinf", "isnan", "isneginf", "isposinf", "isreal", "logical_not"),
    *("nan_to_num", "negative", "rad2deg", "real", "reciprocal", "round", "sign", "signbit", "sin", "sinc", "sinh"),
    *("square", "tan", "tanh", "trunc", "relu", "relu6", "sigmoid", "sparse_sigmoid", "softplus", "softsign"),
    *("soft_shrink", "sparse_plus", "silu", "swish", "squareplus", "log_sigmoid", "leaky_relu", "hard_sigmoid"),
    *("hard_silu", "hard_swish", "elu", "selu", "gelu", "celu", "tanh_shrink", "hard_tanh", "hard_shrink", "erf"),
    *("erfc", "stop_gradient", "zeros_like", "ones_like"),
)
BINARY = (
    *("add", "subtract", "multiply", "maximum", "minimum", "fmax", "fmin", "arctan2", "hypot", "heaviside"),
    *("logaddexp", "logaddexp2", "nextafter", "floor_divide", "equal", "not_equal", "less", "less_equal", "greater"),
    *("greater_equal", "logical_and", "logical_or", "logical_xor", "isclose", "divide_no_nan"),
)


def number(x):
    return ops.cast(x, "float32")


def bits(x):
    x = ops.bitwise_xor(ops.bitwise_not(x), ops.bitwise_and(ops.left_shift(x, x * 0 + 1), ops.bitwise_or(x, -x)))
    return number(ops.right_shift(x, ops.ones_like(x)))


ELEMENTWISE = {
    **{name: lambda x, name=name: number(getattr(ops, name)(x)) + 0.1 * x for name in UNARY},
    **{
        name: lambda x, name=name: number(getattr(ops, name)(x, ops.roll(x, 1, axis=1) + 0.5)) + 0.1 * x
        for name in BINARY
    },
    "arccos": lambda x: ops.arccos(ops.tanh(x)),
    "arccosh": lambda x: ops.arccosh(1 + ops.abs(x)),
    "sqrt": lambda x: ops.sqrt(ops.abs(x)),
    "arcsin": lambda x: ops.arcsin(ops.tanh(x)),
    "arctanh": lambda x: ops.arctanh(0.9 * ops.tanh(x)),
    "erfinv": lambda x: ops.erfinv(0.9 * ops.tanh(x)),
    "log": lambda x: (
        ops.log(ops.abs(x) + 1) + ops.log2(ops.abs(x) + 1) + ops.log10(ops.abs(x) + 1) + ops.log1p(ops.abs(x))
    ),
    "rsqrt": lambda x: ops.rsqrt(x * x + 1.0),
    "divide": lambda x: x / (x * x + 1.0),
    "power": lambda x: x**2 + 2 ** ops.tanh(x),
    "mod": lambda x: ops.mod(x, 0.7) + ops.fmod(x, 0.6) + x % 0.5 + x // 2,
    "bits": lambda x: bits(ops.cast(ops.round(4 * x), "int32")),
    "clip": lambda x: ops.clip(x, -0.5, 0.5),
    "threshold": lambda x: ops.threshold(x, 0.2, -1.0),
    "where": lambda x: ops.where(x > 0, x, 0.1 * x),
    "select": lambda x: ops.select([x > 1, x > 0], [x, 2 * x], 0.5),
    "full_like": lambda x: x + ops.full_like(x, 3.0),
    "one_hot": lambda x: ops.one_hot(ops.cast(ops.clip(x, 0, 2), "int32"), 3),
    "digitize": lambda x: number(ops.digitize(x, np.array([-0.5, 0.0, 0.5]))),
    "saturate": lambda x: number(ops.saturate_cast(20 * x, "int8")),
    "broadcast": lambda x: x * ops.mean(x, axis=(1, 2), keepdims=True),
    "other rank": lambda x: ops.transpose(ops.transpose(x, (0, 3, 1, 2)), (0, 2, 3, 1)) + 1.0,
    "constant vector": lambda x: x * RNG.normal(size=6).astype(np.float32) + ops.convert_to_tensor(np.arange(6.0)),
    "constant box": lambda x: ops.where(np.arange(30).reshape(5, 6) % 4 == 0, x, -x),
    "constant image": lambda x: x - RNG.normal(size=(1, 5, 1, 1)).astype(np.float32),
    "batch norm": lambda x: ops.batch_normalization(
        x, np.arange(6, dtype=np.float32), np.ones(6, np.float32), -1, scale=np.arange(6, dtype=np.float32)
    ),
    "excite": lambda x: (
        x * layers.Dense(6, activation="sigmoid", name="gate")(layers.GlobalAveragePooling2D()(x))[:, None, None, :]
    ),
}
POSITIONS = {
    "max_pool": lambda x: ops.max_pool(x, 2),
    "average_pool": lambda x: ops.average_pool(x, 2, padding="same"),
    "resize": lambda x: ops.image.resize(x, (4, 4)),
    "pad_images": lambda x: ops.image.pad_images(x, 1, 1, 0, 2),
    "crop_images": lambda x: ops.image.crop_images(x, 1, 1, 2, 0),
    "gaussian_blur": lambda x: ops.image.gaussian_blur(x),
    "extract_patches": lambda x: ops.image.extract_patches(x, 2),
    "extract_overlapping": lambda x: ops.image.extract_patches(x, (3, 2), strides=1),
    "unfold": lambda x: ops.unfold(ops.transpose(x, (0, 3, 1, 2)), 2),
    "blur": lambda x: ops.depthwise_conv(x, np.full((2, 2, 6, 1), 0.25, np.float32), padding="same"),
    "two filters": lambda x: ops.depthwise_conv(x, RNG.normal(size=(3, 3, 6, 2)).astype(np.float32)),
    "pad": lambda x: ops.pad(x, ((0, 0), (1, 1), (2, 0), (0, 0))),
    "pad_reflect": lambda x: ops.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="reflect"),
    "flip": lambda x: ops.flip(x, axis=1),
    "flip_all": lambda x: ops.flip(x, axis=(1, -1)),
    "fliplr": lambda x: ops.fliplr(x),
    "rot90": lambda x: ops.rot90(x, axes=(1, 2)),
    "roll": lambda x: ops.roll(x, 1, axis=1),
    "roll_both": lambda x: ops.roll(x, (1, -1), axis=(1, 2)),
    "var": lambda x: ops.var(x, axis=(1, 2), keepdims=True),
    "std": lambda x: ops.std(x, axis=[1, 2]),
    "moments": lambda x: ops.concatenate(ops.moments(x, axes=(1, 2)), axis=-1),
    "ptp": lambda x: ops.max(x, axis=1) - ops.min(x, axis=1) + ops.median(x, axis=1),
    "nans": lambda x: ops.nansum(x, axis=1) + ops.nanmax(x, axis=1),
    "quantile": lambda x: ops.quantile(x, 0.3, axis=1),
    "prod": lambda x: ops.prod(x, axis=2),
    "average": lambda x: ops.average(x, axis=1),
    "logsumexp": lambda x: ops.logsumexp(x, axis=(1, 2)),
    "norm": lambda x: ops.norm(x, axis=1),
    "count": lambda x: number(ops.count_nonzero(x > 0, axis=1)),
    "argmax": lambda x: number(ops.argmax(x, axis=1)),
    "any": lambda x: number(ops.any(x > 0.5, axis=1)),
    "softmax": lambda x: ops.softmax(x, axis=1) + ops.log_softmax(x, axis=2),
    "cumsum": lambda x: ops.cumsum(x, axis=1),
    "cumprod": lambda x: ops.cumprod(x, axis=2),
    "sort": lambda x: ops.sort(x, axis=1),
    "argsort": lambda x: number(ops.argsort(x, axis=1)),
    "diff": lambda x: ops.diff(x, axis=1),
    "normalize": lambda x: ops.normalize(x, axis=1),
    "top_k": lambda x: ops.top_k(ops.transpose(x, (0, 3, 1, 2)), 2)[0],
}
MOVES = {
    "stack": lambda x: ops.stack([x, 2 * x], axis=1),
    "stack_last": lambda x: ops.stack([x, 2 * x], axis=-1),
    "stack_max": lambda x: ops.max(ops.stack([x, -x], axis=1), axis=1),
    "unstack": lambda x: ops.add(*ops.unstack(x, axis=1)[:2]),
    "repeat": lambda x: ops.repeat(x, 2, axis=1),
    "repeat_channels": lambda x: ops.repeat(x, 2, axis=-1),
    "tile": lambda x: ops.tile(x, (1, 2, 1, 1)),
    "tile_channels": lambda x: ops.tile(x, (1, 1, 1, 2)),
    "tile_few": lambda x: ops.tile(x, [1, 3]),
    "pad_channels": lambda x: ops.pad(x, ((0, 0), (0, 0), (0, 0), (1, 2))),
    "flip_channels": lambda x: ops.flip(x, axis=-1),
    "take": lambda x: ops.take(x, np.array([0, 2]), axis=1),
    "take_one": lambda x: ops.take(x, 1, axis=1),
    "squeeze": lambda x: ops.squeeze(ops.expand_dims(x, 2), 2),
    "new_axes": lambda x: x[:, None, ..., None],
    "steps": lambda x: x[:, ::2, 1::2, :],
    "reversed": lambda x: x[:, ::-1],
    "from the end": lambda x: x[:, -1] + x[:, -2, :],
    "reversed_channels": lambda x: x[..., ::-1],
    "reversed_range": lambda x: x[:, 3:0:-1],
    "hstack": lambda x: ops.hstack([x, x]),
    "dstack": lambda x: ops.dstack([x, x]),
    "append": lambda x: ops.append(x, x, axis=2),
    "join_channels": lambda x: ops.concatenate([x, ops.zeros_like(x), -x], axis=-1),
    "array_split": lambda x: ops.array_split(x, 2, axis=1)[0],
    "hsplit": lambda x: ops.hsplit(x, [2])[1],
    "vectors": lambda x: ops.moveaxis(x, -1, 1),
    "slice": lambda x: ops.swapaxes(x, 1, 3),
}
TIED = {  # the number of channels that can go alone
    "glu": (lambda x: ops.glu(x, axis=-1), 3),
    "every_second": (lambda x: x[..., ::2] * ops.tanh(x[..., 1::2]), 3),
    "halves": (lambda x: ops.multiply(*ops.split(x, 2, axis=-1)), 3),
    "first_two": (lambda x: x[..., :2], 6),
    "reversed_part": (lambda x: x[..., 4:1:-1], 6),
    "all_but_two": (lambda x: x[..., :-2], 6),
    "shuffled": (lambda x: ops.take(x, [3, 1, 5, 0], axis=-1), 6),
    "by_keyword": (lambda x: ops.take(x, indices=np.array([4, 4, 2, 0, 1]), axis=3), 6),
    "sections": (lambda x: ops.concatenate(ops.split(x, [1, 4], axis=-1)[::-1], axis=-1), 6),
}
FOLLOWED = {
    **{name: (build, 6) for group in (ELEMENTWISE, POSITIONS, MOVES) for name, build in group.items()},
    **TIED,
}


def model_of(build):
    """The operation between a convolution and a dense layer."""
    inputs = keras.Input((7, 7, 3))
    x = layers.Conv2D(6, 3, name="first")(inputs)
    return keras.Model(inputs, layers.Dense(2, name="out")(layers.Flatten()(build(x))))


def unread(model, mask, groups, inputs):
    """Keras' outputs where the dense layer does not read any value that a removed channel takes part in.

    Which values these are is found by changing the weights that produce the removed channels.
    """
    body = keras.Model(model.input, model.get_layer("out").input)
    first, head = model.get_layer("first"), model.get_layer("out")
    kept = next(slot for slot in groups.slots["first"] if slot.role == "out").kept(mask)
    gone = np.setdiff1d(np.arange(6), kept)
    whole = np.asarray(body(inputs))
    moved = np.zeros(whole.shape[1], bool)
    for factor, noise in ((-3.1, 1), (0.2, 1), (7.3, 1), (-0.1, 1), (12.0, 1), (0.0, 0)):
        old = [value.copy() for value in first.get_weights()]
        values = [value.copy() for value in old]
        for value in values:
            value[..., gone] = value[..., gone] * factor + noise * RNG.normal(0, 1, value[..., gone].shape)
        first.set_weights(values)
        moved |= (np.asarray(body(inputs)) != whole).any(axis=0)
        first.set_weights(old)
    kernel = head.get_weights()[0].copy()
    kernel[moved] = 0
    return np.nan_to_num(whole) @ kernel + np.asarray(head.bias)


@pytest.mark.parametrize("name", FOLLOWED)
def test_operations_that_are_followed(name):
    build, expected = FOLLOWED[name]
    model = model_of(build)
    head = model.get_layer("out")
    head.kernel.assign(RNG.normal(size=head.kernel.shape))
    groups = agrees(model, seeds=2, power=1e-4)
    assert sizes(groups)["first"] == expected
    assert any(np.any(slot.channels >= 0) for slot in groups.slots["out"])
    if name == "excite":  # its gate depends on all channels
        return
    inputs, mask = example_inputs(model, examples=8), random_mask(groups, 1)
    (found,) = outputs(slim(model, mask, groups), inputs)
    assert_close([found], [unread(model, mask, groups, inputs)], 1e-4)


SAVED = ("shuffled", "constant vector", "blur", "all_but_two", "reversed_part", "sections", "new_axes", "tile_channels")


@pytest.mark.parametrize("name", SAVED)
def test_adapted_arguments_are_saved_with_the_model(name, tmp_path):
    model = model_of(FOLLOWED[name][0])
    groups = channel_groups(model)
    small = slim(model, random_mask(groups, 1), groups)
    small.save(tmp_path / "small.keras")
    inputs = example_inputs(model)
    loaded = keras.saving.load_model(tmp_path / "small.keras")
    np.testing.assert_allclose(loaded(inputs), small(inputs), rtol=1e-6, atol=1e-6)


PADDED = ("tile_channels", "pad_channels", "join_channels", "glu", "halves", "extract_patches", "exp")
NOT_PADDED = {
    "flip_channels",
    "reversed_channels",
    "repeat_channels",
    "unfold",
    "every_second",
    "first_two",
    "shuffled",
}
NOT_PADDED |= {"stack_last", "rsqrt", "log", "divide", "reciprocal", "constant vector", "blur", "sections"}


@pytest.mark.parametrize("name", PADDED)
def test_a_search_pads_channels_where_that_changes_nothing(name):
    model = model_of(FOLLOWED[name][0])
    randomize(model)
    groups = executable_groups(model)
    assert sizes(groups)["first"] == FOLLOWED[name][1]
    mask = random_mask(groups, 1)
    inputs = example_inputs(model)
    weights = SlimWeights(model, groups)
    tensors = {id(model.inputs[0]): inputs}
    execute(
        model_calls(model)[1:],
        tensors,
        lambda call: dict(zip(weights.names(call), weights.tensors(call, mask), strict=True)),
    )
    expected = slim(model, mask, groups, rescale_kernels=True)(inputs)
    np.testing.assert_allclose(tensors[id(model.outputs[0])], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", sorted(NOT_PADDED))
def test_a_search_leaves_channels_alone_where_padding_would_change_something(name):
    assert len(executable_groups(model_of(FOLLOWED[name][0]))) == 0


ALONE = {
    "sum": (lambda x: ops.sum(x, axis=-1, keepdims=True), "it reduces over them"),
    "mean": (lambda x: x - ops.mean(x, axis=-1, keepdims=True), "it reduces over them"),
    "max": (lambda x: ops.max(x, axis=-1), "it reduces over them"),
    "norm": (lambda x: ops.norm(x, axis=-1, keepdims=True) * x, "it reduces over them"),
    "logsumexp": (lambda x: ops.logsumexp(x, axis=-1), "it reduces over them"),
    "argmax": (lambda x: number(ops.argmax(x, axis=-1)), "it reduces over them"),
    "any": (lambda x: number(ops.any(x > 0, axis=-1)), "it reduces over them"),
    "softmax": (lambda x: ops.softmax(x, axis=-1), "divides by a sum over them"),
    "cumsum": (lambda x: ops.cumsum(x, axis=-1), "it computes along them"),
    "sort": (lambda x: ops.sort(x, axis=-1), "it computes along them"),
    "roll": (lambda x: ops.roll(x, 1, axis=-1), "it computes along them"),
    "top_k": (lambda x: ops.top_k(x, 2)[0], "it computes along them"),
    "unstack": (lambda x: ops.add(*ops.unstack(x, axis=-1)[:2]), "takes them apart one by one"),
    "one of them": (lambda x: x[..., 2], "takes a single one of them"),
    "odd steps": (lambda x: x[..., ::4], "one of every 4 of them"),
    "edge": (lambda x: ops.pad(x, ((0, 0), (0, 0), (0, 0), (1, 0)), mode="edge"), "pads them by copies"),
    "einsum_sum": (lambda x: ops.einsum("bhwc->bhw", x), "it sums over them"),
    "clip_arrays": (lambda x: ops.clip(x, np.full(6, -1.0), np.ones(6)), "limits are arrays"),
    "conv": (lambda x: ops.conv_transpose(x, np.ones((3, 3, 4, 6), np.float32)), "kernel is not the weight of a layer"),
    "sparsemax": (lambda x: ops.sparsemax(x), "divides by a sum over them"),
    "repeats": (lambda x: ops.repeat(x, [1, 2, 1, 1, 1, 1], axis=-1), "different numbers of times"),
    "batch": (lambda x: ops.flip(ops.roll(x, 1, axis=-1), axis=0), "it computes along them"),
    "matrices": (lambda x: ops.tril(x), "whole matrices"),
    "map": (lambda x: ops.vectorized_map(lambda y: y * 2, x), "calls functions"),
    "uneven": (lambda x: ops.array_split(x, 4, axis=-1)[0], "nearly equal size"),
    "layer norm": (lambda x: ops.layer_normalization(x, np.ones(6), np.zeros(6)), "normalizes by all of them"),
}


@pytest.mark.parametrize("name", ALONE)
def test_operations_over_all_channels_are_left_alone_with_the_reason(name):
    build, reason = ALONE[name]
    groups = channel_groups(model_of(build))
    assert len(groups) == 0
    assert any(reason in text for text in groups.pinned), groups.pinned


@pytest.mark.parametrize("channels", [6, 3])
def test_a_masked_softmax_over_positions(channels):
    inputs, allowed = keras.Input((5, 4)), keras.Input((5, 1), dtype="bool")
    x = layers.Softmax(axis=1)(layers.Dense(channels, name="first")(inputs), mask=allowed)
    groups = agrees(keras.Model([inputs, allowed], layers.Dense(2)(x)))
    assert sizes(groups) == {"first": channels}


def test_a_mask_of_channels_holds_them():
    inputs, allowed = keras.Input((5, 4)), keras.Input((5, 6), dtype="bool")
    x = layers.Softmax(axis=1)(layers.Dense(6)(inputs), mask=allowed)
    (text,) = channel_groups(keras.Model([inputs, allowed], layers.Dense(2)(x))).pinned
    assert "its mask has one value for each of them" in text


def test_every_operation_of_keras_has_a_rule():
    """A new version of Keras may have more: give each a row in a table of `tfprune.graph.rules`."""
    modules = (
        keras_private.core_operations,
        keras_private.einops_operations,
        keras_private.image_operations,
        keras_private.linear_operations,
        keras_private.math_operations,
        keras_private.nn_operations,
        keras_private.numpy_operations,
    )
    kinds = {kind for module in modules for kind in vars(module).values() if inspect.isclass(kind)}
    ours = {kind for kind in kinds if issubclass(kind, keras.Operation) and kind is not keras.Operation}
    missing = sorted(kind.__name__ for kind in ours - registered_kinds())
    assert len(ours) > 300
    assert not missing
