import csv
import json

import keras
import numpy as np
import pytest

from tfprune.cli.landscape import run
from tfprune.cli.main import main
from tfprune.cli.model_configs import LandscapeConfig
from tfprune.errors import CheckpointError, ConfigError, RunFolderError
from tfprune.landscape import Section, measure

layers = keras.layers
FAST = {"points": 3, "directions": 2}
FAST_WORDS = ["--points", "3", "--directions", "2"]


def table(path):
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two models that end in logits and in a softmax, with the same weights but for their names."""
    folder = tmp_path_factory.mktemp("landscape")
    for name, last in (("logits", None), ("softmax", "softmax")):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((8, 8, 1))
        x = layers.BatchNormalization()(layers.Conv2D(4, 3, use_bias=False)(inputs))
        x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
        keras.Model(inputs, layers.Dense(10, last)(x)).save(folder / f"{name}.keras")
    return folder


@pytest.fixture
def examples(files):
    rng = np.random.default_rng(0)
    path = files / "examples.npz"
    np.savez(path, x=rng.random((50, 8, 8, 1), np.float32), y=np.arange(50) % 10)
    return str(path)


def test_table_files_and_the_same_from_python(files, examples, screen, tmp_path):
    models = tuple(str(files / f"{name}.keras") for name in ("logits", "softmax"))
    config = LandscapeConfig(models=models, data=examples, batch_size=20, out=str(tmp_path / "new" / "out"), **FAST)
    found = run(config, screen)
    with np.load(examples) as arrays:
        batches = [(arrays["x"][start : start + 20], arrays["y"][start : start + 20]) for start in (0, 20, 40)]
    for path, landscape in found.items():
        alone = measure(keras.saving.load_model(path), batches, config, progress=False)
        np.testing.assert_array_equal(landscape.section.losses, alone.section.losses)
        assert landscape.curvature == alone.curvature
    first, second = (each.numbers for each in found.values())
    assert first == {name: pytest.approx(value, rel=1e-2) for name, value in second.items()}
    assert screen.lines[0] == "model loss fluctuation Hessian from to |ratio|"
    assert screen.lines[1] == (
        f"{models[0]} {first['center_loss']:.4f} {first['fluctuation']:.4g} ± {first['fluctuation_error']:.2g} "
        f"{first['hessian_min']:.4g} {first['hessian_max']:.4g} {first['hessian_ratio']:.4g}"
    )
    assert "loss: mean over 50 examples in batches of 20" in " ".join(screen.lines)

    folder = tmp_path / "new" / "out"
    values = json.loads((folder / "landscape.json").read_text())
    assert values["settings"]["points"] == 3
    assert [values["models"][models[0]][name] for name in first] == list(first.values())
    assert values["models"][models[1]]["curvature"]["products"] == found[models[1]].curvature.products
    section = Section(**values["models"][models[0]]["section"])
    np.testing.assert_array_equal(section.losses, found[models[0]].section.losses)
    rows = table(folder / "landscape.csv")
    assert [float(row["fluctuation"]) for row in rows] == [first["fluctuation"], second["fluctuation"]]
    points = table(folder / "sections.csv")
    assert len(points) == 2 * 2 * 3
    assert [float(row["loss"]) for row in points[:6]] == found[models[0]].section.losses.ravel().tolist()
    assert [points[4][name] for name in ("model", "direction", "step")] == [models[0], "1", "0.0"]
    assert (folder / "landscape.png").read_bytes().startswith(b"\x89PNG")


def test_planes(files, examples, screen, tmp_path):
    path = str(files / "logits.keras")
    config = LandscapeConfig(models=(path,), data=examples, dimensions=2, points=3, hessian=False, out=str(tmp_path))
    found = run(config, screen)[path].section.losses
    assert found.shape == (1, 3, 3)
    assert screen.lines[0] == "model loss fluctuation"
    points = table(tmp_path / "sections.csv")
    row = next(row for row in points if (row["first_step"], row["second_step"]) == ("0.5", "-0.5"))
    assert (row["plane"], float(row["loss"])) == ("0", found[0, 2, 0])


def test_eigenvalues_that_were_not_found(files, examples, screen, tmp_path):
    path = str(files / "logits.keras")
    config = LandscapeConfig(models=(path,), data=examples, products=3, out=str(tmp_path), **FAST)
    with pytest.warns(UserWarning, match="was not found to 0.001, in 3 products"):
        run(config, screen)
    assert screen.lines[1].endswith("not found not found not found")
    values = json.loads((tmp_path / "landscape.json").read_text(), parse_constant=pytest.fail)["models"][path]
    assert (values["hessian_ratio"], values["curvature"]["largest"]) == (None, None)


@pytest.mark.parametrize("name", ["sparse_categorical_crossentropy", "SparseCategoricalCrossentropy"])
def test_cross_entropies_follow_the_end_of_the_model(files, examples, screen, name):
    models = tuple(str(files / f"{name}.keras") for name in ("logits", "softmax"))
    config = {"models": models, "data": examples, "hessian": False, **FAST}
    default, named = (run(LandscapeConfig(**config, loss=loss), screen) for loss in (None, name))
    centers = [each.section.center for found in (default, named) for each in found.values()]
    assert centers == [pytest.approx(centers[0], rel=1e-5)] * 4


def test_other_losses(files, screen, tmp_path):
    x, y = np.random.default_rng(0).random((20, 8, 8, 1), np.float32), np.zeros((20, 10), np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=y)
    path = str(files / "logits.keras")
    config = LandscapeConfig(
        models=(path,), data=str(tmp_path / "data.npz"), loss="mse", hessian=False, batch_norm="moving", **FAST
    )
    outputs = keras.saving.load_model(path).predict(x, verbose=0)
    assert run(config, screen)[path].section.center == pytest.approx(np.square(outputs).mean(), rel=1e-5)


def test_the_program(files, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    models = [str(files / f"{name}.keras") for name in ("logits", "softmax")]
    words = ["landscape", *models, "--data", "digits", "--examples", "60", *FAST_WORDS, "--out", str(tmp_path / "out")]
    assert main(words) == 0
    received = capsys.readouterr()
    assert received.err == ""
    assert received.out.splitlines()[-1].startswith("wrote landscape.json, landscape.csv, sections.csv, landscape.png")
    assert max(map(len, received.out.splitlines()[:-1])) <= 80
    assert main(words) == 2
    assert "landscape.json exists; add --overwrite to replace it" in capsys.readouterr().err
    assert main([*words, "--overwrite", "--no_hessian"]) == 0
    assert "|ratio|" not in capsys.readouterr().out


def test_mistakes(files, examples, screen, tmp_path):
    path = str(files / "logits.keras")
    good = {"models": (path,), "data": examples, "hessian": False} | FAST

    def fails(error, match, **changes):
        with pytest.raises(error, match=match):
            run(LandscapeConfig(**good | changes), screen)

    fails(ConfigError, "received one of them twice", models=(path, path))
    fails(CheckpointError, r"none.keras does not exist; check the path", models=("none.keras",))
    fails(ConfigError, "--loss: expected the name of a loss of Keras, .*, received nonsense", loss="nonsense")
    fails(ConfigError, "--points: expected an odd number", points=4)
    fails(ConfigError, "--data: expected CIFAR10, .*, received 'nothing'", data="nothing")
    np.savez(tmp_path / "unlabeled.npz", x=np.zeros((4, 8, 8, 1), np.float32))
    fails(ConfigError, "--data: expected labels y besides x in", data=str(tmp_path / "unlabeled.npz"))
    (tmp_path / "file").write_text("")
    fails(RunFolderError, "expected a folder, .* is a file; name another", out=str(tmp_path / "file"))
