"""What every rule has to hold to: the slimmed model computes what the masked one does, and costs what it should."""

import keras
import numpy as np

from tfprune.graph import PINNED, ChannelGroups, CostModel, channel_groups, complexity, masked, slim
from tfprune.graph.labels import kept_positions, weight_at
from tfprune.graph.traced_cost import traced_flops


def randomize(model, seed=0):
    """Gives scales, offsets and statistics values other than 0 and 1."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        if variable.name in ("beta", "bias", "moving_mean", "alpha"):
            variable.assign(rng.normal(0, 0.3, variable.shape))
        elif variable.name in ("gamma", "moving_variance", "scale"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))


def random_mask(groups, seed, density=0.5):
    """Keeps each channel by chance, and at least one along each axis of a tensor, and of each group."""
    mask = np.random.default_rng(seed).random(groups.channels) < density
    for group in groups:
        mask[group.start] |= not mask[group.channels].any()
    for _, channels in groups.named_axes():
        if (channels >= 0).all() and not mask[channels].any():
            mask[channels[0]] = True
    return mask


def zero_channel(layer, channel):
    """Sets one position along the last axis of all weights of a layer to zero."""
    for weight in layer.weights:
        array = np.array(np.asarray(weight))
        array[..., channel] = 0
        weight.assign(array)


def with_zeros(model, mask, groups):
    """Sets what makes and reads masked channels to zero: an independent reference where no normalization sees them."""
    for each in groups.by_layer.values():
        for slot in each.slots:
            if slot.role != "pass":
                weight = weight_at(each.layer, slot.weight)
                array = np.asarray(weight).copy()
                np.moveaxis(array, slot.axis, 0)[~kept_positions(slot.channels, mask)] = 0
                weight.assign(array)
    return model


def example_inputs(model, examples=3, seed=0):
    """Inputs in the structure that the model takes; open sizes are 5."""
    rng = np.random.default_rng(seed)
    values = []
    for tensor in model.inputs:
        shape = (examples, *(size or 5 for size in tensor.shape[1:]))
        whole = tensor.dtype.startswith("int")
        values.append(rng.integers(0, 4, shape) if whole else rng.normal(0, 1, shape).astype(tensor.dtype))
    struct = getattr(model, "_inputs_struct", None)
    return values[0] if struct is None else keras.tree.pack_sequence_as(struct, values)


def outputs(model, inputs):
    """The model's outputs as a flat list of arrays."""
    return [np.asarray(each, np.float32) for each in keras.tree.flatten(model(inputs, training=False))]


def assert_close(found, expected, tolerance):
    """Compares lists of arrays relative to the largest value of each."""
    for result, reference in zip(found, expected, strict=True):
        assert result.shape == reference.shape
        np.testing.assert_allclose(result, reference, rtol=tolerance, atol=tolerance * np.abs(reference).max())


def assert_named(groups):
    """Every channel that a layer makes can be pruned, or is held for a reason."""
    assert all(each.reason for each in groups.left_alone)
    held = {each.layer.rpartition(" (")[0].partition(".")[0] for entry in groups.left_alone for each in entry.held}
    for name, slots in groups.slots.items():
        made = [slot.channels for slot in slots if slot.role == "out"]
        if made and any(np.any(channels == PINNED) for channels in made):
            assert name in held or any(
                cause.startswith(f"{name} (") for entry in groups.left_alone for cause in entry.causes
            ), name


def agrees(model, *, pinned=(), traced=False, seeds=3, tolerance=1e-5, power=0.02) -> ChannelGroups:
    """Asserts that slimmed, masked and counted models agree, and that the masks change something.

    Args:
        model: The model; its weights are changed.
        pinned: What is to be left alone, as `(start of the text, part of the text)`: all layers of which nothing can be
            pruned, and others that hold channels.
        seeds: How many masks to try.
        tolerance: Largest error, relative to the largest output.
        traced: Whether the costs are those of the operations that TensorFlow runs, where these can be counted.
        power: Least change of an output by the masks, relative to the largest; None where nothing can go.

    Returns:
        The model's groups.
    """
    randomize(model)
    inputs = example_inputs(model)
    groups = channel_groups(model)
    for start, part in pinned:
        assert any(text.startswith(start) and part in text for text in groups.pinned), groups.pinned
    unknown = [str(entry) for entry in groups.left_alone if entry.unknown]
    assert all(any(text.startswith(start) for start, _ in pinned) for text in unknown), unknown
    assert_named(groups)
    counts = [traced_flops(call) for call in groups.calls]
    assert not traced or None in counts or complexity(model).macs == sum(counts)
    whole, change = outputs(model, inputs), 0.0
    for seed in range(seeds):
        mask = random_mask(groups, seed)
        small = slim(model, mask, groups)
        reference = outputs(masked(model, mask, groups), inputs)
        assert_close(outputs(small, inputs), reference, tolerance)
        change = max([change, *(np.abs(a - b).max() / np.abs(a).max() for a, b in zip(whole, reference, strict=True))])
        assert CostModel(model, groups).complexity(mask) == complexity(small)
        assert complexity(small).params == small.count_params()
    if power is None:
        assert groups.channels == 0
    else:
        assert change > power, "the masks change nothing to agree on"
    return groups


def sizes(groups):
    """Group sizes by name."""
    return {group.name: group.size for group in groups}


def is_ordinary(model, groups, folder):
    """Asserts that a slimmed model trains a step, and is the same after saving and loading."""
    small = slim(model, random_mask(groups, 0), groups)
    inputs = example_inputs(small)
    small.compile("sgd", "mse")
    targets = [np.zeros(each.shape, np.float32) for each in outputs(small, inputs)]
    before = [np.asarray(variable).copy() for variable in small.trainable_variables]
    small.train_on_batch(inputs, targets[0] if len(targets) == 1 else targets)
    moved = [np.abs(np.asarray(new) - old).max() for new, old in zip(small.trainable_variables, before, strict=True)]
    assert max(moved) > 0
    small.save(folder / "small.keras")
    loaded = keras.saving.load_model(folder / "small.keras")
    assert_close(outputs(loaded, inputs), outputs(small, inputs), 1e-6)
