import importlib.util

import pytest
import train_step


@pytest.fixture
def no_torch(monkeypatch):
    """Steps of nothing, and no PyTorch."""
    monkeypatch.setattr(train_step, "VARIANTS", {name: lambda *batch: lambda: 0.0 for name in train_step.VARIANTS})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def test_torch_is_left_out_where_it_is_missing_and_one_line_says_so(no_torch, capsys):
    assert train_step.main(["--arch", "ResNet-20", "--rounds", "1", "--batch_size", "2"]) == 0
    printed = capsys.readouterr()
    assert printed.err == "train_step.py compares with PyTorch: pip install torch\n"
    assert "ours_bf16 " in printed.out
    assert "torch " not in printed.out


def test_torch_that_is_asked_for_must_be_there(no_torch, capsys):
    assert train_step.main(["--variants", "ours", "torch"]) == 2
    assert capsys.readouterr().err == "train_step.py compares with PyTorch: pip install torch\n"


@pytest.mark.slow
def test_torch_takes_its_turn(capsys):
    pytest.importorskip("torch")
    assert train_step.main(["--arch", "ResNet-20", "--rounds", "1", "--batch_size", "2", "--variants", "torch"]) == 0
    assert "torch " in capsys.readouterr().out
