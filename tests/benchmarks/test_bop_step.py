import json

import bop_step
import pytest


@pytest.mark.slow
def test_writes_raw_seconds_and_shares(tmp_path, capsys):
    out = tmp_path / "rows.jsonl"
    bop_step.main(["--arch", "ResNet-20", "--rounds", "2", "--batch_size", "4", "--out", str(out)])
    row = json.loads(out.read_text())
    assert row["sign_trained_weights"] == 270256
    assert {name: len(values) for name, values in row["step_seconds"].items()} == {"bop": 2, "sgd": 2}
    assert {name: len(values) for name, values in row["update_seconds"].items()} == {"bop": 4, "sgd": 4}
    assert row["update_share"]["sgd"] == pytest.approx(
        sum(sorted(row["update_seconds"]["sgd"])[1:3]) / sum(row["step_seconds"]["sgd"])
    )
    printed = capsys.readouterr().out
    assert "ResNet-20, batch 4" in printed
    assert f"share {row['update_share']['bop']:7.2%}" in printed
