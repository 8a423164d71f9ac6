"""The methods that `train_cifar.py` and `train_imagenet.py` offer: each registers itself once.

A method is a package of this one with a module `config`, which declares the settings and registers them:

    register_method(MyConfig, imagenet={"arch": "ResNet-50", "epochs": 90})

The package has the function `run`, which takes the config; it is imported when the method runs, so that `--help` needs
no TensorFlow.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from tfprune.errors import ConfigError
from tfprune.recipes.run_config import ImageNetConfig, RunConfig
from tfprune.settings import preset, settings_of

_METHODS: dict[str, "RegisteredMethod"] = {}


@dataclass(frozen=True)
class RegisteredMethod:
    """A method and its settings.

    Attributes:
        name: What `--method` calls it.
        config: Its config class.
        imagenet_config: The same for ImageNet, or images like it: with other defaults, and the settings of images that
            are read from the disk.
        run: Runs it with a config.
    """

    name: str
    config: type[RunConfig]
    imagenet_config: type[RunConfig]
    run: Callable[[Any], object] = field(repr=False)


def register_method(
    config: type[RunConfig],
    run: Callable[[Any], object] | None = None,
    *,
    imagenet: Mapping[str, object] | None = None,
) -> RegisteredMethod:
    """Adds a method to `train_cifar.py` and `train_imagenet.py`, under the default of its setting `method`.

    Args:
        config: The config class; the first paragraph of its docstring describes the method in the help.
        run: Runs the method with a config. Default: the function `run` of the package that `config` is defined in,
            imported when it is called.
        imagenet: Defaults for ImageNet that differ from those of `config`, by the name of the setting.

    Returns:
        What was registered.

    Raises:
        ConfigError: There is another method of this name, or none is given.
        TypeError: `imagenet` names a setting that does not exist, or there is neither `run` nor a package.
    """
    name = settings_of(config)["method"].default
    known = _METHODS.get(name)
    # A class that is defined again, as in a notebook, replaces itself; it must not replace another one.
    again = known is not None and _origin(known.config) == _origin(config)
    if not name or (known is not None and not again):
        raise ConfigError(f"expected a new name as default of the setting `method`, received {name!r}; choose another")
    package = config.__module__.rpartition(".")[0]
    kind = config.__name__.removesuffix("Config")
    if run is None and not package:
        raise TypeError(f"register_method: expected `run`, as {config.__module__} is not in a package, received none")
    made = RegisteredMethod(
        name,
        config,
        preset(f"{kind}ImageNetConfig", config, imagenet or {}, more=ImageNetConfig),
        run or (lambda settings: import_module(package).run(settings)),
    )
    _METHODS[name] = made
    return made


def _origin(config: type) -> str:
    return f"{config.__module__}:{config.__qualname__}"


def get_method(name: str) -> RegisteredMethod:
    """Returns the method of a name.

    Raises:
        ConfigError: There is none.
    """
    known = _registered()
    if name not in known:
        raise ConfigError(f"expected one of the methods {', '.join(known)}, received {name!r}")
    return known[name]


def configs(*, imagenet: bool = False) -> dict[str, type[RunConfig]]:
    """Returns the config classes of all methods by name.

    Args:
        imagenet: Whether to return those for ImageNet.
    """
    return {name: each.imagenet_config if imagenet else each.config for name, each in _registered().items()}


def _registered() -> Mapping[str, RegisteredMethod]:
    """Returns all methods, after the packages beside this module have registered theirs."""
    package = __name__.rpartition(".")[0]
    for file in Path(__file__).parent.glob("*/config.py"):
        import_module(f"{package}.{file.parent.name}.config")
    return dict(sorted(_METHODS.items()))
