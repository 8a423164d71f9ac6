"""The supernet of Keras layers against the original's, and against the fast evaluator."""

import numpy as np
import pytest
import tensorflow as tf

from tfprune.layers import ChannelGate, ScoredBatchNormalization
from tfprune.optimizers import SGD
from tfprune.recipes.training import CrossEntropy, Loop
from tfprune.search.subnetworks import objective_sum
from tfprune.search.supernet import Supernet


@pytest.fixture(scope="module")
def supernet(pretrained):
    return Supernet(pretrained)


def importances(supernet, golden):
    images, labels = tf.constant(golden["test64_x"]), golden["test64_labels"].ravel().astype(np.int64)
    scores = [score.value for score in supernet.score_variables()]
    with tf.GradientTape() as tape:
        tape.watch(scores)
        loss = objective_sum(supernet.model(images, training=True), labels, golden["K64"]) / 64
    return np.concatenate(tape.gradient(loss, scores)), float(loss)


def test_one_gate_per_group(supernet):
    gates = [layer for layer in supernet.model.layers if isinstance(layer, ChannelGate | ScoredBatchNormalization)]
    assert len(gates) == len(supernet.groups) == 30
    assert sum(isinstance(gate, ChannelGate) for gate in gates) == 3
    assert sum(len(gate._inbound_nodes) for gate in gates if isinstance(gate, ChannelGate)) == 10 + 9 + 9


def test_golden_scores_of_the_whole_network(golden, supernet):
    supernet.assign(np.zeros(1120, np.float32), np.ones(30))
    received, objective = importances(supernet, golden)
    expected = golden["scores_full"]
    np.testing.assert_allclose(received, expected, rtol=0.02, atol=1e-3 * expected.max())
    assert objective == pytest.approx(float(golden["objective_full"][1]), rel=1e-5)


def test_golden_scores_at_mixed_rates(golden, supernet):
    supernet.assign(golden["order_full"], golden["mixed_rates"])
    received, objective = importances(supernet, golden)
    expected = golden["mixed_scores"]
    np.testing.assert_allclose(received, expected, rtol=0.02, atol=1e-3 * expected.max())
    assert np.all(received[golden["mixed_masks"] == 0] == 0)
    assert objective == pytest.approx(float(golden["mixed_objective"][1]), rel=1e-5)


@pytest.mark.parametrize("tag", ["r0.5", "mixed"])
def test_golden_masked_logits(golden, pretrained, tag):
    supernet = Supernet(pretrained)
    supernet.assign(golden["order_full"], golden[f"masked/{tag}/rates"])
    images = golden["test64_x"]
    moving = supernet.model(images, training=False)
    np.testing.assert_allclose(moving, golden[f"masked/{tag}/masked_logits_ma"], atol=1e-4)
    batch = supernet.model(images, training=True)
    np.testing.assert_allclose(batch, golden[f"masked/{tag}/masked_logits_bs64"], atol=1e-4)


def test_trains_with_its_gates_set(golden, resnet20):
    supernet = Supernet(resnet20)
    orders = np.concatenate([np.arange(group.size, dtype=np.float32) for group in supernet.groups])
    supernet.assign(orders, np.full(len(supernet.groups), 0.5))
    loop = Loop(supernet.model, SGD(0.01, momentum=0.9), CrossEntropy(), global_batch_size=64)
    batch = {"images": golden["test64_x"], "labels": golden["test64_labels"].ravel().astype(np.int64)}
    losses = [loop.train_step(batch)["loss"] for _ in range(5)]
    assert losses[-1] < losses[0]
    assert all(np.all(score.numpy() == 0) for score in supernet.score_variables())
    assert float(supernet.model.get_layer("conv").out_mask.numpy().mean()) == 0.5
