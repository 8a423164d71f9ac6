import io
import zipfile

import keras
import numpy as np
import pytest

from tfprune.errors import CheckpointError, ConfigError
from tfprune.masks import Masks, Ticket


def network(seed, units=3, name="fc"):
    inputs = keras.Input((8, 8, 2))
    x = keras.layers.Conv2D(4, 3, name="conv", kernel_initializer=keras.initializers.GlorotUniform(seed))(inputs)
    x = keras.layers.Flatten()(keras.layers.BatchNormalization(name="bn")(x))
    return keras.Model(inputs, keras.layers.Dense(units, name=name)(x))


def masks_of(model):
    generator = np.random.default_rng(0)
    kernels = [variable for variable in model.variables if variable.path.endswith("kernel")]
    return Masks({each.path: generator.integers(0, 2, each.shape) for each in kernels})


def test_masks_and_weights_come_back(tmp_path):
    model = network(0)
    ticket = Ticket.from_model(masks_of(model), model, arch="small", num_classes=3)
    ticket.save(tmp_path / "ticket.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["ticket.npz"]
    found = Ticket.load(tmp_path / "ticket.npz")
    assert found.masks == ticket.masks == Masks.load(tmp_path / "ticket.npz")
    assert dict(found.origin) == {"arch": "small", "num_classes": 3}
    other = network(1)
    assert not np.array_equal(other.layers[1].kernel, model.layers[1].kernel)
    found.start(other, arch="small", num_classes=3, unknown=1)
    for one, two in zip(model.variables, other.variables, strict=True):
        np.testing.assert_array_equal(one, two)


def test_weights_in_half_precision_and_an_origin_called_model(tmp_path):
    """NumPy's files know no bfloat16; float32 holds the same values."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="fc", dtype="bfloat16")], name="half")
    masks = Masks({"fc/kernel": np.eye(4, 3)})
    Ticket.from_model(masks, model, model="half.keras").save(tmp_path / "ticket.npz")
    found = Ticket.load(tmp_path / "ticket.npz")
    assert dict(found.origin) == {"model": "half.keras"}
    before = [np.asarray(weight, np.float32) for weight in model.weights]
    for weight in model.weights:
        weight.assign(np.ones(weight.shape))
    found.start(model, model="half.keras")
    for weight, old in zip(model.weights, before, strict=True):
        assert weight.dtype == "bfloat16"
        np.testing.assert_array_equal(np.asarray(weight, np.float32), old)


def test_weights_are_those_at_the_time(tmp_path):
    model = network(0)
    ticket = Ticket.from_model(masks_of(model), model)
    before = np.asarray(model.layers[1].kernel).copy()
    model.layers[1].kernel.assign(before + 1)
    np.testing.assert_array_equal(ticket.weights["conv/kernel"], before)


def test_masks_alone(tmp_path):
    model = network(0)
    masks_of(model).save(tmp_path / "masks.npz")
    found = Ticket.load(tmp_path / "masks.npz")
    assert (found.masks, dict(found.weights), dict(found.origin)) == (masks_of(model), {}, {})
    other = network(1)
    before = np.asarray(other.layers[1].kernel).copy()
    found.start(other, arch="whatever")
    np.testing.assert_array_equal(other.layers[1].kernel, before)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"units": 4}, r"its fc/kernel is \(144, 3\), that of this one \(144, 4\)"),
        ({"name": "last"}, r"its last/kernel is none, that of this one \(144, 3\)"),
    ],
)
def test_another_model(other, message):
    model = network(0)
    with pytest.raises(ConfigError, match=message):
        Ticket.from_model(masks_of(model), model).start(network(0, **other))


def test_another_origin():
    model = network(0)
    ticket = Ticket.from_model(masks_of(model), model, arch="ResNet-50")
    with pytest.raises(ConfigError, match="belong to arch 'ResNet-50', received a model of arch 'ResNet-18'"):
        ticket.start(model, arch="ResNet-18")


def test_damaged_files(tmp_path):
    model = network(0)
    path = tmp_path / "ticket.npz"
    Ticket.from_model(masks_of(model), model).save(path)
    whole = path.read_bytes()
    start = whole.index(np.asarray(model.layers[1].kernel).tobytes())
    path.write_bytes(whole[:start] + bytes([whole[start] ^ 1]) + whole[start + 1 :])
    with pytest.raises(
        CheckpointError, match=r"cannot read .*ticket.npz: expected masks that tfprune saved, .*; prune again"
    ):
        Ticket.load(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        CheckpointError, match=r"cannot read .*ticket.npz: expected masks that tfprune saved, .*; prune again"
    ):
        Ticket.load(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("weights/a.npy", b"")
    with pytest.raises(CheckpointError, match="it has no array 'format'"):
        Ticket.load(path)
    with pytest.raises(CheckpointError, match="No such file"):
        Ticket.load(tmp_path / "none.npz")


def test_folder_that_is_not_there(tmp_path):
    model = network(0)
    ticket = Ticket.from_model(masks_of(model), model)
    ticket.save(tmp_path / "none" / "a.npz")
    assert Ticket.load(tmp_path / "none" / "a.npz").masks == ticket.masks
    with pytest.raises(ConfigError, match=r"cannot write .*/b\.npz: Not a directory"):
        ticket.save(tmp_path / "none" / "a.npz" / "none" / "b.npz")


def changed(path, name, value):
    """Replaces an array of a file by another one, or by other bytes."""
    with zipfile.ZipFile(path) as file:
        members = {member: file.read(member) for member in file.namelist()}
    buffer = io.BytesIO()
    if not isinstance(value, bytes):
        np.save(buffer, value)
    with zipfile.ZipFile(path, "w") as file:
        for member, content in members.items():
            file.writestr(member, (buffer.getvalue() or value) if member == f"{name}.npy" else content)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("weights/conv/bias", np.array([0, 0, np.nan, 0]), "its array 'weights/conv/bias' has NaN or infinite numbers"),
        ("weights/conv/bias", np.full(4, 1e39), "its array 'weights/conv/bias' has numbers beyond float32"),
        ("weights/conv/bias", np.array(["a"]), "its array 'weights/conv/bias' has the type str32, expected values"),
        ("weights/conv/bias", b"no array", "the magic string is not correct"),
        ("origin", np.array("[1]"), r"its origin is \[1\], where values by name were expected"),
        ("origin", np.array("{"), "it is no JSON: line 1, column 2"),
        ("origin", np.array("[" * 100_000), "it is nested more than 100 levels deep"),
        ("origin", np.array('{"arch": ' + "9" * 100_000 + "}"), "it has a whole number of 100,000 digits"),
        ("origin", np.array(3), "its array 'origin' has the type int64, expected text"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, name, value, said):
    model, path = network(0), tmp_path / "ticket.npz"
    Ticket.from_model(masks_of(model), model, arch="small").save(path)
    assert Ticket.load(path).origin == {"arch": "small"}
    changed(path, name, value)
    with pytest.raises(CheckpointError, match=rf"cannot read .*ticket\.npz: expected masks that tfprune saved, {said}"):
        Ticket.load(path)
    assert Masks.load(path) == masks_of(model)  # which are whole


def test_a_ticket_of_values_that_no_architecture_has(tmp_path):
    model, path = network(0), tmp_path / "ticket.npz"
    Ticket.from_model(masks_of(model), model, arch="small").save(path)
    changed(path, "origin", np.array('{"arch": "' + "x" * 100_000 + '"}'))
    with pytest.raises(ConfigError, match="belong to arch 'xxx") as caught:
        Ticket.load(path).start(model, arch="small")
    assert len(str(caught.value)) < 200
