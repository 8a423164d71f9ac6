import json

import published
import pytest
from pages import written_part


def options(tmp_path, *words):
    return published.make_parser().parse_args([*words, "--runs", str(tmp_path), "--out", str(tmp_path / "rows.jsonl")])


def value(words, flag):
    return words[words.index(flag) + 1]


@pytest.fixture
def program(monkeypatch):
    """Takes the place of `train_cifar.py`: runs leave an accuracy, but for those that are stopped."""
    calls, stopped = [], set()

    def run(words):
        calls.append(words)
        folder = published.Path(value(words, "--train_path"))
        if folder.name in stopped:
            return 130
        folder.mkdir()
        accuracy = 0.5 + 0.1 * int(value(words, "--seed"))
        (folder / "results.json").write_text(json.dumps({"accuracy": accuracy, "training_seconds": 7.0}))
        return 0

    monkeypatch.setattr(published, "train_cifar", run)
    monkeypatch.setattr(published, "flops", {"ResNet-20": 10, "ResNet-32x2": 40}.get)
    run.calls, run.stopped = calls, stopped
    return run


def test_the_page_is_what_the_rows_give():
    page = published.PAGE.read_text(encoding="utf-8")
    rows = published.read(published.RESULTS / "published.jsonl")
    assert written_part(page, "published.py") == published.tables(rows)


def test_rows_say_how_much_of_the_published_work_they_are(program, tmp_path, capsys):
    arguments = ["--only", "dense", "--runs", str(tmp_path), "--out", str(tmp_path / "rows.jsonl")]
    assert published.main(arguments) == 0
    row = published.read(tmp_path / "rows.jsonl")[0]
    assert row["share"] == pytest.approx(6 * 10 / (160 * 40))
    assert (row["accuracy"], row["seconds"], row["seed"]) == (0.5, 7.0, 0)
    # mean and standard deviation of 50, 60 and 70
    assert "| 60.00 ± 10.00 (3 seeds) | ResNet-20, 6 epochs | 0.94% |" in capsys.readouterr().out
    assert published.main(arguments) == 0
    assert len(program.calls) == 3  # nothing is run a second time


def test_a_run_that_was_stopped_ends_the_list_and_goes_on(program, tmp_path):
    arguments = ["--only", "smart-ratio", "--runs", str(tmp_path), "--out", str(tmp_path / "rows.jsonl")]
    program.stopped.add("smart-ratio-ResNet-20-6-1")
    assert published.main(arguments) == 130
    assert [row["seed"] for row in published.read(tmp_path / "rows.jsonl")] == [0]
    program.stopped.clear()
    assert published.main(arguments) == 0
    assert [row["seed"] for row in published.read(tmp_path / "rows.jsonl")] == [0, 1, 2]
    assert all("--resume" in words for words in program.calls)


def test_the_first_seed_of_all_comes_first_and_ekg_needs_its_model(tmp_path):
    runs = published.todo(options(tmp_path), [])
    assert [seed for _, seed in runs] == sorted(seed for _, seed in runs)
    assert {name for name, _ in runs} == set(published.EXPERIMENTS) - {"ekg"}
    assert ("ekg", 0) in published.todo(options(tmp_path, "--trained_param", "a.pkl"), [])


@pytest.mark.parametrize("name", published.EXPERIMENTS)
def test_published_budgets_are_the_published_settings(name, tmp_path):
    """The flags of the schedule, unscaled, change nothing of what the config files of the published runs say."""
    from tfprune.cli.parser import parse
    from tfprune.cli.programs import pick_method
    from tfprune.recipes.catalog import configs

    def settings(words):
        return parse(pick_method(words, configs()), words)

    args = options(tmp_path, "--published", "--trained_param", "a.pkl")
    config = settings(published.command(name, 0, args))
    flags = published.EXPERIMENTS[name].flags.split()
    flags = [str(published.ROOT / word) if word.startswith("configs/") else word for word in flags]
    expected = settings(flags)
    names = ["arch", "batch_size", "learning_rate", "weight_decay"]
    names += [flag.removeprefix("--") for flag in published.EXPERIMENTS[name].schedule if name[:10] != "multiprize"]
    assert [getattr(config, each) for each in names] == [getattr(expected, each) for each in names]


def test_schedules_are_scaled():
    experiment = published.EXPERIMENTS["peekaboo"]
    scaled = published.scaled(experiment, 8)
    assert scaled == ["--epochs", "8", "--ar_decay_freq", "2", "--milestones", "4", "5"]
    one = ["--epochs", "1", "--ar_decay_freq", "1", "--milestones", "1", "2"]  # drops are an epoch apart at least
    assert published.scaled(experiment, 1) == one


def test_errors_of_students_are_means_with_their_errors(tmp_path):
    """Mean 2 and standard error sqrt(3 / 3) of the errors 1, 1 and 4 of one row, beside those of other rows."""
    rows = [("dpp_node", 0, 2, error) for error in (1, 1, 4)] + [("dpp_node", 1, 2, 9), ("dpp_edge", 0, 83, 9)]
    others = [("dpp_node", 0, k, 5) for k in (1, 3, 4, 5)] + [("dpp_edge", 0, k, 5) for k in (166, 250, 333, 417)]
    file = tmp_path / "rows.csv"
    lines = ["choice,reweight,k,error", *(",".join(map(str, row)) for row in rows + others for _ in range(2))]
    file.write_text("\n".join(lines))
    table = published.error_table(file).splitlines()
    # every row is there twice, so the variance is 12 / 5 and the standard error sqrt(12 / 5 / 6)
    assert "| DPP node, 2 of 6 nodes | 2.310 | 2.000 ± 0.632 |" in table
    assert "| DPP edge, 83 of 500 inputs a node | 2.403 | 9.000 ± 0.000 |" in table
