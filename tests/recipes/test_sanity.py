import csv
import json
from dataclasses import dataclass

import numpy as np
import pytest

from tfprune.errors import ConfigError, RunFolderError
from tfprune.recipes import sanity
from tfprune.recipes.sanity_config import SanityConfig
from tfprune.recipes.sanity_table import sanity_cells
from tfprune.recipes.tickets import DenseConfig


@dataclass
class Trainings:
    """Stands in for training: writes a result, and notes what was asked for."""

    done: list[DenseConfig]
    stop_after: int = 1000

    def __call__(self, config, data):
        if len(self.done) == self.stop_after:
            raise KeyboardInterrupt
        self.done.append(config)
        folder = sanity.Path(config.train_path)
        folder.mkdir(parents=True, exist_ok=True)
        worse = 0.3 * getattr(config, "shuffle_weights", False)
        accuracy = 0.8 + 0.001 * config.seed - worse
        (folder / "results.json").write_text(json.dumps({"accuracy": accuracy}))


@pytest.fixture
def trainings(monkeypatch):
    found = Trainings([])
    monkeypatch.setattr(sanity, "train", found)
    monkeypatch.setattr(sanity, "_release_memory", lambda: None)
    return found


def config(tmp_path, **changes):
    settings = {"arch": "ResNet-8x2", "dataset": "digits", "epochs": 4, "train_path": str(tmp_path / "all")}
    return SanityConfig(**settings | changes)


@pytest.mark.parametrize("method", ["lottery", "partially_trained"])
def test_a_density_that_lottery_tickets_cannot_have_is_found_before_training(trainings, tmp_path, screen, method):
    with pytest.raises(ConfigError, match="density: expected to keep more than the"):
        sanity.run(config(tmp_path, arch="Conv2", methods=("random", method), density=0.2), screen)
    assert not trainings.done
    assert not (tmp_path / "all").exists()


def test_every_combination_once(trainings, tmp_path, screen):
    cells = sanity.run(config(tmp_path, methods=("smart_ratio", "snip", "hybrid"), fraction=0.5), screen)
    names = [sanity.Path(each.train_path).name for each in trainings.done]
    assert len(names) == len(set(names)) == 3 * (3 + 5 + 5 + 3)
    by_name = dict(zip(names, trainings.done, strict=True))
    assert by_name["snip_half_data_seed1"].fraction == 0.5
    assert by_name["snip_corrupted_seed1"].random_labels
    assert by_name["snip_corrupted_seed1"].corrupt == "pruning"
    assert by_name["dense_corrupted_seed2"].shuffle_pixels
    assert by_name["hybrid_corrupted_seed2"].init.endswith("dense_corrupted_seed2/trained.keras")
    assert not by_name["hybrid_corrupted_seed2"].random_labels
    assert by_name["hybrid_rearranged_seed0"].rearrange
    assert by_name["smart_ratio_shuffled_seed0"].shuffle_weights
    assert all(each.schedule == (4, (2, 3)) for each in trainings.done)
    assert "half_data" not in cells["smart_ratio"]
    assert cells["snip"]["shuffled"].differs
    assert not cells["snip"]["rearranged"].differs
    text = " ".join(screen.lines)
    assert "50.10 ± 0.10 *" in text
    assert "ResNet-8x2, density 0.05, 4 epochs of 721 images" in text or "4 epochs" in text


def test_what_is_written(trainings, tmp_path, screen):
    cells = sanity.run(config(tmp_path, methods=("snip",), checks=("shuffled",)), screen)
    folder = tmp_path / "all"
    numbers = json.loads((folder / "sanity.json").read_text())
    assert numbers["snip"]["shuffled"]["accuracies"] == pytest.approx([0.5, 0.501, 0.502])
    with (folder / "sanity.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["check"] for row in rows] == ["original", "shuffled"]
    assert float(rows[1]["p_value"]) == pytest.approx(cells["snip"]["shuffled"].p_value)
    assert (folder / "sanity.png").read_bytes().startswith(b"\x89PNG")


def test_it_goes_on_where_it_stopped(trainings, tmp_path, screen):
    trainings.stop_after = 4
    with pytest.raises(KeyboardInterrupt):
        sanity.run(config(tmp_path, methods=("snip",)), screen)
    with pytest.raises(RunFolderError, match="--resume"):
        sanity.run(config(tmp_path, methods=("snip",)), screen)
    trainings.stop_after = 1000
    cells = sanity.run(config(tmp_path, methods=("snip",), resume=True), screen)
    assert len(trainings.done) == 15
    assert cells["snip"]["original"].mean == pytest.approx(0.801)
    sanity.run(config(tmp_path, methods=("snip",), seeds=4, resume=True), screen)
    assert len(trainings.done) == 20
    with pytest.raises(RunFolderError, match="density"):
        sanity.run(config(tmp_path, density=0.1, resume=True), screen)


def test_a_training_whose_result_is_damaged_is_repeated(trainings, tmp_path, screen, capsys):
    cells = sanity.run(config(tmp_path, methods=("snip",)), screen)
    done = len(trainings.done)
    contents = (b"", b"{", b"\xff", b"[" * 100_000, b"[]", b'{"accuracy": "0.9"}', b"{}")
    folders = sorted((tmp_path / "all" / "runs").iterdir())[: len(contents)]
    for folder, content in zip(folders, contents, strict=True):
        (folder / "results.json").write_bytes(content)
    assert sanity.run(config(tmp_path, methods=("snip",), resume=True), screen) == cells
    assert {sanity.Path(each.train_path) for each in trainings.done[done:]} == set(folders)
    said = capsys.readouterr().out.splitlines()
    assert sum("results.json: expected the result of a training, " in line for line in said) == len(contents)


def test_one_seed_has_no_test(trainings, tmp_path, screen):
    cells = sanity.run(config(tmp_path, methods=("random",), seeds=1), screen)
    assert cells["random"]["shuffled"].p_value is None
    assert cells["random"]["shuffled"].deviation is None
    assert "no test" in " ".join(screen.lines)


def test_cells():
    values = {"a": {"original": [0.5, 0.6], "x": [0.1, 0.2], "y": [0.5, 0.6]}}
    cells = sanity_cells(values)["a"]
    assert cells["x"].mean == pytest.approx(0.15)
    assert cells["x"].deviation == pytest.approx(np.sqrt(0.005))
    assert cells["y"].p_value == 1
    assert cells["original"].p_value is None


@pytest.mark.parametrize(
    "changes",
    [{"methods": ("snips",)}, {"methods": ()}, {"checks": ("half",)}, {"seeds": 0}, {"density": 0}, {"fraction": 2}],
)
def test_bad_settings(tmp_path, changes):
    with pytest.raises(ConfigError, match="expected"):
        config(tmp_path, **changes)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::tfprune.criteria.LayerCollapseWarning")
def test_a_real_run(tmp_path, screen):
    settings = {"methods": ("lottery",), "checks": ("half_data",), "seeds": 1, "epochs": 1, "fraction": 0.2}
    cells = sanity.run(config(tmp_path, density=0.3, batch_size=100, **settings), screen)
    assert 0 <= cells["lottery"]["half_data"].mean <= 1
    runs = {path.name for path in (tmp_path / "all" / "runs").iterdir()}
    assert runs == {
        f"{name}_seed0" for name in ("dense_original", "dense_half_data", "lottery_original", "lottery_half_data")
    }
