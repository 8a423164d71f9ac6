"""From a settings dataclass to a command line with a YAML file behind it."""

from collections.abc import Sequence
from dataclasses import MISSING, Field, fields
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin, get_type_hints

import docstring_parser
import jsonargparse

import tfprune
from tfprune.errors import ConfigError

Config = TypeVar("Config")


class _Parser(jsonargparse.ArgumentParser):
    """Reports what is wrong in one line, and exits with code 2."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        lines = [line.strip() for line in message.splitlines() if line.strip()]
        self.exit(2, f"{self.prog}: error: {' '.join(lines)}\n")


def parse(config_class: type[Config], arguments: Sequence[str] | None = None, *, prog: str | None = None) -> Config:
    """Reads settings from flags and, if `--config` (or `--setting`) names one, a YAML file; flags override the file.

    Every field of the dataclass is a flag and a YAML key of the same name, its line in the docstring is the help text.
    Tuples take blank-separated values, bools `--name` and `--no_name`.

    Args:
        config_class: A dataclass of plain fields: numbers, strings, bools, tuples of these, literals, optionals.
        arguments: The command line. Default: that of the process.
        prog: Name of the program. Default: the script's.

    Returns:
        The settings. Unknown flags or keys, wrong types and unreadable files end the process with one line and code 2,
        as does a `ConfigError` of the dataclass itself.
    """
    parser = make_parser(config_class, prog=prog)
    values = parser.parse_args(arguments)
    chosen = {field.name: getattr(values, field.name) for field in fields(config_class)}  # type: ignore[arg-type]
    try:
        return config_class(**{name: tuple(v) if isinstance(v, list) else v for name, v in chosen.items()})
    except ConfigError as error:
        parser.error(str(error))


def make_parser(config_class: type, *, prog: str | None = None) -> jsonargparse.ArgumentParser:
    """The parser that `parse` uses."""
    documentation = docstring_parser.parse(config_class.__doc__ or "")
    helps = {param.arg_name: " ".join((param.description or "").split()) for param in documentation.params}
    parser = _Parser(prog=prog, description=documentation.short_description, version=tfprune.__version__)
    parser.add_argument("--config", "--setting", action="config", help="YAML file with values for any of the flags.")
    hints = get_type_hints(config_class)
    for field in fields(config_class):
        _add(parser, field, hints[field.name], helps.get(field.name, ""))
    return parser


def _add(parser: jsonargparse.ArgumentParser, field: Field, hint: Any, text: str) -> None:  # type: ignore[type-arg]
    flag, default = f"--{field.name}", None if field.default is MISSING else field.default
    if hint is bool:
        action = jsonargparse.ActionYesNo(yes_prefix="", no_prefix="no_")
        parser.add_argument(flag, action=action, nargs="?", default=default, help=text)
    elif get_origin(hint) is tuple:
        element = get_args(hint)[0]
        parser.add_argument(flag, type=element, nargs="+", default=list(default or ()), help=text)
    elif get_origin(hint) is Literal:
        parser.add_argument(flag, type=_choice(get_args(hint)), default=default, help=text, **_alone(hint))
    elif get_origin(hint) is UnionType and NoneType in get_args(hint):
        (element,) = (each for each in get_args(hint) if each is not NoneType)
        parser.add_argument(flag, type=_optional(element), default=default, help=text)
    else:
        parser.add_argument(flag, type=hint, default=default, help=text)


def _alone(hint: Any) -> dict[str, str]:
    """A switch given without a value is on."""
    return {"nargs": "?", "const": "on"} if "on" in get_args(hint) else {}


def _choice(options: tuple[str, ...]) -> Any:
    def choose(value: Any) -> str:
        # YAML reads on and off as truth values.
        value = {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value
        if value not in options:
            raise ValueError(f"expected one of {', '.join(options)}; received {value}")
        return str(value)

    return choose


def _optional(element: type) -> Any:
    def convert(value: Any) -> Any:
        if value is None or value == "None":
            return None
        if isinstance(value, dict | list):
            raise ValueError(f"expected one {element.__name__}, received {value}")
        return element(value)

    return convert
