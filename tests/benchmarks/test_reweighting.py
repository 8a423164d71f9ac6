import json

import pytest
import reweighting


@pytest.mark.slow
def test_rows_of_one_network(tmp_path, capsys):
    out = tmp_path / "rows.jsonl"
    reweighting.main(["--seeds", "2", "--density", "0.5", "--out", str(out)])
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 2 * (3 * 3 + 3)
    found = {(row["seed"], row["way"]): row["accuracy"] for row in rows}
    for seed in (0, 1):
        for criterion in ("dpp_node", "random", "l2"):
            way = f"channels by {criterion}"
            assert found[seed, f"{way}, reweighted on 1024"] > found[seed, way] + 0.2
    assert "| weights by dpp_edge | " in capsys.readouterr().out
