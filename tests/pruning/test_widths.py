"""Plans by the real widths of layers: after rounding, with shared, split and sliced channels."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graph.agreement import assert_close, example_inputs, outputs
from tfprune.errors import ConfigError, PruningError, UnsupportedLayerError
from tfprune.graph import channel_groups, masked
from tfprune.pruning import PruningPlan, plan_channels, prune_channels

layers, ops = keras.layers, keras.ops


def width_of(layer):
    """The width that a layer's weights really have."""
    return layer.kernel.shape[-1]


def unevenly_split(seed=0):
    """Sixteen, sixteen and 32 channels of one layer; the first two parts go through one layer."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((7, 7, 8))
    first, second, third = ops.split(layers.Conv2D(64, 1, name="a")(inputs), [16, 32], axis=-1)
    shared = layers.Conv2D(8, 1, name="shared")
    joined = layers.Concatenate()([shared(first), shared(second), layers.Conv2D(8, 1, name="other")(third)])
    return keras.Model(inputs, joined)


def sliced(key, other):
    """Two ranges of one layer's channels."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 8))
    x = layers.Conv2D(64, 1, name="a")(inputs)
    parts = [layers.Conv2D(16, 3, name=name)(x[..., each]) for name, each in (("p", key), ("q", other))]
    return keras.Model(inputs, layers.Concatenate()(parts))


@pytest.mark.parametrize("criterion", ["l2", "random", "fpgm"])
@pytest.mark.parametrize("fraction", [0.8, 0.65, 0.5, 0.35])
def test_shared_parts_are_rounded_with_the_others(criterion, fraction):
    plan = plan_channels(unevenly_split(), criterion, params=fraction, round_to=8)
    (group,) = plan.groups
    small = plan.apply()
    assert group.before == plan.before.channels == 64
    assert group.after == plan.after.channels == width_of(small.get_layer("a"))
    assert group.after % 8 == 0
    assert small.count_params() == plan.after.params <= fraction * plan.before.params


def test_half_of_the_channels_are_half_of_the_layers():
    assert channel_groups(unevenly_split()).width == 64
    assert channel_groups(unevenly_split()).channels == 48
    for scope in ("global", "local"):
        plan = plan_channels(unevenly_split(), "l2", density=0.5, scope=scope)
        assert width_of(plan.apply().get_layer("a")) == plan.after.channels == 32


@pytest.mark.parametrize(
    ("key", "other"), [(slice(0, 32), slice(32, None)), (slice(0, 16), slice(16, None)), (slice(0, 40), slice(8, None))]
)
@pytest.mark.parametrize("fraction", [0.8, 0.5, 0.17])
def test_ranges_are_rounded_and_never_empty(key, other, fraction):
    plan = plan_channels(sliced(key, other), "l2", params=fraction, round_to=8)
    (group,) = plan.groups
    small = plan.apply()
    kernel = small.get_layer("a").kernel
    assert (group.size, group.before, group.after) == (64, 64, kernel.shape[-1])
    assert group.after % 8 == 0
    kept = np.zeros(64, int)
    kept[list(group.keep)] = 1
    assert [small.get_layer(name).kernel.shape[-2] for name in "pq"] == [kept[key].sum(), kept[other].sum()]
    assert min(kept[key].sum(), kept[other].sum()) > 0
    inputs = example_inputs(plan.source)
    reference = outputs(masked(plan.source, plan.mask, channel_groups(plan.source)), inputs)
    assert_close(outputs(small, inputs), reference, 1e-5)


def test_a_range_keeps_its_best_channel_whatever_the_others_score():
    class FirstRangeLast:
        def scores(self, model, groups, data=None):
            return np.where(np.arange(groups.channels) < 32, 0.0, 10.0) + np.arange(groups.channels)

    plan = plan_channels(sliced(slice(0, 32), slice(32, None)), FirstRangeLast(), density=0.25)
    assert plan.keep["a"] == (31, *range(49, 64))
    assert [(hold.reason, hold.channels) for hold in plan.groups[0].protected] == [("needed", 2)]


def test_channels_that_cannot_go_are_part_of_the_width():
    """Half of `wide` is an output of the model."""
    inputs = keras.Input((4,))
    x = layers.Dense(20, name="wide")(inputs)
    model = keras.Model(inputs, [x[:, :10], layers.Dense(3, name="head")(x)])
    plan = plan_channels(model, "l2", density=0.8, round_to=8)
    (group,) = plan.groups
    assert (group.size, group.before, group.after) == (10, 20, 16)
    assert (plan.before.channels, plan.after.channels) == (20, 16)
    assert width_of(plan.apply().get_layer("wide")) == 16
    with pytest.raises(PruningError, match="at least 16 of 20 channels"):
        plan_channels(model, "l2", density=0.7, round_to=8)  # eight would be fewer than the outputs
    assert plan_channels(model, "l2", density=0.8, min_channels=15).groups[0].after == 16
    assert plan_channels(model, "l2", density=0.56).groups[0].after == 11


def test_a_layer_that_two_groups_make_up_is_rounded_as_a_whole():
    """`both` is added to `a` and `b` side by side: twelve and twelve, which cannot be cut one without the other."""
    inputs = keras.Input((4,))
    a, b, both = (layers.Dense(size, name=name)(inputs) for size, name in ((12, "a"), (12, "b"), (24, "both")))
    x = layers.Add()([layers.Concatenate()([a, b]), both])
    model = keras.Model(inputs, layers.Dense(3, name="head")(x))
    for fraction in (0.9, 0.7):
        small = plan_channels(model, "l2", density=fraction, round_to=8).apply()
        assert [width_of(small.get_layer(name)) for name in ("a", "b", "both")] == [8, 8, 16]


def test_what_cannot_be_rounded_stays_and_is_named():
    """Each channel stands for six positions, so only 48 of them are a multiple of 32: not with 42."""
    inputs = keras.Input((4,))
    x = layers.Dense(42, name="wide")(inputs)
    x = sum(ops.split(x, 6, axis=-1)[1:], ops.split(x, 6, axis=-1)[0])
    x = layers.Dense(64, name="free")(layers.Reshape((7,))(x))
    model = keras.Model(inputs, layers.Dense(3)(x))
    plan = plan_channels(model, "random", params=0.63, round_to=32)
    wide, free = plan.groups
    assert (wide.before, wide.after, free.after) == (42, 42, 32)
    assert [hold.reason for hold in wide.bound] == ["round_to"]
    assert "round_to (+" in plan.explain()


def test_large_multiples_of_many_remainders():
    """Four layers with remainders of 64 have more combinations than can be tried; like channels still go together."""
    inputs = keras.Input((4,))
    parts = [layers.Dense(128, name=name)(inputs) for name in "abc"]
    x = layers.Add()([layers.Concatenate()(parts), layers.Dense(384, name="all")(inputs)])
    model = keras.Model(inputs, layers.Dense(3, name="head")(x))
    small = plan_channels(model, "l2", density=0.7, round_to=64).apply()
    widths = [width_of(small.get_layer(name)) for name in ("a", "b", "c", "all")]
    assert (sum(widths[:3]), widths[3]) == (256, 256)
    assert set(widths[:3]) <= {64, 128}


def random_model(data):
    """A chain of dense layers whose channels are split, sliced, shared, added and returned."""
    inputs = x = keras.Input((5,))
    for number in range(data.draw(st.integers(1, 3))):
        size = data.draw(st.integers(6, 40))
        x = layers.Dense(size, name=f"fc{number}")(x)
        kind = data.draw(st.sampled_from(["plain", "split", "ranges", "shared", "sum", "norm"]))
        point = data.draw(st.integers(1, size - 1))
        if kind == "split":
            x = layers.Concatenate()([layers.Dense(5)(part) for part in ops.split(x, [point], axis=-1)])
        elif kind == "ranges":
            x = layers.Concatenate()([layers.Dense(4)(x[:, :point]), x[:, point // 2 :]])
        elif kind == "shared" and size > 2:
            third = size // 3
            one = layers.Dense(7, name=f"shared{number}")
            rest = [x[:, 2 * third :]] if size > 2 * third else []
            x = layers.Concatenate()([one(x[:, :third]), one(x[:, third : 2 * third]), *rest])
        elif kind == "sum":
            halves = [
                layers.Dense(part, name=f"part{number}_{part}_{i}")(x) for i, part in enumerate((point, size - point))
            ]
            x = layers.Add()([x, layers.Concatenate()(halves)])
        elif kind == "norm":
            x = layers.ReLU()(layers.BatchNormalization()(x))
    end = x[:, : data.draw(st.integers(1, 3))] if data.draw(st.booleans()) and x.shape[-1] > 3 else None
    head = layers.Dense(3, name="head")(x)
    return keras.Model(inputs, head if end is None else [head, end])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_width_is_a_multiple_or_untouched(data):
    """Read from the kernels of the pruned model, for models with all kinds of constructs and any limits."""
    model = random_model(data)
    limits = {
        "round_to": data.draw(st.sampled_from([1, 4, 8])),
        "min_channels": data.draw(st.integers(1, 9)),
        "max_sparsity": data.draw(st.sampled_from([0.5, 0.8, 1.0])),
        "scope": data.draw(st.sampled_from(["global", "local"])),
    }
    measure = data.draw(st.sampled_from(["flops", "params", "density"]))
    fraction = data.draw(st.floats(0.3, 0.95))
    try:
        plan = plan_channels(model, "random", **{measure: fraction}, **limits)
    except PruningError:
        return
    small = plan.apply()
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dense):
            before, after = width_of(layer), width_of(small.get_layer(layer.name))
            assert after == before or after % limits["round_to"] == 0
            assert after >= min(before, limits["min_channels"])
            assert (before - after) / before <= limits["max_sparsity"] + 1e-9
    for group in plan.groups:
        names = group.layers
        assert (group.before, group.after) == (
            width_of(model.get_layer(names[0])),
            width_of(small.get_layer(names[0])),
        )
    assert small.count_params() == plan.after.params
    assert plan.after.of(measure) <= fraction * plan.before.of(measure) * (1 + 1e-12)
    inputs = example_inputs(model)
    reference = outputs(masked(model, plan.mask, channel_groups(model)), inputs)
    assert_close(outputs(small, inputs), reference, 1e-4)


def test_heads_keep_their_width_while_their_inputs_are_cut(hand, make):
    """b0 a1 b2 a3 a2 a0 b1 go in this order; with `b` held, only those of `a` do."""
    plan = plan_channels(hand, make.fixed(), flops=0.7, keep_width="b")
    assert (plan.keep, plan.keep_width) == ({"a": (0, 2), "b": (0, 1, 2)}, ("b",))
    assert "  b: all 3 channels stay: its width is kept as asked (b)" in plan.explain()
    assert PruningPlan.from_json(plan.to_json()) == plan
    assert plan_channels(hand, make.fixed(), flops=0.7, keep_width=[hand.get_layer("b")]).keep == plan.keep
    assert prune_channels(hand, make.fixed(), flops=0.7, keep_width="b").get_layer("a").units == 2
    head = plan_channels(hand, make.fixed(), flops=0.5, keep_width="out")
    assert head.keep == plan_channels(hand, make.fixed(), flops=0.5).keep  # its outputs are the model's anyway
    with pytest.raises(PruningError, match="layers that keep their width"):
        plan_channels(hand, make.fixed(), flops=0.3, keep_width="b")
    with pytest.raises(UnsupportedLayerError, match=r"keep_width: expected layers of the model, received 'nothing'"):
        plan_channels(hand, make.fixed(), flops=0.5, keep_width="nothing")


def test_limits_by_pattern(hand, make):
    """The first pattern that matches counts; layers without one have no limit."""
    settings = {"flops": 0.5, "criterion": make.fixed()}
    assert plan_channels(hand, **settings, max_sparsity={"a": 0.25}).keep == {"a": (0, 2, 3), "b": (1,)}
    assert plan_channels(hand, **settings, max_sparsity={"b": 0.4}).keep == {"a": (0, 2), "b": (1, 2)}
    assert plan_channels(hand, **settings, max_sparsity={"a": 0.5, "*": 0.4}).keep == {"a": (0, 2), "b": (1, 2)}
    plan = plan_channels(hand, make.fixed(), flops=0.45, max_sparsity={"b": 0.4, "?": 1})
    assert plan.keep == {"a": (0,), "b": (1, 2)}
    assert "max_sparsity={b: 0.4, ?: 1}" in plan.explain()
    assert PruningPlan.from_json(plan.to_json()) == plan
    small = prune_channels(hand, make.fixed(), flops=0.5, max_sparsity={"b": 0.4})
    assert [small.get_layer(name).units for name in "ab"] == [2, 2]
    with pytest.raises(PruningError, match=r"max_sparsity=\{a: 0, b: 0\}"):
        plan_channels(hand, **settings, max_sparsity={"a": 0, "b": 0})
    with pytest.raises(ConfigError, match=r"max_sparsity: .* to remove for b, between 0 and 1, received 2"):
        plan_channels(hand, **settings, max_sparsity={"b": 2})
    with pytest.raises(UnsupportedLayerError, match=r"max_sparsity: .* received 'c', which matches none"):
        plan_channels(hand, **settings, max_sparsity={"c": 0.5})


def test_limits_hold_for_each_layer_of_a_group(mixed, make):
    """The group `stem` is made by `stem` and `grouped`, eight channels in four ties."""
    plan = plan_channels(mixed, make.kernels(), flops=0.6, max_sparsity={"grouped": 0.25, "nested": 0.1})
    small = plan.apply()
    assert small.get_layer("stem").filters == 8  # half of it is the least that can go
    assert small.get_layer("nested").get_layer("pointwise").filters >= 9


def every_kind():
    """Layers with channels that their outputs do not show, one after the other."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 16))
    x = layers.Dense(16, name="first")(inputs)
    x = layers.MultiHeadAttention(6, 8, value_dim=12, use_gate=True, name="attention")(x, x)
    x = layers.GroupQueryAttention(12, 12, 4, name="grouped")(x, x)
    x = layers.TimeDistributed(layers.Dense(18), name="timed")(x)
    x = layers.SpectralNormalization(layers.Dense(20), name="spectral")(x)
    x = layers.SeparableConv1D(24, 3, depth_multiplier=2, padding="same", name="separable")(x)
    x = layers.Conv1D(24, 3, groups=3, padding="same", name="convolution")(x)
    x = layers.EinsumDense("abc,cde->abde", (None, 6, 10), bias_axes="de", name="einsum")(x)
    x = layers.EinsumDense("abde,def->abf", (None, 16), name="joined")(x)
    cells = [layers.GRUCell(12), layers.LSTMCell(14)]
    x = layers.RNN(cells, return_sequences=True, name="stacked")(x)
    x = layers.Bidirectional(layers.LSTM(12, return_sequences=True), name="both")(x)
    x = layers.Bidirectional(layers.GRU(12), merge_mode="sum", name="summed")(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(x))


def kernel_of(layer, end):
    (found,) = [weight for weight in layer.weights if weight.path.endswith(end)]
    return tuple(found.shape)


def real_widths(model):
    """What the layers of `every_kind` have, by the names of groups, read from kernels."""
    get = model.get_layer
    attention, grouped, einsum = get("attention"), get("grouped"), kernel_of(get("einsum"), "kernel")
    _, heads, keys = kernel_of(attention, "query/kernel")
    _, shared_heads, shared_keys = kernel_of(grouped, "key/kernel")
    assert (heads, keys) == (attention.num_heads, attention.key_dim)
    assert kernel_of(grouped, "query/kernel")[1:] == (3 * shared_heads, shared_keys)
    assert (grouped.num_key_value_heads, grouped.head_dim) == (shared_heads, shared_keys)
    stacked = get("stacked").cell.cells
    return {
        "first": width_of(get("first")),
        "attention.heads": heads,
        "attention.keys": keys,
        "attention.values": kernel_of(attention, "value/kernel")[-1],
        "attention": kernel_of(attention, "attention_output/kernel")[-1],
        "grouped.heads": shared_heads,
        "grouped.keys": shared_keys,
        "timed": width_of(get("timed").layer),
        "spectral": width_of(get("spectral").layer),
        "separable": get("separable").pointwise_kernel.shape[-1],
        "convolution": width_of(get("convolution")),
        "einsum.d": einsum[-2],
        "einsum": einsum[-1],
        "joined": width_of(get("joined")),
        "stacked.cell0": stacked[0].recurrent_kernel.shape[0],
        "stacked.cell1": stacked[1].recurrent_kernel.shape[0],
        "both": get("both").output.shape[-1],
        "summed": get("summed").output.shape[-1],
    }


@pytest.mark.parametrize("scope", ["global", "local"])
@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"round_to": 2},
        {"round_to": 4, "min_channels": 8},
        {"min_channels": 5, "max_sparsity": 0.5},
        {"max_sparsity": {"attention.heads": 0.2, "*.keys": 0.0, "both": 0.25}},
    ],
    ids=str,
)
def test_plans_say_what_layers_have_and_keep_to_limits(limits, scope):
    """Heads, keys and values of attention, cells, both directions, and groups of a convolution."""
    model = every_kind()
    whole = real_widths(model)
    plan = plan_channels(model, "random", params=0.6, scope=scope, **limits)
    real = real_widths(plan.apply())
    assert {group.name: group.before for group in plan.groups} == whole
    assert {group.name: group.after for group in plan.groups} == real
    assert (plan.before.channels, plan.after.channels) == (sum(whole.values()), sum(real.values()))
    step, least, share = limits.get("round_to", 1), limits.get("min_channels", 1), limits.get("max_sparsity", 1.0)
    shares = share if isinstance(share, dict) else dict.fromkeys(whole, share)
    for name in whole:
        most = shares.get("*.keys" if name.endswith(".keys") and len(shares) == 3 else name, 1.0)
        assert real[name] == whole[name] or real[name] % step == 0
        assert real[name] >= min(whole[name], least)
        assert (whole[name] - real[name]) / whole[name] <= most
    assert any(real[name] < whole[name] for name in whole)


LAYERS = [
    "attention",
    "grouped",
    "timed",
    "spectral",
    "separable",
    "convolution",
    "einsum",
    "stacked",
    "both",
    "summed",
]


@pytest.mark.parametrize("name", LAYERS)
def test_layers_keep_what_is_within_them(name):
    model = every_kind()
    layer = model.get_layer(name)
    weights = [weight.shape for weight in layer.weights]
    for which in (name, f"{name[:-1]}?", [layer]):
        small = plan_channels(model, "random", params=0.8, ignore=which).apply()
        assert [weight.shape for weight in small.get_layer(name).weights] == weights

    def widths(model):
        return {key: size for key, size in real_widths(model).items() if key == name or key.startswith(f"{name}.")}

    small = plan_channels(model, "random", params=0.8, keep_width=name).apply()
    assert widths(small) == widths(model)
    assert small.count_params() <= 0.8 * model.count_params()
    free = widths(plan_channels(model, "random", params=0.4, scope="local").apply())
    assert all(free[key] < size for key, size in widths(model).items())


def test_nothing_goes_where_everything_is_ignored():
    model = every_kind()
    whole = model.count_params()
    for setting in ("ignore", "keep_width"):
        with pytest.raises(PruningError, match=rf"at least {whole:,} of {whole:,} parameters \(100.0 %\) remain"):
            plan_channels(model, "random", params=0.8, **{setting: "*"})


def test_groups_are_named_as_in_the_table():
    model = every_kind()
    layer = model.get_layer("attention")
    for setting in ("ignore", "keep_width"):
        plan = plan_channels(model, "random", params=0.4, scope="local", **{setting: ["attention.heads", "*.cell1"]})
        small = plan.apply()
        assert small.get_layer("attention").num_heads == layer.num_heads
        assert small.get_layer("attention").key_dim < layer.key_dim
        assert [cell.units for cell in small.get_layer("stacked").cell.cells][1] == 14
        assert {group.name for group in plan.groups if group.protected} == {"attention.heads", "stacked.cell1"}
        assert PruningPlan.from_json(plan.to_json()) == plan
    with pytest.raises(UnsupportedLayerError, match=r"received 'attention\.head', which it lacks"):
        plan_channels(model, "random", params=0.4, ignore="attention.head")


def nested_kinds():
    """Attention in a model that is called twice, and in one at each time step; two cells in two directions there."""
    keras.utils.set_random_seed(0)
    inputs, inner, step = keras.Input((5, 8)), keras.Input((5, 8)), keras.Input((5, 8))
    attention = layers.MultiHeadAttention(4, 6, name="attention")(inner, inner)
    block = keras.Model(inner, layers.Dense(8, name="out")(attention), name="block")
    sequence = layers.LSTM(9, name="lstm")(layers.MultiHeadAttention(4, 6, name="attention")(step, step))
    movie = keras.Input((3, 5, 8))
    y = layers.TimeDistributed(keras.Model(step, sequence), name="steps")(movie)
    both = layers.Bidirectional(layers.RNN([layers.GRUCell(6), layers.LSTMCell(5)]))
    y = layers.TimeDistributed(both, name="timed")(layers.Reshape((3, 3, 3))(layers.Dense(9, name="between")(y)))
    return keras.Model([inputs, movie], [layers.Dense(2)(block(block(inputs))), layers.Dense(2)(y)])


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("block", {"block/attention.heads", "block/attention.keys", "block/attention.values", "block/attention"}),
        ("*/attention.heads", {"block/attention.heads", "steps/attention.heads"}),
        ("steps/lstm", {"steps/lstm"}),
        ("timed", {"timed.cell0", "timed.cell1"}),
    ],
)
def test_layers_within_models_and_wrappers_keep_what_is_within_them(name, held):
    model = nested_kinds()
    for limits in ({"keep_width": name}, {"max_sparsity": {name: 0.0}}):
        plan = plan_channels(model, "random", params=0.6, scope="local", **limits)
        assert {group.name for group in plan.groups if group.after == group.before} == held
    ignored = {
        group.name for group in plan_channels(model, "random", params=0.7, ignore=name).groups if group.protected
    }
    assert ignored == held | {"steps/lstm": {"steps/attention"}, "timed": {"between"}}.get(name, set())
    left = {group.name for group in channel_groups(model, ignore=name)}
    assert left == {group.name for group in channel_groups(model)} - ignored


@pytest.mark.parametrize("build", [every_kind, unevenly_split, lambda: sliced(slice(0, 40), slice(8, None))])
def test_tables_of_groups_and_plans_agree(build):
    model = build()
    groups, plan = channel_groups(model), plan_channels(model, "random", params=0.9)
    assert f", {plan.before.channels} channels" in str(groups)
    rows = [line.split() for line in str(groups).splitlines()[2 : 2 + len(groups)]]
    assert [(row[0], row[1]) for row in rows] == [(group.name, str(group.before)) for group in plan.groups]
