import numpy as np
import pytest

from tfprune.errors import SearchError
from tfprune.recipes.data import load_data
from tfprune.recipes.ekg import EKGConfig
from tfprune.recipes.ekg.stages import warm_up

from .conftest import golden_model, tiny_config


@pytest.mark.slow
def test_golden_warm_up(golden, tfds_folder, pretrained):
    data = load_data("CIFAR10", tfds_folder)
    before = [variable.numpy() for variable in pretrained.variables]
    model, losses = warm_up(EKGConfig(original_quirks=True), pretrained, data, golden["train_sub_index"])
    # Rounding grows from step to step, and differs with the number of threads.
    np.testing.assert_allclose(losses[:4], golden["pft_losses"][:4], rtol=5e-4)
    np.testing.assert_allclose(losses, golden["pft_losses"], rtol=5e-3)
    expected = golden_model(golden, "pft/", "ResNet-56")
    # The rounding of single elements grows over ten steps; the movement as a whole must be the recorded one.
    errors = {
        received.path: np.linalg.norm(received - wanted) / np.linalg.norm(wanted - old)
        for old, received, wanted in zip(before, model.variables, map(np.asarray, expected.variables), strict=True)
    }
    assert max(errors.values()) < 0.2, max(errors, key=errors.get)
    assert np.median(list(errors.values())) < 0.05


def updates(tiny, data, **changes):
    """What one step changes, and the losses."""
    model, losses = warm_up(tiny_config(**changes), tiny, data, np.arange(24))
    return [np.asarray(new) - np.asarray(old) for new, old in zip(model.variables, tiny.variables, strict=True)], losses


def test_quirk_divides_by_the_other_batch_size(tiny, few_digits):
    """24 images to a batch, divided by a `batch_size` of 6: four times the gradient; else it is the mean."""
    mean, (loss,) = updates(tiny, few_digits, weight_decay=0.0, batch_size=6)
    quirk, (quirk_loss,) = updates(tiny, few_digits, weight_decay=0.0, batch_size=6, original_quirks=True)
    assert quirk_loss == pytest.approx(4 * loss, rel=1e-5)
    for variable, once, four_times in zip(tiny.variables, mean, quirk, strict=True):
        factor = 4 if variable.trainable else 1
        np.testing.assert_allclose(four_times, factor * once, rtol=1e-2, atol=1e-6)


def test_learning_rate_and_weight_decay(tiny, few_digits):
    """The first Nesterov step is 1.9 times rate times gradient."""
    without, _ = updates(tiny, few_digits, weight_decay=0.0)
    decayed, _ = updates(tiny, few_digits, weight_decay=10.0)
    kernel = np.asarray(tiny.get_layer("conv1").kernel)
    index = next(i for i, variable in enumerate(tiny.variables) if variable is tiny.get_layer("conv1").kernel)
    np.testing.assert_allclose(decayed[index] - without[index], -1.9 * 1e-3 * 10.0 * kernel, rtol=1e-3, atol=1e-6)


def test_batches_and_the_given_model(tiny, few_digits):
    before = tiny.get_weights()
    model, losses = warm_up(tiny_config(search_batch_size=30), tiny, few_digits, np.arange(100))
    assert len(losses) == 3  # the remaining ten images are left out
    _, losses = warm_up(tiny_config(search_batch_size=256), tiny, few_digits, np.arange(100))
    assert len(losses) == 1
    for old, new in zip(before, tiny.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert [type(layer) for layer in model.layers] == [type(layer) for layer in tiny.layers]


def test_a_network_that_diverges(tiny, few_digits):
    import keras

    broken = keras.models.clone_model(tiny)
    broken.set_weights([np.full_like(weight, np.nan) for weight in tiny.get_weights()])
    with pytest.raises(SearchError, match="diverged; expected a trained model"):
        warm_up(tiny_config(), broken, few_digits, np.arange(24))
