"""What README.md shows must work."""

import re
import shlex
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml

from tfprune.cli import parse
from tfprune.cli.programs import IMAGENET_STAGES, pick_method
from tfprune.commands import COMMANDS
from tfprune.graph import complexity
from tfprune.recipes.catalog import configs
from tfprune.recipes.dpp.config import DPP_COMMANDS
from tfprune.recipes.ekg.config import EKGConfig
from tfprune.recipes.evaluate_config import EvaluateConfig

ROOT = Path(__file__).parents[1]
METHODS, IMAGENET_METHODS = configs(), configs(imagenet=True)
README = (ROOT / "README.md").read_text(encoding="utf-8")
SUBCOMMANDS = {"tfprune": COMMANDS, "train_imagenet.py": IMAGENET_STAGES, "dpp": DPP_COMMANDS}
PROGRAMS = {"train_cifar.py": METHODS, "train_imagenet.py": IMAGENET_METHODS}


def config_and_arguments(words):
    """The settings class that a command line needs, and the words it is to be parsed from."""
    program, *arguments = words
    if program == "python":
        program, *arguments = arguments
    if arguments[:1] == ["dpp"]:
        program, *arguments = arguments
    if arguments[:1] and arguments[0] in SUBCOMMANDS.get(program, ()):
        name, *arguments = arguments
        return SUBCOMMANDS[program][name], arguments
    if program == "test.py":
        return EvaluateConfig, arguments
    return pick_method(arguments, PROGRAMS[program], default="ekg"), arguments


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.slow
def test_python_code_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    names = {}
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), names)
        assert complexity(names["small"]).flops <= 0.5 * complexity(names["model"]).flops
    images = names["images"][:5]
    np.testing.assert_allclose(
        keras.saving.load_model("small.keras")(images), names["small"](images), rtol=1e-4, atol=1e-4
    )
    printed = capsys.readouterr().out
    assert "multiply-adds" in printed
    assert "channel groups" in printed
    assert Path("small.tflite").stat().st_size > Path("small_int8.tflite").stat().st_size > 0


def commands():
    """The commands in the blocks for a shell, without what is said about their environment, variables filled in."""
    lines = [shlex.split(line, comments=True) for block in blocks("bash") for line in block.splitlines()]
    exports = [words[1].partition("=") for words in lines if words[:1] == ["export"]]
    variables = {f"${name}": shlex.split(value) for name, _, value in exports}
    found = []
    for words in lines:
        command = words[1:] if words and words[0].startswith("TF_CONFIG=") else words
        if command[:1] in (["python"], ["tfprune"]):
            found.append([each for word in command for each in variables.get(word, [word]) if each != "&"])
    return found


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with the files that the commands name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_settings.yaml").write_text("seed: 2\n")
    (tmp_path / "runs" / "res56").mkdir(parents=True)
    (tmp_path / "runs" / "res56" / "settings.yaml").write_text(yaml.safe_dump(EKGConfig().settings()))
    (tmp_path / "configs").symlink_to(ROOT / "configs")


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_commands_are_understood(words, workplace):
    config, arguments = config_and_arguments(words)
    if arguments[-1:] == ["--help"]:
        with pytest.raises(SystemExit):
            parse(config, arguments)
    else:
        parse(config, arguments)


def test_there_are_commands_of_all_programs(workplace):
    shown = {config_and_arguments(words)[0] for words in commands()}
    assert {*METHODS.values(), *COMMANDS.values(), *IMAGENET_STAGES.values(), EvaluateConfig} <= shown
    assert {*DPP_COMMANDS.values()} <= shown


@pytest.mark.parametrize("file", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda file: file.name)
def test_configs_are_understood(file, tmp_path):
    arguments = ["--config", str(file)]
    if "give --density" in file.read_text(encoding="utf-8"):
        arguments += ["--density", "0.5"]
    if file.name.startswith("prune_imagenet_"):
        parse(IMAGENET_STAGES["prune"], [*arguments, "DATA", "--out", str(tmp_path / "a.npz")])
    elif file.name.startswith("imagenet_"):
        arguments += ["--data_path", "DATA"]
        parse(pick_method(arguments, IMAGENET_METHODS, default="ekg"), arguments)
    else:
        parse(pick_method(arguments, METHODS, default="ekg"), arguments)
