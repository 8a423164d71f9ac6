import keras
import numpy as np
import pytest

from tfprune import criteria
from tfprune.cli.main import main
from tfprune.cli.prune import run
from tfprune.cli.prune_config import PruneConfig
from tfprune.errors import ConfigError
from tfprune.masks import Masks, Ticket
from tfprune.recipes.data import load_data


@pytest.fixture(scope="module")
def trained(folder):
    """The name of a network that knows the digits."""
    data = load_data("digits")
    model = keras.saving.load_model(folder / "net.keras")
    model.compile(keras.optimizers.Adam(0.02), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(data.normalize(data.train_images), data.train_labels, 50, 3, verbose=0)
    model.save(folder / "trained.keras")
    return "trained.keras"


@pytest.fixture
def prune(folder, tmp_path, screen):
    """Prunes net.keras with the given settings; returns the masks read from the file it wrote."""

    def pruned(model="net.keras", **settings):
        out = tmp_path / "new" / "masks.npz"
        found = run(PruneConfig(**({"model": str(folder / model), "out": str(out)} | settings)), screen)
        assert Masks.load(out) == found
        return found

    return pruned


@pytest.mark.parametrize(
    ("settings", "criterion"),
    [
        ({"criterion": "synflow"}, criteria.SynFlow(iterations=100)),
        (
            {"criterion": "synflow", "iterations": 2, "schedule": "linear"},
            criteria.SynFlow(iterations=2, schedule="linear"),
        ),
        ({"criterion": "magnitude", "scope": "local"}, criteria.Magnitude(scope="local")),
        ({"criterion": "magnitude", "ignore": ("fc",)}, criteria.Magnitude(ignore="fc")),
        ({"criterion": "random"}, criteria.RandomWeights()),
        ({"criterion": "lottery"}, criteria.Lottery()),
        ({"criterion": "smart_ratio"}, criteria.SmartRatio()),
        ({"criterion": "hybrid"}, criteria.Hybrid()),
        ({"criterion": "random", "iterations": 3}, criteria.RandomWeights(iterations=3)),
    ],
)
def test_it_does_as_in_python(prune, folder, settings, criterion):
    model = keras.saving.load_model(folder / "net.keras")
    assert prune(density=0.25, **settings) == criterion(model, 0.25)


@pytest.mark.parametrize("criterion", ["snip", "grasp", "grad_norm", "fisher", "dpp_edge", "wanda", "ria", "sparsegpt"])
def test_criteria_that_look_at_data(prune, folder, criterion):
    masks = prune(density=0.5, criterion=criterion, data=str(folder / "examples.npz"), examples=20)
    model = keras.saving.load_model(folder / "net.keras")
    with np.load(folder / "examples.npz") as arrays:
        chosen = np.sort(np.random.default_rng(0).choice(60, 20, replace=False))
        data = arrays["x"][chosen], arrays["y"][chosen]
    assert masks == criteria.weight_criterion(criterion)(model, 0.5, data)


@pytest.mark.parametrize("criterion", ["snip", "grasp"])
def test_examples_at_the_same_time(prune, folder, criterion):
    data = {"criterion": criterion, "data": str(folder / "examples.npz"), "examples": 60}
    masks = prune(density=0.5, batch_size=7, **data)
    model = keras.saving.load_model(folder / "net.keras")
    with np.load(folder / "examples.npz") as arrays:
        examples = arrays["x"], arrays["y"]
    assert masks == criteria.weight_criterion(criterion, batch_size=7)(model, 0.5, examples)
    assert (masks == prune(density=0.5, overwrite=True, **data)) is (criterion == "snip")


def test_it_shows_a_table_and_what_it_wrote(prune, tmp_path, screen):
    masks = prune(density=0.25, criterion="magnitude")
    table = [" ".join(line.split()) for line in masks.table().splitlines()]
    assert screen.lines[:-1] == table
    assert screen.lines[-1].startswith(f"wrote {tmp_path / 'new' / 'masks.npz'}: ")


def accuracy_of(path, masks, x, y):
    """The accuracy of Keras' own prediction, with removed weights set to 0."""
    model = keras.saving.load_model(path)
    for layer in model.layers:
        if (name := f"{layer.name}/kernel") in (masks or {}):
            layer.kernel.assign(layer.kernel.numpy() * masks[name])
    return float(np.mean(model.predict(x, verbose=0).argmax(-1) == y))


@pytest.mark.parametrize("criterion", ["lottery", "magnitude", "snip"])
def test_the_accuracy_before_and_after(prune, trained, folder, tmp_path, screen, criterion):
    masks = prune(trained, density=0.2, criterion=criterion, data="digits", examples=50)
    data = load_data("digits")
    images, labels = data.normalize(data.test_images), data.test_labels
    before, after = (accuracy_of(folder / trained, each, images, labels) for each in (None, masks))
    assert before > 0.4
    assert abs(before - after) > 0.05
    origin = Ticket.load(tmp_path / "new" / "masks.npz").origin
    assert origin == {
        "criterion": criterion,
        "model": trained,
        "accuracy_before": pytest.approx(before),
        "accuracy_after": pytest.approx(after),
        "accuracy_of": f"{len(labels)} test images of digits",
    }
    assert f"accuracy {before:.2%} {after:.2%} {100 * (after - before):+.2f} points" in screen.lines
    assert f"on {len(labels)} test images of digits" in screen.lines


def test_updated_weights_are_in_the_file(prune, trained, folder, tmp_path, screen):
    """The file has the weights that go with its masks; the accuracy is theirs."""
    masks = prune(trained, density=0.3, criterion="sparsegpt", data="digits", examples=200)
    ticket = Ticket.load(tmp_path / "new" / "masks.npz")
    model = keras.saving.load_model(folder / trained)
    before = model.get_weights()
    ticket.start(model)
    assert screen.lines[-1].endswith(", with the weights that go with these masks")
    data = load_data("digits")
    chosen = np.sort(np.random.default_rng(0).choice(len(data.train_images), 200, replace=False))
    examples = data.normalize(data.train_images)[chosen], data.train_labels[chosen]
    pruned, same = criteria.SparseGPT().prune(keras.saving.load_model(folder / trained), 0.3, examples)
    assert same == masks
    for weight, expected in zip(model.get_weights(), pruned.get_weights(), strict=True):
        np.testing.assert_allclose(weight, expected, atol=1e-6)
    assert any(
        np.abs(weight - old)[weight != 0].max(initial=0) > 0.01
        for weight, old in zip(model.get_weights(), before, strict=True)
    )
    predicted = model.predict(data.normalize(data.test_images), verbose=0).argmax(-1)
    assert ticket.origin["accuracy_after"] == pytest.approx(np.mean(predicted == data.test_labels))


def test_the_accuracy_on_a_file(prune, trained, folder, tmp_path):
    with np.load(folder / "examples.npz") as arrays:
        x, y = arrays["x"], arrays["y"]
    np.savez(tmp_path / "marked.npz", x=x, y=np.eye(10, dtype=np.float32)[y])
    for name in (str(folder / "examples.npz"), str(tmp_path / "marked.npz")):
        masks = prune(trained, density=0.3, criterion="lottery", data=name, examples=5, overwrite=True)
        origin = Ticket.load(tmp_path / "new" / "masks.npz").origin
        assert origin["accuracy_after"] == pytest.approx(accuracy_of(folder / trained, masks, x, y))
        assert origin["accuracy_of"] == f"60 examples of {name.rpartition('/')[2]}"


def test_without_data_no_accuracy_is_recorded(prune, tmp_path):
    prune(density=0.3, criterion="lottery")
    assert Ticket.load(tmp_path / "new" / "masks.npz").origin == {"criterion": "lottery", "model": "net.keras"}


def test_data_without_labels(prune, folder):
    with pytest.raises(ConfigError, match="lottery uses them for the accuracy only, and there are no labels"):
        prune(density=0.3, criterion="lottery", data=str(folder / "unlabelled.npz"))


@pytest.mark.parametrize("criterion", ["wanda", "sparsegpt"])
def test_inputs_are_enough_for_criteria_on_what_kernels_read(prune, folder, tmp_path, criterion):
    masks = prune(density=0.5, criterion=criterion, data=str(folder / "unlabelled.npz"))
    with np.load(folder / "unlabelled.npz") as arrays:
        expected = criteria.weight_criterion(criterion)(keras.saving.load_model(folder / "net.keras"), 0.5, arrays["x"])
    assert masks == expected
    assert bool(Ticket.load(tmp_path / "new" / "masks.npz").weights) == (criterion == "sparsegpt")


def test_numbers_that_are_no_classes_still_score(prune, tmp_path, screen):
    x = np.random.default_rng(0).random((20, 8, 8, 1), np.float32)
    np.savez(tmp_path / "probabilities.npz", x=x, y=np.full((20, 10), 0.1, np.float32))
    np.savez(tmp_path / "classes.npz", x=x, y=np.arange(20))
    masks = prune(density=0.5, criterion="snip", data=str(tmp_path / "probabilities.npz"))
    assert masks.density == pytest.approx(0.5, abs=0.01)
    with pytest.raises(ConfigError, match="the labels are not all between 0 and 9"):
        prune(density=0.5, criterion="random", data=str(tmp_path / "classes.npz"), overwrite=True)


def test_ties_and_collapse_are_told(folder, tmp_path, screen):
    model = keras.saving.load_model(folder / "net.keras")
    model.get_layer("conv2").kernel.assign(np.full((3, 3, 8, 6), 1e-3))
    model.save(tmp_path / "constant.keras")
    out = str(tmp_path / "masks.npz")
    config = PruneConfig(str(tmp_path / "constant.keras"), out, density=0.5, criterion="magnitude", original_ties=True)
    assert run(config, screen).collapsed == ("conv2/kernel",)
    assert any("layer collapse: nothing is left of conv2/kernel" in line for line in screen.lines)


def test_sizes_that_are_open(prune):
    with pytest.raises(ConfigError, match="the model takes inputs of any size"):
        prune("open.keras", density=0.5, criterion="synflow")
    open_sizes = prune("open.keras", density=0.5, criterion="synflow", input_shape=(8, 8, 1))
    assert open_sizes == prune("net.keras", density=0.5, criterion="synflow", overwrite=True)


def test_a_dry_run_writes_nothing(folder, tmp_path, screen):
    found = run(PruneConfig(str(folder / "net.keras"), density=0.5, criterion="magnitude", dry_run=True), screen)
    assert found.density == pytest.approx(0.5, abs=1e-2)
    assert screen.lines[-1] == "dry run: nothing was written"


def test_the_command(folder, tmp_path, capsys):
    out = tmp_path / "ticket.npz"
    words = ["--model", str(folder / "net.keras"), "--criterion", "synflow", "--density", "0.1", "--out", str(out)]
    assert main(["prune", *words]) == 0
    model = keras.saving.load_model(folder / "net.keras")
    assert Masks.load(out) == criteria.SynFlow()(model, 0.1)
    assert main(["prune", *words]) == 2
    assert "exists; add --overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"criterion": "l2"},
            r"--criterion: expected one of magnitude, .* for masks of weights \(m.npz\), received l2",
        ),
        ({"criterion": "synflow", "out": "a.keras"}, r"expected one of l1, .*, received synflow; .* ends in .npz"),
        ({"criterion": "snip"}, "--criterion snip: it uses examples; give --data"),
        ({"criterion": "synflow", "density": None, "flops": 0.5}, "--flops: it is for pruning channels"),
        ({"criterion": "synflow", "density": None}, "--density is missing"),
        ({"criterion": "synflow", "density": 1.5}, "--density: expected a value above 0 and at most 1, received 1.5"),
        ({"criterion": "synflow", "steps": 3}, "--steps: it is for pruning channels"),
        ({"criterion": "synflow", "round_to": 8}, "--round_to: it is for pruning channels"),
        ({"criterion": "synflow", "iterations": 0}, "--iterations: expected a value of at least 1, received 0"),
        ({"criterion": "synflow", "schedule": "cubic"}, "--schedule: expected linear or exponential"),
        ({"criterion": "l2", "out": "a.keras", "iterations": 3}, "--iterations: it is for pruning single weights"),
        (
            {"criterion": "synflow", "batch_size": 8},
            "--batch_size: criterion synflow computes no gradients; leave it out",
        ),
        ({"criterion": "snip", "data": "digits", "batch_size": 0}, "--batch_size: expected a value of at least 1"),
        ({"criterion": "l2", "out": "a.keras", "batch_size": 8}, "--batch_size: it is for pruning single weights"),
        ({"criterion": "l2", "out": "a.keras", "original_ties": True}, "--original_ties: it is for pruning single"),
    ],
)
def test_mistakes(settings, message):
    with pytest.raises(ConfigError, match=message):
        PruneConfig(**({"model": "a.keras", "out": "m.npz", "density": 0.5} | settings))
