"""The catalog of methods, and a new one that is registered from outside."""

from dataclasses import dataclass
from typing import Literal

import pytest

from tfprune.cli import make_parser
from tfprune.cli.main import COMMANDS
from tfprune.cli.programs import IMAGENET_STAGES, train_cifar, train_imagenet
from tfprune.errors import ConfigError
from tfprune.recipes import catalog
from tfprune.recipes.dpp.config import DPP_COMMANDS
from tfprune.recipes.evaluate_config import EvaluateConfig
from tfprune.recipes.run_config import RunConfig
from tfprune.settings import setting, settings_of

IMAGENET = {f"imagenet {name}": config for name, config in catalog.configs(imagenet=True).items()}
PROGRAMS = {"test.py": EvaluateConfig, **IMAGENET_STAGES}
EVERY = (
    catalog.configs() | IMAGENET | COMMANDS | {f"dpp {name}": each for name, each in DPP_COMMANDS.items()} | PROGRAMS
)


@dataclass(frozen=True)
class HalfConfig(RunConfig):
    """Half: prunes a model by half."""

    method: Literal["half"] = "half"
    arch: str = setting("Conv4", "Architecture.", group="data and model")
    part: float = setting(0.5, "Fraction of the weights that is kept.", group="pruning", above=0, at_most=1)


@dataclass(frozen=True)
class OtherConfig(HalfConfig):
    """Other: prunes a model otherwise."""

    method: Literal["other"] = "other"


@pytest.fixture
def seen(monkeypatch):
    """What the method `half`, registered for the test, was run with."""
    monkeypatch.setattr(catalog, "_METHODS", dict(catalog._METHODS))
    configs = []
    catalog.register_method(HalfConfig, configs.append, imagenet={"part": 0.25})
    return configs


def test_the_methods():
    names = ["dense", "ekg", "multiprize", "peekaboo", "ticket"]
    assert [*catalog.configs()] == [*catalog.configs(imagenet=True)] == names
    for name in names:
        method = catalog.get_method(name)
        assert (method.name, settings_of(method.config)["method"].default) == (name, name)
        assert issubclass(method.imagenet_config, method.config)
        assert (method.config.on_disk, method.imagenet_config.on_disk) == (False, True)
    with pytest.raises(ConfigError, match=r"expected one of the methods dense, ekg, .*, received 'half'"):
        catalog.get_method("half")


@pytest.mark.parametrize("name", EVERY)
def test_every_setting_is_in_the_help_once(name):
    config = EVERY[name]
    known = settings_of(config)
    text = make_parser(config, prog="p").format_help()
    for each in known.values():
        flag = f"\n  {each.name.upper()}" if each.positional else f"\n  --{each.name}"
        assert sum(text.count(f"{flag}{end}") for end in (" ", ",", "\n")) == 1, each.name
    assert {*config.HELP_ORDER} <= {each.group for each in known.values()}


def test_a_new_method_is_one_call(seen, capsys):
    assert train_cifar(["--method", "half", "--part", "0.1", "--dataset", "digits"]) == 0
    assert train_imagenet(["--method", "half", "images"]) == 0
    first, second = seen
    assert (first.part, first.dataset, first.arch, first.on_disk) == (0.1, "digits", "Conv4", False)
    assert (second.part, second.data_path, second.stem, second.on_disk) == (0.25, "images", "large", True)
    assert HalfConfig(plugin=("my_module",)).settings()["plugin"] == ["my_module"]  # a resumed run needs it, too
    assert train_cifar(["--method", "half", "--part", "2"]) == 2
    assert "--part: expected a value above 0 and at most 1, received 2.0" in capsys.readouterr().err
    assert train_cifar(["--method", "hal"]) == 2
    assert "unknown method 'hal'; did you mean half?" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        train_cifar(["--help"])
    assert "\n  half        Half: prunes a model by half.\n" in capsys.readouterr().out


def test_what_cannot_be_registered(seen, monkeypatch):
    with pytest.raises(ConfigError, match=r"expected a new name .*, received 'half'"):
        catalog.register_method(type("AnotherConfig", (HalfConfig,), {}))
    assert catalog.register_method(HalfConfig).name == "half"  # as when a notebook's cell is run again
    with pytest.raises(ConfigError, match=r"expected a new name .*, received ''"):
        catalog.register_method(RunConfig)
    with pytest.raises(TypeError, match="preset of OtherConfig: no setting parts"):
        catalog.register_method(OtherConfig, imagenet={"parts": 1})
    monkeypatch.setattr(OtherConfig, "__module__", "alone")
    with pytest.raises(TypeError, match="expected `run`, as alone is not in a package, received none"):
        catalog.register_method(OtherConfig)
