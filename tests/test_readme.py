"""What README.md shows must work."""

import re
import shlex
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml

from tfprune.cli import parse
from tfprune.graph import complexity
from tfprune.methods.ekg.config import EKGConfig
from tfprune.methods.evaluate_config import EvaluateConfig

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONFIGS = {"train_cifar.py": EKGConfig, "test.py": EvaluateConfig}


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_python_code_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    (code,) = blocks("python")
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    assert complexity(names["small"]).flops <= 0.5 * complexity(names["model"]).flops
    images = names["images"][:5]
    np.testing.assert_allclose(
        keras.saving.load_model("small.keras")(images), names["small"](images), rtol=1e-4, atol=1e-4
    )
    assert "multiply-adds" in capsys.readouterr().out


def commands():
    lines = (line for block in blocks("bash") for line in block.splitlines())
    return [words for line in lines if (words := shlex.split(line, comments=True))[:1] == ["python"]]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_commands_are_understood(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_settings.yaml").write_text("seed: 2\n")
    (tmp_path / "runs" / "res56").mkdir(parents=True)
    (tmp_path / "runs" / "res56" / "settings.yaml").write_text(yaml.safe_dump(EKGConfig().settings()))
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    _, script, *arguments = words
    assert (ROOT / script).exists()
    if arguments == ["--help"]:
        with pytest.raises(SystemExit):
            parse(CONFIGS[script], arguments)
    else:
        parse(CONFIGS[script], arguments)


def test_there_are_commands_of_both_programs():
    assert {words[1] for words in commands()} == set(CONFIGS)


@pytest.mark.parametrize("file", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda file: file.name)
def test_configs_are_understood(file):
    parse(EKGConfig, ["--config", str(file)])
