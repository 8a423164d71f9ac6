import keras
import numpy as np
import pytest

from tfprune.errors import PruningError
from tfprune.optimizers import SGD
from tfprune.pruning import plan_channels, prune_channels

IMAGES = np.random.default_rng(0).normal(size=(8, 6, 6, 2)).astype(np.float32)
LABELS = np.arange(8) % 3


def trained(make, optimizer):
    model = make.residual()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=optimizer, loss=loss, jit_compile=False)
    model.fit(IMAGES, LABELS, batch_size=4, epochs=1, verbose=0)
    return model


def built(make, optimizer):
    model = make.residual()
    model.compile(optimizer=optimizer, loss="mse")
    model.optimizer.build(model.trainable_variables)
    return model


def cut_by_hand(plan, model, name):
    """Arrays of the model's variables cut as the plan says: of the stem and the pointwise convolution."""
    stem, pointwise = plan.keep["stem"], plan.keep["nested/pointwise"]
    channels = [group * 2 + unit for group in range(4) for unit in stem]
    return {
        "stem_kernel": lambda array: array[..., channels],
        "stem_bias": lambda array: array[channels],
        "stem_bn_gamma": lambda array: array[channels],
        "pointwise_kernel": lambda array: array[:, :, channels][..., list(pointwise)],
        "fc_kernel": lambda array: array[[10 * place + unit for place in range(4) for unit in pointwise]],
        "fc_bias": lambda array: array,
    }[name]


@pytest.mark.parametrize(
    ("optimizer", "parts"),
    [
        (lambda: SGD(0.01, momentum=0.9, weight_decay=1e-4), ["momentum"]),
        pytest.param(
            lambda: keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True), ["momentum"], marks=pytest.mark.slow
        ),
        (lambda: keras.optimizers.Adam(1e-3, amsgrad=True, use_ema=True), ["momentum", "velocity", "average"]),
        pytest.param(
            lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.01, momentum=0.9)),
            ["momentum"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_state_of_kept_channels_is_carried_over(make, optimizer, parts):
    model = trained(make, optimizer())
    plan = plan_channels(model, make.kernels(), flops=0.5)
    assert len(plan.keep["stem"]) + len(plan.keep["nested/pointwise"]) < 12
    small = plan.apply(keep_optimizer=True)
    old = {variable.path.rpartition("/")[2]: np.asarray(variable) for variable in model.optimizer.variables}
    new = {variable.path.rpartition("/")[2]: np.asarray(variable) for variable in small.optimizer.variables}
    assert list(old) == list(new)
    for name in ("stem_kernel", "stem_bias", "stem_bn_gamma", "pointwise_kernel", "fc_kernel", "fc_bias"):
        for part in parts:
            (key,) = (key for key in old if key.endswith(f"{name}_{part}"))
            assert np.abs(old[key]).max() > 0
            np.testing.assert_array_equal(new[key], cut_by_hand(plan, model, name)(old[key]))
    assert int(small.optimizer.iterations) == int(model.optimizer.iterations) == 2
    small.fit(IMAGES, LABELS, batch_size=4, verbose=0)


def dense(make):
    """A trained model of dense layers, and how to train it on by one step."""
    keras.utils.set_random_seed(0)
    model = make.hand_made()
    model.compile(optimizer=keras.optimizers.Adam(1e-2), loss="mse", jit_compile=False)

    def step(model):
        model.fit(np.ones((4, 1)), np.full((4, 2), 5.0), verbose=0)

    step(model)
    return model, step


def test_training_goes_on_as_if_nothing_had_happened(make):
    """With nothing pruned, the copy makes the very same step as the model."""
    model, step = dense(make)
    same = plan_channels(model, make.kernels(), flops=1.0).apply(keep_optimizer=True)
    fresh = plan_channels(model, make.kernels(), flops=1.0).apply()
    for each in (model, model, same, same, fresh, fresh):
        step(each)
    for mine, expected in zip(same.trainable_variables, model.trainable_variables, strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-5, atol=1e-6)
    pairs = zip(fresh.trainable_variables, model.trainable_variables, strict=True)
    assert max(np.abs(a.numpy() - b.numpy()).max() for a, b in pairs) > 1e-3
    assert int(fresh.optimizer.iterations) == 2


def test_state_goes_through_all_steps(make):
    model, step = dense(make)
    before = [variable.numpy() for variable in model.optimizer.variables]
    small = prune_channels(
        model, make.kernels(), flops=0.3, steps=3, between=lambda model, _: step(model), keep_optimizer=True
    )
    assert int(small.optimizer.iterations) == 3
    assert small.get_layer("a").units < 4
    for variable, array in zip(model.optimizer.variables, before, strict=True):
        np.testing.assert_array_equal(variable, array)


def test_errors(make):
    model = make.residual()
    plan = plan_channels(model, make.kernels(), flops=0.5)
    with pytest.raises(PruningError, match=r"keep_optimizer: expected a compiled model"):
        plan.apply(keep_optimizer=True)
    with pytest.raises(PruningError, match=r"Adafactor holds .* of shape .* belongs to no single weight"):
        plan.apply(built(make, keras.optimizers.Adafactor(1e-3)), keep_optimizer=True)
    model = built(make, keras.optimizers.SGD(0.01, momentum=0.9))
    model.get_layer("stem").trainable = False
    with pytest.raises(PruningError, match="compile the model again"):
        plan.apply(model, keep_optimizer=True)


def test_a_compiled_model_that_never_trained_has_no_state_to_carry(make):
    model = make.residual()
    model.compile(optimizer="adam", loss="mse")
    small = plan_channels(model, make.kernels(), flops=0.5).apply(keep_optimizer=True)
    assert small.compiled
