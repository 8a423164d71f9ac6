"""The program that reads hostile files notices what readers must not do, and makes the inputs that it says."""

import csv
import io
import json
import pickle
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import hostile
import hostile_arrays
import hostile_mutations
import hostile_pickles
import hostile_structure
import hostile_texts
import hostile_zips
import numpy as np
import pytest
import yaml

OUTCOMES = {
    "reads": "accepted",
    "writes_inside": "accepted",
    "refuses": "refused",
    "long": "message",
    "two_lines": "message",
    "colors": "message",
    "traceback": "traceback",
    "exit": "traceback",
    "recursion": "traceback",
    "allocates": "memory",
    "caught_memory": "memory",
    "dies": "death",
    "killed": "death",
    "spins": "hang",
    "waits": "hang",
    "removes": "escape",
    "removes_by_name": "escape",
    "writes": "escape",
    "moves": "escape",
    "starts": "escape",
    "starts_its_own": "accepted",
    "starts_a_shell": "escape",
    "imports": "escape",
    "connects": "escape",
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    script = Path(__file__).with_name("hostile_script.py")
    command = [sys.executable, str(script), str(tmp_path_factory.mktemp("hostile")), *OUTCOMES]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return {answer["name"]: answer for answer in map(json.loads, lines)}


@pytest.mark.parametrize(("reader", "outcome"), OUTCOMES.items(), ids=OUTCOMES)
def test_what_readers_do_is_noticed(answers, reader, outcome):
    assert answers[reader]["outcome"] == outcome, answers[reader]["told"]
    assert answers[reader]["seconds"] >= 0


def test_what_happened_is_told(answers):
    assert answers["refuses"]["told"] == "cannot read it: it is empty; write it again"
    assert "KeyError: \"'missing'\"" in answers["traceback"]["told"]
    assert "hostile_script.py:" in answers["traceback"]["told"]
    assert answers["killed"]["told"].startswith("SIGABRT: Fatal Python error: Aborted")
    assert "in spin" in answers["spins"]["told"]
    assert "kept.txt" in answers["removes_by_name"]["told"]
    assert "400 characters" in answers["long"]["told"]


@pytest.mark.slow
def test_whole_program(tmp_path, capsys):
    """Every format is read, with all flags that are documented."""
    page = tmp_path / "page.md"
    page.write_text("Before.\n\n<!-- written by benchmarks/hostile.py -->\n")
    files = ["--out", str(tmp_path / "rows.csv"), "--page", str(page), "--failures", str(tmp_path / "failures")]
    code = hostile.main(["--inputs", "60", "--seed", "1", "--jobs", "2", *files])
    with (tmp_path / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert sum(int(row["inputs"]) for row in rows) >= 60
    assert all(int(row["inputs"]) == int(row["accepted"]) + int(row["refused"]) for row in rows)
    assert {"pkl", "pth", "keras", "tflite", "run"} <= {row["format"] for row in rows}
    assert "0 tracebacks, 0 deaths, 0 hangs, 0 over 1 GB, 0 escapes, 0 wrong messages." in printed
    assert page.read_text().startswith("Before.\n")
    table = [line for line in page.read_text().splitlines() if line.startswith("|")]
    assert len(table) == len(rows) + 3
    assert max(map(len, table)) <= 80


@pytest.mark.slow
def test_one_input_is_read_again(tmp_path, capsys):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "input.json").write_text("[1, 2")
    assert hostile.main(["--read", "cluster", str(tmp_path / "kept")]) == 0
    assert capsys.readouterr().out.startswith("refused: TF_CONFIG: expected JSON")
    assert hostile.main(["--read", "other", str(tmp_path / "kept")]) == 2
    assert "--read: expected pkl, " in capsys.readouterr().err


def test_inputs_are_shared_out():
    formats = {"a": ("", 1.0, True), "b": ("", 0.5, True), "c": ("", 0.001, True)}
    assert hostile.counts_of(150, formats, ["a", "b", "c"]) == {"a": 100, "b": 49, "c": 1}
    assert hostile.counts_of(10, formats, ["b"]) == {"b": 10}


def test_failures_are_counted_in_the_table():
    row = dict.fromkeys(("accepted", "refused", *hostile.FAILURES), 1) | {"inputs": 8}
    lines = hostile.table([{"format": "a", **row}, {"format": "b", **row, "message": 2}])
    assert lines[3].split() == ["|", "b", "|", "8", "|", "1", "|", "1", "|", "7", "|"]
    assert lines[4].split() == ["|", "all", "|", "16", "|", "2", "|", "2", "|", "13", "|"]
    assert lines[-1] == "2 tracebacks, 2 deaths, 2 hangs, 2 over 1 GB, 2 escapes, 3 wrong messages."


# ---------------------------------------------------------------- inputs


def test_files_are_cut_at_every_offset():
    samples = [{"a": b"0123456789", "b": b"01"}]
    cuts = {made.files["a"] for made in hostile_mutations._cuts(samples, 20)}
    assert cuts == {b"0123456789"[:end] for end in range(11)}
    spread = [len(made.files["a"]) for made in hostile_mutations._cuts([{"a": bytes(100)}], 5)]
    assert spread == [0, 20, 40, 60, 80]


def test_the_same_seed_gives_the_same_inputs(tmp_path):
    samples = [{"a.json": b'{"a": [1, 2, {"b": "text"}]}', "run/folder/b.bin": bytes(range(100))}]
    first, again = (list(hostile_mutations.inputs(samples, 60, "0/x")) for _ in range(2))
    assert first == again
    assert first != list(hostile_mutations.inputs(samples, 60, "1/x"))
    assert sum(made.files != samples[0] or bool(made.special) for made in first) > 55
    assert len({what for made in first for what in made.special.values()}) > 4
    assert {"fifo", "link outside"} <= {
        w for made in hostile_mutations.inputs(samples, 300, "0/x") for w in made.special.values()
    }
    assert not any(made.special for made in hostile_mutations.inputs(samples, 60, "0/x", in_files=False))
    for number, made in enumerate(first):
        made.write(tmp_path / "input")
        if not made.special:
            assert hostile_mutations.read_input(tmp_path / "input") == made.files, number


def changes(kind, content, count=200):
    made = [hostile_structure.changed_structure(kind, content, random.Random(number)) for number in range(count)]
    return [changed for _, changed in made]


def test_json_and_yaml_stay_what_they_are():
    value = {"a": [1, {"b": "text"}], "c": None}
    for changed in changes("x.json", json.dumps(value).encode()):
        if (
            b"[[[[" not in changed
            and b'{"a":{"a":' not in changed
            and b"1" * 50 not in changed
            and b"000000" not in changed
        ):
            json.loads(changed)
    assert (
        sum(yaml.safe_dump(value).encode() != changed for changed in changes("x.yaml", yaml.safe_dump(value).encode()))
        > 150
    )


def test_members_of_archives_keep_valid_checksums():
    buffer = io.BytesIO()
    np.savez(buffer, a=np.arange(6.0).reshape(2, 3), b=np.array("text"))
    for changed in changes("x.npz", buffer.getvalue()):
        with zipfile.ZipFile(io.BytesIO(changed)) as archive:
            assert archive.testzip() is None
            assert set(archive.namelist()) == {"a.npy", "b.npy"}


def test_gigabytes_of_zeros_are_valid_archives():
    content = hostile_zips._with_bomb({"a.npy": b"", "b.npy": b"other"}, "a.npy")
    assert len(content) < 3e6
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.getinfo("a.npy").file_size > 2.5e9
        assert archive.read("b.npy") == b"other"
        with archive.open("a.npy") as member:
            assert np.lib.format.read_magic(member) == (1, 0)
            shape, _, dtype = np.lib.format.read_array_header_1_0(member)
            assert shape[0] * dtype.itemsize > 2.5e9
            assert member.read(1 << 20) == bytes(1 << 20)


def test_hdf5_files_can_be_opened():
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["layers/dense/vars/0"] = np.ones((2, 3), np.float32)
    bombs = dict(hostile_arrays.hdf5_bombs(buffer.getvalue()))
    assert len(bombs) > 20
    for make in bombs.values():
        with h5py.File(io.BytesIO(make())) as file:
            assert list(file) in (["layers"], [])
    zeros = bombs["layers/dense/vars/0 of zeros"]()
    assert len(zeros) < 5e6
    with h5py.File(io.BytesIO(zeros)) as file:
        assert file["layers/dense/vars/0"].nbytes == 1 << 31


def test_pickles_of_shared_references_are_what_they_say():
    shared = pickle.loads(b"\x80\x02" + hostile_pickles._sharing(5, b"\x86") + b".")
    assert shared == ((((((1, 1),) * 2,) * 2,) * 2,) * 2)
    arrays = pickle.dumps({"a": np.ones(3)}, 2)
    assert len(dict(hostile_pickles.bombs(arrays))) > 200
    assert len(set(changes("x.pkl", arrays))) > 150


def test_yaml_bombs_double():
    lists = yaml.safe_load(hostile_texts._laugh(5, "[x, x]", lambda name: f"[{name}, {name}]"))
    assert [str(each).count("x") for each in lists] == [2, 4, 8, 16, 32]
