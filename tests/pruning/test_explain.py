import keras

from tfprune.pruning import plan_channels

layers = keras.layers


def test_the_text_of_a_plan(hand, make):
    plan = plan_channels(hand, make.fixed(), flops=0.7, round_to=2, ignore="out", max_sparsity=0.5)
    assert plan.explain() == (
        "Plan for hand_made: keep at most 70 % of its FLOPs\n"
        "  channels ranked by fixed, compared over the whole model\n"
        "\n"
        "  group  channels          kept  held by\n"
        "  a             4  ->  2   50 %\n"
        "  b             3  ->  3  100 %  ignored (+2)\n"
        "\n"
        "              before      after     kept\n"
        "  channels         7  ->      5  71.43 %\n"
        "  parameters      22  ->     14  63.64 %\n"
        "  FLOPs           22  ->     14  63.64 %\n"
        "\n"
        "6.36 % of the FLOPs stay unused: undoing one more removal exceeds the target\n"
        "\n"
        "Left alone:\n"
        "  b: all 3 channels stay: ignored as asked (out)\n"
        "  out (Dense): 2 channels stay: they are outputs of the model"
    )


def test_limits_that_bound_are_named_with_their_number(hand, make):
    # a goes first and would be gone; b then loses one channel
    plan = plan_channels(hand, make.fixed(3, 1, 0, 2, 5, 4, 7), flops=0.6, min_channels=2)
    assert plan.keep == {"a": (0, 3), "b": (0, 2)}
    assert [(hold.reason, hold.channels) for hold in plan.groups[0].bound] == [("min_channels", 2)]
    assert plan.groups[1].bound == ()
    text = plan.explain()
    assert "  a             4  ->  2  50 %  min_channels (+2)\n" in text
    assert "Limits that kept more channels than the scores:\n  min_channels=2  2 channels more than by score" in text
    # a1 would go first, but two channels of a go at once
    plan = plan_channels(hand, make.fixed(4, 0.1, 3, 2, 0.5, 5, 6), flops=0.75, round_to=2)
    assert plan.keep == {"a": (0, 1, 2, 3), "b": (1, 2)}
    assert [(hold.reason, hold.channels) for hold in plan.groups[0].bound] == [("round_to", 1)]
    plan = plan_channels(hand, make.fixed(4, 1, 6, 5, 2, 0.5, 3), flops=0.6, round_to=2, max_sparsity=0.5)
    assert plan.keep == {"a": (2, 3), "b": (0, 2)}
    bound = {group.name: [(hold.reason, hold.channels) for hold in group.bound] for group in plan.groups}
    assert bound == {"a": [], "b": [("max_sparsity", 2)]}


def test_layers_without_a_rule_are_named(make):
    class Strange(keras.layers.Layer):
        def call(self, values):
            return keras.ops.cumsum(values, axis=-1)

    inputs = keras.Input((3,))
    x = Strange(name="odd")(layers.Dense(4, name="pinned")(inputs))
    x = layers.Dense(6, name="free")(x)
    model = keras.Model(inputs, layers.Dense(2)(x))
    plan = plan_channels(model, make.kernels(), density=0.5)
    assert list(plan.keep) == ["free"]
    assert "Left alone:\n  odd (Strange): " in plan.explain()
    assert plan.pinned[0].startswith("odd (Strange): ")


def test_columns_are_aligned_and_long_lists_of_layers_shortened(make):
    from tfprune.recipes.models import build_model

    model = build_model("ResNet-20", num_classes=3, input_shape=(8, 8, 3), seed=0)
    plan = plan_channels(model, make.kernels(), flops=0.5)
    table = plan.explain().split("\n\n")[1].splitlines()
    assert len({line.index("%") for line in table[1:]}) == 1
    assert len({line.index("->") for line in table[1:]}) == 1
    assert "block0.0_conv2 and 2 more " in table[1] or " 3 layers " in table[1]  # as wide as other columns allow
    assert max(map(len, table)) <= 80
    wide = plan.explain(width=120).split("\n\n")[1].splitlines()
    assert " block0.0_conv2, block0.1_conv2, block0.2_conv2 " in wide[1]


def test_a_plan_in_one_line(hand, make):
    plan = plan_channels(hand, make.fixed(), flops=0.5)
    assert str(plan) == (
        "PruningPlan(hand_made: 2 of 2 groups get smaller, channels 7 -> 4, parameters 22 -> 8, FLOPs 22 -> 8)"
    )


def test_each_line_names_what_was_asked_for_it():
    dense = keras.layers.Dense
    model = keras.Sequential([keras.Input((4,)), *(dense(4, name=name) for name in ("one", "two", "three", "out"))])
    text = plan_channels(model, density=0.9, keep_width=("one", "tw*")).explain()
    assert "one: all 4 channels stay: its width is kept as asked (one)\n" in text
    assert "two: all 4 channels stay: its width is kept as asked (tw*)\n" in text
