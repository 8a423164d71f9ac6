"""From flags and YAML files to a configuration object."""

import dataclasses
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_type_hints

import docstring_parser
import jsonargparse
import yaml

import tfprune
from tfprune.cli.flag import Flag, FlagHelp
from tfprune.cli.positional import usage, with_flags
from tfprune.cli.settings_file import load_yaml, read_settings
from tfprune.cli.suggestion import suggestion, unknown_flag
from tfprune.errors import ConfigError

Config = TypeVar("Config")
# Words on the command line mean what they mean in a file.
_MODE = "tfprune"
jsonargparse.set_loader(_MODE, load_yaml, exceptions=(yaml.YAMLError,))


def parse(config_class: type[Config], arguments: Sequence[str] | None = None, *, prog: str | None = None) -> Config:
    """Reads settings from flags and from the YAML files that `--config` (or `--setting`) names.

    Every field of the class is a flag `--name` and a YAML key; flags win over files, later files over earlier ones.
    Types, defaults and help texts are those of the class. If it has a class variable `GROUPS`, from a title to
    blank-separated field names, the help is divided accordingly. Those that a class variable `POSITIONAL` names,
    blank-separated, too, need no flag: they are given in this order, and the last may be a list. The one that a class
    variable `NAMED_AFTER_FILE` names is the last YAML file's name, without its ending, unless it is given.

    Args:
        config_class: A dataclass of numbers, texts, bools, literals, tuples of these, each perhaps optional, with a
            text on every field in its docstring, or in that of the dataclass it derives from.
        arguments: The command line's words. Default: those the program was started with.
        prog: Name of the program. Default: that of the script.

    Returns:
        The settings.

    Raises:
        ConfigError: A flag, a key or a value is wrong, or a file cannot be read; the message is one line.
        SystemExit: After `--help` and `--version`.

    Example:
        >>> from tfprune.recipes.ekg.config import EKGConfig
        >>> parse(EKGConfig, ["--decay_points", ".5", ".8", "--no_Knowledge"]).decay_points
        (0.5, 0.8)
    """
    flags = _flags(config_class)
    positional = _positional(config_class)
    parser = make_parser(config_class, prog=prog)
    if positional:
        arguments = with_flags(sys.argv[1:] if arguments is None else arguments, flags, positional)
    given = parser.parse_args(arguments, defaults=False).as_dict()
    values: dict[str, Any] = {}
    for path in given.pop("config", None) or ():
        named = getattr(config_class, "NAMED_AFTER_FILE", None)
        values |= ({named: Path(path).stem} if named else {}) | _from_file(path, parser, flags)
    values |= {name: flags[name].value(value) for name, value in given.items()}
    for name, flag in flags.items():
        if flag.default is dataclasses.MISSING and name not in values:
            raise ConfigError(f"{name.upper() if name in positional else f'--{name}'} is missing: {flag.help}")
    return config_class(**values)


def make_parser(config_class: type, *, prog: str | None = None) -> "SettingsParser":
    """The parser that `parse` uses; arguments as there."""
    prog = prog or Path(sys.argv[0]).name
    flags = _flags(config_class)
    arguments = [flags[name] for name in _positional(config_class)]
    parser = SettingsParser(
        prog=prog,
        usage=" ".join(["%(prog)s", *map(usage, arguments), "[--config FILE.yaml] [--FLAG VALUE ...]"]),
        description=_documentation(config_class).short_description,
        version=f"(tfprune {tfprune.__version__})",
        formatter_class=FlagHelp,
        allow_abbrev=False,
        default_env=False,
        parser_mode=_MODE,
    )
    parser.flags = flags
    left = dict(flags)
    if arguments:
        group = parser.add_argument_group("arguments")
        for flag in arguments:
            left.pop(flag.name).add_to(group, shown=flag.name.upper())
    parser.add_argument(
        "--config",
        "--setting",
        action="append",
        metavar="FILE.yaml",
        help="YAML file with values for any of the flags; the flags win over it.",
    )
    for title, names in getattr(config_class, "GROUPS", {}).items():
        group = parser.add_argument_group(title)
        for name in names.split():
            left.pop(name).add_to(group)
    if left:
        group = parser.add_argument_group("settings")
        for flag in left.values():
            flag.add_to(group)
    return parser


class SettingsParser(jsonargparse.ArgumentParser):
    """A parser whose errors are one line, raised as `ConfigError`.

    Attributes:
        flags: The settings by name.
    """

    flags: Mapping[str, Flag]

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises a `ConfigError`."""
        raise ConfigError(_reworded(message, self.flags)) from ex


def _flags(config_class: type) -> dict[str, Flag]:
    types = get_type_hints(config_class)
    documented = [base for base in reversed(config_class.__mro__) if dataclasses.is_dataclass(base)]
    texts = {param.arg_name: param.description or "" for base in documented for param in _documentation(base).params}
    return {
        field.name: Flag.of(field, types[field.name], " ".join(texts.get(field.name, "").split()))
        for field in dataclasses.fields(config_class)
    }


def _positional(config_class: type) -> list[str]:
    return getattr(config_class, "POSITIONAL", "").split()


def _documentation(config_class: type) -> docstring_parser.Docstring:
    return docstring_parser.parse(config_class.__doc__ or "", docstring_parser.DocstringStyle.GOOGLE)


def _from_file(path: str, parser: SettingsParser, flags: Mapping[str, Flag]) -> dict[str, Any]:
    values = {}
    for name, value in read_settings(path).items():
        if name not in flags:
            near = suggestion(name.replace("-", "_"), flags, otherwise="--help lists them all")
            raise ConfigError(f"{path}: unknown setting {name!r}{near}")
        values[name] = _checked(value, path, parser, flags[name])
    return values


def _checked(value: Any, path: str, parser: SettingsParser, flag: Flag) -> Any:
    wrong = ConfigError(f"{path}: {flag.name}: expected {flag.expected}, received {json.dumps(value, default=str)}")
    if value is None:
        if not flag.optional:
            raise wrong
        return None
    if flag.is_list and not isinstance(value, list):
        value = [value]
    try:
        return flag.value(parser.parse_object({flag.name: value}, defaults=False)[flag.name])
    except ConfigError as error:
        raise wrong from error


def _reworded(message: str, flags: Mapping[str, Flag]) -> str:
    """One line in our words for an error of argparse or jsonargparse; theirs on one line if it is a new one."""
    if unknown := re.match(r"unrecognized arguments: (\S+)", message):
        word = unknown[1].partition("=")[0]
        if word.startswith("--"):
            return unknown_flag(word.removeprefix("--"), flags)
        return f"expected a flag, received {word!r}"
    if found := re.match(r"Parser key \"(\w+)\"|argument --(\w+)", message):
        name = found[1] or found[2]
        received = re.search(r"(?:Got value|Given value|invalid \w+ value): (.*)$", message)
        if "expected one argument" in message or "expected at least one argument" in message:
            words = flags[name].expected if name in flags else "a file"
            return f"--{name}: expected {words}, received nothing"
        if received and name in flags:
            return f"--{name}: expected {flags[name].expected}, received {received[1].strip(chr(39))!r}"
    return " ".join(message.split())
