"""The programs `train_cifar.py`, `train_imagenet.py` and `test.py`, which run the methods and test their results.

After `pip install` they are `tfprune train_cifar`, `tfprune train_imagenet` and `tfprune test`.
"""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from itertools import pairwise, takewhile
from typing import Any

from tfprune.cli.command import described, run_command, run_subcommand
from tfprune.cli.parser import parse
from tfprune.criteria.registry import load_plugins
from tfprune.errors import ConfigError, suggestion
from tfprune.reading.yaml_file import read_settings
from tfprune.recipes.catalog import configs, get_method
from tfprune.recipes.evaluate_config import EvaluateConfig
from tfprune.recipes.peekaboo.config import PruneImageNetConfig, TrainImageNetConfig
from tfprune.tables import paragraph

DEFAULT_METHOD = "ekg"
IMAGENET_STAGES = {"prune": PruneImageNetConfig, "train": TrainImageNetConfig}
_STOPPED = "stopped; finished work is kept, continue with --resume"


def train_cifar(arguments: Sequence[str] | None = None, *, prog: str = "train_cifar.py") -> int:
    """Runs a method on CIFAR-10, CIFAR-100, or the embedded digits.

    Args:
        arguments: The command line's words. Default: those the program was started with.
        prog: Name of the program.

    Returns:
        The exit code, see `run_command`.
    """
    return _run_method(arguments, prog=prog)


def train_imagenet(arguments: Sequence[str] | None = None, *, prog: str = "train_imagenet.py") -> int:
    """Runs a method, or one of the two stages of Peek-a-Boo, on ImageNet or on images like it, read from the disk.

    Args:
        arguments: The command line's words; `prune` or `train` at the beginning names a stage. Default: those the
            program was started with.
        prog: Name of the program.

    Returns:
        The exit code, see `run_command`.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] and words[0] in IMAGENET_STAGES:
        return run_subcommand(
            words,
            IMAGENET_STAGES,
            _run_stage,
            prog=prog,
            description="Peek-a-Boo on ImageNet, or on images like it, in two stages.",
            interrupted=_STOPPED,
        )
    note = f"`{prog} prune --help` and `{prog} train --help`: Peek-a-Boo in two stages."
    return _run_method(words, prog=prog, imagenet=True, note=note)


def evaluate(arguments: Sequence[str] | None = None, *, prog: str = "test.py") -> int:
    """Measures how accurate, how large and how fast a model is: `test.py`.

    Args:
        arguments: The command line's words. Default: those the program was started with.
        prog: Name of the program.

    Returns:
        The exit code, see `run_command`.
    """
    return run_command(
        prog,
        lambda: parse(EvaluateConfig, arguments, prog=prog),
        lambda config: import_module("tfprune.recipes.evaluate").run(config),
    )


def pick_method(arguments: Sequence[str], methods: Mapping[str, type], *, default: str = DEFAULT_METHOD) -> type:
    """Returns the config class of the method that `--method`, or the key `method` of a settings file, names.

    Args:
        arguments: The command line's words.
        methods: Config classes by the method's name.
        default: The method where none is named.

    Raises:
        ConfigError: There is no such method, or a settings file cannot be read.

    Example:
        >>> pick_method(["--method", "b"], {"a": int, "b": float}, default="a")
        <class 'float'>
    """
    named = _values(arguments, "--method")
    for path in _values(arguments, "--config", "--setting"):
        if not named and isinstance(value := read_settings(path).get("method"), str):
            default = value
    name = named[-1] if named else default
    if name not in methods:
        near = suggestion(name, methods) or f"; there are {', '.join(methods)}"
        raise ConfigError(f"--method: unknown method {name!r}{near}")
    return methods[name]


def _run_method(arguments: Sequence[str] | None, *, prog: str, imagenet: bool = False, note: str = "") -> int:
    """Runs the method that a command line names; `note` is a line for the end of the help."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    title = paragraph(f"methods; `{prog} --method METHOD --help` lists the settings of each:")
    dpp = "The fifth paper's method, DPP pruning, has commands of its own: `tfprune dpp`."

    def settings() -> Any:
        load_plugins(_plugins(words))
        methods = configs(imagenet=imagenet)
        epilog = "\n".join([title, described(methods), dpp, *([paragraph(note)] if note else [])])
        return parse(pick_method(words, methods), words, prog=prog, epilog=epilog)

    return run_command(prog, settings, lambda config: get_method(config.method).run(config), interrupted=_STOPPED)


def _run_stage(name: str, config: Any) -> None:
    load_plugins(config.plugin)
    if name == "prune":
        import_module("tfprune.recipes.peekaboo.pruning").run(config)
    else:
        get_method("peekaboo").run(config)


def _plugins(words: Sequence[str]) -> list[str]:
    """Returns the modules that `--plugin`, or else the key `plugin` of a settings file, names: they may add methods."""
    plugins: Any = []
    for path in _values(words, "--config", "--setting"):
        plugins = read_settings(path).get("plugin", plugins)
    for index, word in enumerate(words):
        if word == "--plugin":
            plugins = list(takewhile(lambda each: not each.startswith("-"), words[index + 1 :]))
        elif word.startswith("--plugin="):
            plugins = word.partition("=")[2]
    plugins = [plugins] if isinstance(plugins, str) else plugins
    valid = isinstance(plugins, list) and all(isinstance(each, str) for each in plugins)
    return plugins if valid else []  # the parser reports what is not valid


def _values(arguments: Sequence[str], *flags: str) -> list[str]:
    values = [value for word, value in pairwise(arguments) if word in flags]
    return values + [word.partition("=")[2] for word in arguments if word.partition("=")[0] in flags and "=" in word]


if __name__ == "__main__":
    sys.exit("this module is no program; run `tfprune train_cifar`, `tfprune train_imagenet` or `tfprune test`")
