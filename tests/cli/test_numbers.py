"""Numbers on the command line, and in settings from Python, that no setting can have: one line and exit code 2."""

from dataclasses import MISSING, replace
from pathlib import Path

import numpy as np
import pytest

from tfprune.cli.main import COMMANDS, main
from tfprune.cli.parser import parse
from tfprune.cli.programs import IMAGENET_STAGES
from tfprune.errors import ConfigError
from tfprune.recipes.catalog import configs
from tfprune.recipes.dpp import DPP_COMMANDS
from tfprune.recipes.evaluate_config import EvaluateConfig
from tfprune.recipes.tickets.config import TicketConfig
from tfprune.settings import settings_of

INTEGERS = ["9" * 23, "-" + "9" * 23, "9" * 5000, "2147483648", "1e400", "nan", "inf", "-.inf", "1.5", "1.0"]
FLOATS = ["1e400", "-1e400", "nan", ".nan", "inf", "-inf", ".inf", "9" * 5000, "1e"]
CLASSES = {
    **{(name,): each for name, each in COMMANDS.items()},
    **{("dpp", name): each for name, each in DPP_COMMANDS.items()},
    **{("train_cifar", "--method", name): each for name, each in configs(imagenet=False).items()},
    **{("train_imagenet", "--method", name): each for name, each in configs(imagenet=True).items()},
    **{("train_imagenet", name): each for name, each in IMAGENET_STAGES.items()},
    ("test",): EvaluateConfig,
}
SETTINGS = {
    setting: words
    for words, config in CLASSES.items()
    for setting in settings_of(config).values()
    if setting.kind in (int, float)
}
"""All settings that are numbers, each once, and a program that has it."""


def numbers(words):
    """Yields names, kinds and values of flags of a program."""
    for setting, program in SETTINGS.items():
        if program == words:
            yield from ((setting.name, value) for value in (INTEGERS if setting.kind is int else FLOATS))


def test_there_are_many_settings():
    assert len(SETTINGS) > 100


@pytest.mark.parametrize("words", CLASSES, ids=" ".join)
def test_numbers_that_no_flag_takes(words):
    config = CLASSES[words]
    missing = [each for each in settings_of(config).values() if each.default is MISSING]
    required = [f"--{each.name}=1" for each in missing]
    for name, value in numbers(words):
        with pytest.raises(ConfigError) as caught:
            parse(config, [*required, f"--{name}={value}"], prog="program")
        said = str(caught.value)
        assert said.startswith(f"--{name}: expected "), said
        assert len(said) < 400


@pytest.mark.parametrize("words", CLASSES, ids=" ".join)
def test_programs_end_with_two(words, capsys):
    flag = next(each.name for each in settings_of(CLASSES[words]).values() if each.kind is int)
    assert main([*words, f"--{flag}={'9' * 5000}"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert len(said.err) < 400


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("seed", 2**31, "expected a whole number from -2147483647 to 2147483647, received 2147483648"),
        ("seed", 10**9999, r"received a number of 33216 bits"),
        ("seed", True, r"expected a whole number, received True \(bool\)"),
        ("seed", 1.0, r"expected a whole number, received 1.0 \(float\)"),
        ("seed", "1", r"expected a whole number, received '1' \(str\)"),
        ("seed", None, "expected a whole number, received None"),
        ("seed", np.ones(3), r"expected a whole number, received ndarray of shape \(3,\) \(ndarray\)"),
        ("density", float("inf"), "expected a value above 0 and at most 1, received inf"),
        ("density", 10**400, "expected a value above 0 and at most 1, received a number of 1329 bits"),
        ("density", "half", r"expected a number, received 'half' \(str\)"),
        ("weight_decay", float("inf"), "expected a finite number, received inf"),
        ("milestones", 3, r"expected whole numbers.*, received 3 \(int\)"),
        ("dataset", 3, r"expected text, received 3 \(int\)"),
        ("dataset", "a\0b", r"expected text without null characters, received 'a\\x00b' \(str\)"),
        ("hybrid", 1, r"expected true or false, received 1 \(int\)"),
        ("hybrid", "yes", r"expected true or false, received 'yes' \(str\)"),
        ("rule", ["init"], r"received \['init'\] \(list\)"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_settings_from_python(name, value, said):
    with pytest.raises(ConfigError, match=f"--{name}: .*{said}"):
        TicketConfig(**{name: value})


def test_numbers_of_numpy_lists_and_paths_are_taken():
    config = TicketConfig(seed=np.int64(3), density=np.float32(0.5), train_path=Path("runs/a"))
    assert (config.seed, config.density, config.train_path) == (3, 0.5, "runs/a")
    assert [type(each) for each in (config.seed, config.density, config.train_path)] == [int, float, str]
    assert replace(config) == config
