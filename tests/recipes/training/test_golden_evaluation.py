"""The whole test set on the pretrained ResNet-56, against the original's own evaluation."""

import numpy as np
import pytest

from tfprune.recipes.data import fixed_batches, load_data
from tfprune.recipes.models import load_checkpoint
from tfprune.recipes.training import evaluate, predict_logits

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pretrained(pretrained_file, tfds_folder):
    data = load_data("CIFAR10", tfds_folder)
    model = load_checkpoint(pretrained_file, arch="ResNet-56", num_classes=10, input_shape=data.input_shape)
    return model, fixed_batches(data.test_images, data.test_labels, data, 256)


@pytest.mark.parametrize(("name", "batch_statistics"), [("ma", False), ("bs256", True)])
def test_accuracies_and_logits(golden, pretrained, name, batch_statistics):
    model, batches = pretrained
    accuracy, loss = golden[f"test_acc_loss_{name}"]
    top1, top5 = golden[f"test_top1_top5_{name}"]
    before = model.get_weights()
    result = evaluate(model, batches, batch_statistics=batch_statistics)
    assert result.examples == 10_000
    # The original averaged sums/256 over 40 batches, the last of which has 16 images.
    assert result.loss == pytest.approx(loss * 40 * 256 / 10_000, rel=1e-4)
    assert result.top1 == pytest.approx(accuracy, abs=1e-4)  # one image
    assert (result.top1, result.top5) == pytest.approx((top1, top5), abs=1e-4)
    logits = predict_logits(model, batches, batch_statistics=batch_statistics)
    np.testing.assert_allclose(logits, golden[f"test_logits_{name}"], atol=2e-4)
    if batch_statistics:
        np.testing.assert_allclose(logits[:256], golden["logits256_bs256"], atol=1e-4)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
