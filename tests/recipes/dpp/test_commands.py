import numpy as np
import pytest

from tfprune.cli.main import main
from tfprune.recipes.dpp.pruning import PrunedStudents
from tfprune.recipes.dpp.student import TrainedStudent


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dpp")
    teacher, student = str(folder / "teacher.npz"), str(folder / "student.npz")
    assert main(["dpp", "teacher", "--input_dim", "40", "--num_data", "20000", "--out", teacher]) == 0
    assert main(["dpp", "student", "--teacher", teacher, "--student_h_size", "4", "--out", student]) == 0
    return folder, teacher, student


def _prune(files, name, *words):
    folder, teacher, student = files
    out = str(folder / name)
    return out, main(["dpp", "prune", "--student", student, "--teacher", teacher, "--out", out, *words])


def test_a_student_learns(files):
    losses = TrainedStudent.load(files[2]).losses
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize(
    ("choice", "reweight"), [("dpp_node", ["--reweight"]), ("dpp_edge", []), ("dpp_edge", ["--reweight"])]
)
def test_masks_and_their_evaluation(files, choice, reweight, capsys):
    out, code = _prune(
        files, f"{choice}{len(reweight)}.npz", "--choice", choice, "--k", "2", "--num_masks", "4", *reweight
    )
    assert code == 0
    pruned = PrunedStudents.load(out)
    for mask, network in zip(pruned.masks, pruned.networks, strict=True):
        assert not network.weights[~mask].any()
    capsys.readouterr()
    assert main(["dpp", "evaluate", "--masks", out, "--teacher", files[1], "--examples", "2000"]) == 0
    printed = capsys.readouterr().out
    assert "generalization error" in printed
    assert "simulated" in printed
    assert main(["dpp", "evaluate", "--masks", out, "--teacher", files[1]]) == 2  # the figure is there
    assert "exists" in capsys.readouterr().err


def test_reweighted_nodes_err_less(files):
    plain = PrunedStudents.load(_prune(files, "p.npz", "--k", "2", "--num_masks", "20")[0])
    better = PrunedStudents.load(_prune(files, "r.npz", "--k", "2", "--num_masks", "20", "--reweight")[0])
    np.testing.assert_array_equal(plain.masks, better.masks)
    inputs = np.random.default_rng(0).standard_normal((2000, 40))
    target = plain.whole.predict(inputs)

    def errors(pruned):
        return np.mean([np.mean((each.predict(inputs) - target) ** 2) for each in pruned.networks])

    assert errors(better) < 0.8 * errors(plain)


def test_comparison(tmp_path, capsys):
    words = ["dpp", "compare", "--out", str(tmp_path / "run"), "--input_dim", "40", "--num_data", "5000"]
    words += ["--student_h_size", "4", "--repeats", "2", "--num_masks", "3", "--examples", "500", "--node_k", "2"]
    assert main(words) == 0
    first = (tmp_path / "run" / "results.csv").read_text()
    assert len(first.splitlines()) == 1 + 2 * 6 * 2
    assert (tmp_path / "run" / "figure.png").stat().st_size > 1000
    assert "dpp_node reweighted" in capsys.readouterr().out
    assert main(words) == 0  # the students are there already
    assert (tmp_path / "run" / "results.csv").read_text() == first
    assert main([*words, "--lr", "0.2"]) == 2
    assert "other settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--k", "5"], "from 1 to the 4 nodes"),
        (["--k", "0"], "at least 1"),
        (["--k", "41", "--choice", "dpp_edge"], "from 1 to the 40 edges"),
        (["--k", "two"], "--k: expected"),
        (["--k", "2", "--choice", "dpp"], "--choice: expected"),
    ],
)
def test_unfit_settings(files, words, message, capsys):
    assert _prune(files, "never.npz", *words)[1] == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (files[0] / "never.npz").exists()


def test_files_of_others(files, capsys):
    folder, teacher, student = files
    other = str(folder / "other.npz")
    assert main(["dpp", "teacher", "--input_dim", "40", "--seed", "9", "--num_data", "10", "--out", other]) == 0
    wide = str(folder / "wide.npz")
    assert main(["dpp", "teacher", "--input_dim", "41", "--num_data", "10", "--out", wide]) == 0
    out = str(folder / "o.npz")
    cases = [
        (other, student, "trained with, received another"),
        (wide, student, "same input size, received 40 and 41"),
        (student, student, "holds student"),
        (teacher, teacher, "holds teacher"),
        (teacher, str(folder / "none.npz"), "does not exist"),
    ]
    for given, trained, message in cases:
        capsys.readouterr()
        assert main(["dpp", "prune", "--teacher", given, "--student", trained, "--k", "2", "--out", out]) == 2
        assert message in capsys.readouterr().err


def test_masks_of_another_student(files, capsys):
    folder, _, student = files
    masks, code = _prune(files, "mine.npz", "--k", "2", "--num_masks", "2")
    assert code == 0
    for name, words, message in [
        ("stranger", ["--input_dim", "40"], "the student that the masks prune, received another"),
        ("wider", ["--input_dim", "41"], "same input size, received 40 and 41"),
    ]:
        teacher = str(folder / f"{name}.npz")
        assert main(["dpp", "teacher", *words, "--seed", "8", "--num_data", "10", "--out", teacher]) == 0
        capsys.readouterr()
        assert main(["dpp", "evaluate", "--masks", masks, "--teacher", teacher]) == 2
        assert message in capsys.readouterr().err
    assert main(["dpp", "evaluate", "--masks", student, "--teacher", teacher]) == 2
    assert "holds student" in capsys.readouterr().err


def test_fewer_examples_than_edges_to_keep(tmp_path, capsys):
    """A kernel of rank 15, and a student that has learned nothing yet."""
    teacher, student = str(tmp_path / "teacher.npz"), str(tmp_path / "student.npz")
    assert main(["dpp", "teacher", "--input_dim", "40", "--num_data", "15", "--out", teacher]) == 0
    assert main(["dpp", "student", "--teacher", teacher, "--student_h_size", "4", "--out", student]) == 0
    assert "has not converged" in capsys.readouterr().out
    files = tmp_path, teacher, student
    assert _prune(files, "a.npz", "--choice", "dpp_edge", "--k", "15", "--num_masks", "2")[1] == 0
    assert _prune(files, "b.npz", "--choice", "dpp_edge", "--k", "16", "--num_masks", "2")[1] == 2
    assert "rank 15" in capsys.readouterr().err


def test_both_samplers(files):
    drawn = []
    for sampler in ("tfprune", "dppy"):
        words = ["--k", "20", "--choice", "dpp_edge", "--num_masks", "30", "--sampler", sampler]
        pruned = PrunedStudents.load(_prune(files, f"by_{sampler}.npz", *words)[0])
        assert pruned.settings["sampler"] == sampler
        assert (pruned.masks.sum(axis=2) == 20).all()
        drawn.append(pruned.masks.mean(axis=0))
    assert not np.array_equal(*drawn)
    assert np.corrcoef(drawn[0].ravel(), drawn[1].ravel())[0, 1] > 0.8


def test_divergence_is_said(files, capsys):
    out = str(files[0] / "diverged.npz")
    assert main(["dpp", "student", "--teacher", files[1], "--lr", "5000", "--out", out]) == 2
    assert "lower --lr" in capsys.readouterr().err
