import csv

import numpy as np
import pytest

from tfprune.cli.main import main
from tfprune.dpp import generalization_error
from tfprune.recipes.dpp.config import CompareConfig
from tfprune.recipes.dpp.pruning import PrunedStudents
from tfprune.recipes.dpp.student import TrainedStudent
from tfprune.recipes.dpp.teacher import TeacherTask


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


def test_comparison_with_nodes_of_random_number(tmp_path, capsys):
    words = ["dpp", "compare", "--out", str(tmp_path), "--input_dim", "30", "--num_data", "2000", "--random_k"]
    words += ["--student_h_size", "4", "--repeats", "1", "--num_masks", "20", "--examples", "200"]
    assert main(words) == 0
    with open(tmp_path / "results.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["choice"] == "dpp_node_random"]
    assert [(row["reweight"], row["nodes"], row["k"]) for row in rows] == [(r, n, n) for n in "123" for r in "01"]
    for row in rows:  # empty draws are rejected, so masks keep more than the expected size on average
        assert float(row["k"]) * 31 - 15 < float(row["parameters"]) < (float(row["k"]) + 1) * 31
    table = capsys.readouterr().out
    assert "dpp_node_random reweighted" in table
    assert "equal numbers of parameters (31, 32, 62, 64, 93, 92)" in table


def test_equal_numbers_of_parameters_as_in_the_original():
    """Its table of nodes and edges, for 6 nodes of 100 and of 500 inputs."""
    edges = {inputs: [CompareConfig("out", input_dim=inputs).edges(k) for k in range(1, 6)] for inputs in (100, 500)}
    assert edges == {100: [16, 33, 50, 66, 83], 500: [83, 166, 250, 333, 417]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--k", "5"], "from 1 to the 4 nodes"),
        (["--k", "0"], "at least 1"),
        (["--k", "41", "--choice", "dpp_edge"], "from 1 to the 40 edges"),
        (["--k", "two"], "--k: expected a whole number or random, received 'two'"),
        (["--k", "random", "--choice", "random_node"], "--k: expected a whole number for random_node, received random"),
        (["--k", "random", "--expected_size", "4"], "between 0 and the kernel's rank 4, received 4"),
        (["--k", "random", "--expected_size", "0"], "--expected_size: expected a value above 0"),
        (["--k", "random", "--expected_size", "1e-5"], "rarely empty"),
        (["--k", "random", "--sampler", "dppy"], "--sampler: subsets of random size are sampled by tensorflow-prob"),
        (["--k", "2", "--expected_size", "2"], "--expected_size: it is for --k random; leave it out"),
        (["--k", "2", "--choice", "random_edge", "--kernels", "k.npz"], "--kernels: random_edge draws from no kernel"),
        (["--k", "2", "--kernels", "k.pkl"], "ends in .npz, received k.pkl"),
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
        (student, student, "holds 'student'"),
        (teacher, teacher, "holds 'teacher'"),
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
    assert "holds 'student'" in capsys.readouterr().err


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


def _rows(path):
    with open(path, newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def test_nodes_of_random_number(files, capsys):
    out, code = _prune(files, "new/random.npz", "--k", "random", "--expected_size", "1.5", "--num_masks", "40")
    assert code == 0
    printed = capsys.readouterr().out
    pruned, rows = PrunedStudents.load(out), _rows(files[0] / "new" / "random.csv")
    assert (pruned.settings["k"], pruned.settings["expected_size"]) == ("random", 1.5)
    assert pruned.settings["sampler"] == "tensorflow-probability"
    nodes = pruned.masks.any(axis=2).sum(axis=1)
    assert len(set(nodes)) > 1
    assert nodes.min() == 1  # an empty draw is not a mask
    assert f"(expected 1.5, kept {nodes.mean():.3g} on average)" in printed
    assert [row["nodes"] for row in rows] == nodes.tolist()
    assert [row["parameters"] for row in rows] == (nodes * 41).tolist()
    np.testing.assert_array_equal([row["log_probability"] for row in rows], pruned.log_probabilities)
    assert np.isfinite(pruned.log_probabilities).all()
    teacher = TeacherTask.load(files[1]).network
    errors = [generalization_error(network, teacher) for network in pruned.networks]
    np.testing.assert_allclose([row["error"] for row in rows], errors)
    assert main(["dpp", "evaluate", "--masks", out, "--teacher", files[1], "--out", f"{out}.out.npz"]) == 0
    with np.load(f"{out}.out.npz") as found:
        np.testing.assert_array_equal(found["log_probabilities"], pruned.log_probabilities)
    assert "dpp_node k=random" in capsys.readouterr().out
    assert _prune(files, "half.npz", "--k", "random", "--num_masks", "2", "--reweight")[1] == 0
    assert PrunedStudents.load(files[0] / "half.npz").settings["expected_size"] == 2  # of 4 nodes
    out, code = _prune(files, "e.npz", "--k", "random", "--expected_size", "5", "--choice", "dpp_edge")
    assert code == 0
    assert PrunedStudents.load(out).masks.sum(axis=2).std() > 0.5


def test_a_choice_without_a_dpp_has_no_log_probability(files):
    out, _ = _prune(files, "chance.npz", "--k", "2", "--choice", "random_node", "--num_masks", "3")
    assert np.isnan(PrunedStudents.load(out).log_probabilities).all()
    assert all(np.isnan(row["log_probability"]) for row in _rows(files[0] / "chance.csv"))


def test_kernels_are_not_overwritten_by_the_masks(files, capsys):
    path = files[0] / "both.npz"
    assert _prune(files, "both.npz", "--k", "2", "--kernels", str(path))[1] == 2
    assert "--kernels: expected another file than --out" in capsys.readouterr().err
    assert not path.exists()


def test_kernels_are_stored_and_read_again(files, capsys):
    folder, _, student = files
    stored = folder / "kernels" / "node.npz"
    words = ["--k", "2", "--num_masks", "5", "--kernels", str(stored)]
    first = PrunedStudents.load(_prune(files, "k1.npz", *words)[0])
    trained = TrainedStudent.load(student)
    weights = trained.network.normalized().weights
    with np.load(stored) as found:
        arrays = dict(found)
    np.testing.assert_allclose(arrays["values"][0], weights @ trained.moments @ weights.T, rtol=1e-12)
    plain = PrunedStudents.load(_prune(files, "k0.npz", "--k", "2", "--num_masks", "5")[0])
    second = PrunedStudents.load(_prune(files, "k2.npz", *words)[0])
    for other in (plain, second):
        np.testing.assert_array_equal(other.masks, first.masks)
    np.savez(stored, **arrays | {"values": np.diag([1.0, 1e-30, 1e-30, 1.0])[None]})  # it is read, not computed
    masks = PrunedStudents.load(_prune(files, "k3.npz", *words)[0]).masks
    assert masks[:, [0, 3]].all()
    for changed, message in [
        ({"items": "edge"}, "expected kernels of nodes, "),
        ({"student": "0"}, "expected kernels of this student, "),
        ({"data": "0"}, "expected kernels of this student's training inputs, "),
        ({"kind": "student"}, "expected a set of kernels, "),
    ]:
        np.savez(stored, **arrays | changed)
        capsys.readouterr()
        assert _prune(files, "k4.npz", *words)[1] == 2
        assert message in capsys.readouterr().err
    edges = folder / "edge.npz"
    words = ["--k", "7", "--num_masks", "3", "--choice", "dpp_edge", "--kernels", str(edges)]
    drawn = [PrunedStudents.load(_prune(files, f"edges{turn}.npz", *words)[0]).masks for turn in range(2)]
    np.testing.assert_array_equal(*drawn)
    with np.load(edges) as found:
        np.testing.assert_allclose(
            found["values"], trained.moments * weights[:, :, None] * weights[:, None], rtol=1e-12, atol=1e-300
        )


def test_masks_of_another_version(files, capsys):
    out, _ = _prune(files, "old.npz", "--k", "2", "--num_masks", "2")
    with np.load(out) as found:
        arrays = {name: found[name] for name in found.files if name != "expected_size"}
    np.savez(out, **arrays)
    assert main(["dpp", "evaluate", "--masks", out, "--teacher", files[1]]) == 2
    assert "it has no array 'expected_size'; make it again" in capsys.readouterr().err


def test_divergence_is_said(files, capsys):
    out = str(files[0] / "diverged.npz")
    assert main(["dpp", "student", "--teacher", files[1], "--lr", "5000", "--out", out]) == 2
    assert "lower --lr" in capsys.readouterr().err
