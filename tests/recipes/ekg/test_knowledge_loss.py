import numpy as np
import pytest
import tensorflow as tf

from tfprune.graph import channel_groups, convert, slim
from tfprune.optimizers import SGD
from tfprune.recipes.ekg.knowledge_loss import KnowledgeObjective, knowledge_target, softened_divergence
from tfprune.recipes.training import CrossEntropy, Loop
from tfprune.search.state import Gates


def two_views(golden):
    images = golden["test64_x"]
    views = np.stack([images, images[:, :, ::-1]], axis=1)
    return {
        "images": tf.constant(views),
        "labels": tf.constant(golden["test64_labels"].ravel().astype(np.int64)),
        "knowledge": tf.constant(golden["ft/K"]),
    }


@pytest.fixture(scope="module")
def half(golden, pretrained):
    groups = channel_groups(pretrained)
    mask = Gates(groups, 0.2).mask(golden["order_full"], golden["masked/r0.5/rates"])
    return slim(pretrained, mask, groups, rescale_kernels=True)


@pytest.mark.parametrize("name", ["slim_r0.5", "full"])
def test_golden_loss_and_gradient(golden, pretrained, half, name):
    model = convert({"slim_r0.5": half, "full": pretrained}[name], "plain")
    batch, objective = two_views(golden), KnowledgeObjective(10)
    with tf.GradientTape() as tape:
        logits = model(objective.inputs(batch), training=True)
        to_differentiate, metrics = objective(logits, batch)
        mean = to_differentiate / 64
    total, count = metrics["loss"]
    assert float(total / count) == pytest.approx(float(golden[f"ft/{name}/total_loss"]), rel=1e-5)
    np.testing.assert_allclose(tf.reshape(logits, [64, 2, 10]), golden[f"ft/{name}/preds"], atol=1e-4)
    gradients = tape.gradient(mean, [variable.value for variable in model.trainable_variables])
    norms = sorted(float(tf.norm(gradient)) for gradient in gradients)
    np.testing.assert_allclose(norms, np.sort(golden[f"ft/{name}/grad_norms"]), rtol=5e-3, atol=1e-5)
    expected = float(golden[f"ft/{name}/grad_global_norm"])
    assert float(tf.linalg.global_norm(gradients)) == pytest.approx(expected, rel=1e-4)
    _, kept = knowledge_target(batch["knowledge"], tf.reshape(logits, [64, 2, 10]), 4.0)
    assert np.array_equal(kept, golden[f"ft/{name}/mask"])


@pytest.mark.parametrize("name", ["slim_r0.5", pytest.param("full", marks=pytest.mark.slow)])
def test_golden_three_steps(golden, pretrained, half, name):
    model = convert({"slim_r0.5": half, "full": pretrained}[name], "fused")
    optimizer = SGD(0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    loop = Loop(model, optimizer, KnowledgeObjective(10), global_batch_size=64)
    losses = [loop.train_step(two_views(golden))["loss"] for _ in range(3)]
    np.testing.assert_allclose(losses, golden[f"ft/{name}/loss_3steps"], rtol=2e-3)
    assert losses[0] == pytest.approx(float(golden[f"ft/{name}/loss_3steps"][0]), rel=1e-5)
    for layer in ("conv", "fc", "bn"):
        for variable in model.get_layer(layer).variables:
            name_there = "biases" if variable.name == "bias" else variable.name
            expected = golden[f"ft/{name}/after3/ResNet/{layer}/{name_there}:0"].reshape(variable.shape)
            np.testing.assert_allclose(variable, expected, atol=0.01 * np.abs(expected).max() + 1e-4)


@pytest.mark.slow
def test_golden_plain_three_steps(golden, pretrained):
    model = convert(pretrained, "fused")
    loop = Loop(model, SGD(0.01, momentum=0.9, nesterov=True, weight_decay=5e-4), CrossEntropy(), global_batch_size=64)
    batch = two_views(golden)
    plain = {"images": batch["images"][:, 0], "labels": batch["labels"]}
    losses = [loop.train_step(plain)["loss"] for _ in range(3)]
    np.testing.assert_allclose(losses, golden["ft/plain_full/loss_3steps"], rtol=5e-3)
    kernel = np.asarray(model.get_layer("conv").kernel)
    np.testing.assert_allclose(kernel, golden["ft/plain_full/after3_conv_kernel"], atol=1e-3)


def test_divergence_and_its_gradient():
    rng = np.random.default_rng(0)
    teacher, student = (tf.constant(rng.normal(size=(5, 7)) * 3) for _ in range(2))
    with tf.GradientTape() as tape:
        tape.watch(student)
        divergence = softened_divergence(teacher, student, 4.0)
    expected = tf.nn.softmax(student / 4) - tf.nn.softmax(teacher / 4)
    np.testing.assert_allclose(tape.gradient(divergence, student), expected, atol=1e-12)
    assert np.all(divergence > 0)
    np.testing.assert_allclose(softened_divergence(teacher, teacher, 4.0), 0, atol=1e-12)


def test_no_gradient_through_the_choice_of_teachers():
    rng = np.random.default_rng(1)
    bank, views = (tf.constant(rng.normal(size=shape)) for shape in ((4, 3, 2), (4, 2, 3)))
    with tf.GradientTape() as tape:
        tape.watch([bank, views])
        target, _ = knowledge_target(bank, views, 4.0)
    assert tape.gradient(target, [bank, views]) == [None, None]


def test_temperature_follows_the_number_of_classes():
    assert (KnowledgeObjective(999).temperature, KnowledgeObjective(1000).temperature) == (4.0, 10.0)
