import csv

import multiprize
import pytest


def test_table_and_order():
    rows = [
        {"kind": kind, "asked_density": str(density), "accuracy": str(accuracy)}
        for kind, density, accuracy in (("dense", 1.0, 0.5), ("MPT-1/32", 0.5, 0.4), ("MPT-1/1", 0.1, 0.25))
    ]
    lines = multiprize.table(rows).splitlines()
    assert lines[0] == "| | 1 | 0.8 | 0.6 | 0.5 | 0.4 | 0.2 | 0.1 |"
    assert lines[2:] == [
        "| dense | 50.00% |  |  |  |  |  |  |",
        "| MPT-1/32 |  |  |  | 40.00% |  |  |  |",
        "| MPT-1/1 |  |  |  |  |  |  | 25.00% |",
    ]
    entries = multiprize.entries()
    assert entries[0] == ("dense", 1.0)
    assert sorted({density for _, density in entries[1:]}, reverse=True) == list(multiprize.DENSITIES)
    assert len(set(entries)) == len(entries) == 13


@pytest.mark.slow
def test_what_was_measured_is_not_measured_again(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    words = "--data_path DIR --threads 1 --dataset digits --density 0.5 --width_multiplier 0.0625 --epochs 1"
    words += " --batch_size 32 --fraction 0.1 --out out/a.csv --figure out/a.png"
    arguments = words.split()
    multiprize.main(arguments)
    with open("out/a.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows] == ["dense", "MPT-1/32", "MPT-1/1"]
    assert [int(row["kept"]) < int(row["prunable"]) for row in rows] == [False, True, True]
    assert (tmp_path / "out" / "a.png").stat().st_size > 1000
    first = capsys.readouterr().out
    monkeypatch.setattr(multiprize, "measure", None)
    multiprize.main(arguments)
    assert capsys.readouterr().out == "\n".join(first.splitlines()[-5:]) + "\n"
