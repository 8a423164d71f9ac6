import json

import dpp_node
import pytest

from tests.models import conv_chain


def network(images, labels, seed, epochs):
    return conv_chain(images.shape[1:], (8,), 10, seed=seed, padding="valid")


@pytest.mark.slow
def test_rows_of_two_networks(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(dpp_node, "trained_network", network)
    out = tmp_path / "rows.jsonl"
    dpp_node.main(["--seeds", "2", "--density", "0.5", "--examples", "64", "--tests", "50", "--out", str(out)])
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["seed"], row["way"]) for row in rows] == [(seed, way) for seed in (0, 1) for way in dpp_node.WAYS]
    assert all(0 <= row[name] <= 1 for row in rows for name in ("unpruned", *dpp_node.COLUMNS))
    assert "| dpp_node with data, reweighted | " in capsys.readouterr().out
