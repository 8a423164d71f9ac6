"""From flags and YAML files to a config."""

import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import jsonargparse

import tfprune
from tfprune.cli.flags import FlagHelp, add_flag, field_value, suggested_setting, unknown_flag, usage, with_flags
from tfprune.errors import ConfigError, first_line
from tfprune.reading import RefusedError
from tfprune.reading.yaml_file import read_settings, yaml_value
from tfprune.reprs import short
from tfprune.settings import Setting, settings_of
from tfprune.tables import WIDTH, shortened

Config = TypeVar("Config")
# Words on the command line mean what they mean in a file.
_MODE = "tfprune"
jsonargparse.set_loader(_MODE, yaml_value, exceptions=(RefusedError,))


def parse(
    config_class: type[Config], arguments: Sequence[str] | None = None, *, prog: str | None = None, epilog: str = ""
) -> Config:
    """Reads a config from flags and from the YAML files that `--config` (or `--setting`) names.

    Each setting of the class is a flag `--name` and a YAML key; flags win over files, later files over earlier ones.
    All else is as `tfprune.settings.setting` declares it.

    Args:
        config_class: A dataclass whose fields are declared by `setting`.
        arguments: The command line's words. Default: those the program was started with.
        prog: Name of the program. Default: that of the script.
        epilog: Lines at the end of the help.

    Returns:
        The config.

    Raises:
        ConfigError: A flag, a key or a value is wrong, or a file cannot be read; the message is one line.
        SystemExit: After `--help` and `--version`.

    Example:
        >>> from tfprune.recipes.ekg.config import EKGConfig
        >>> parse(EKGConfig, ["--decay_points", ".5", ".8", "--no_Knowledge"]).decay_points
        (0.5, 0.8)
    """
    settings = settings_of(config_class)
    parser = make_parser(config_class, prog=prog, epilog=epilog)
    if any(each.positional for each in settings.values()):
        arguments = with_flags(sys.argv[1:] if arguments is None else arguments, settings)
    given = parser.parse_args(arguments, defaults=False).as_dict()
    values: dict[str, Any] = {}
    for path in given.pop("config", None) or ():
        values |= {name: Path(path).stem for name, each in settings.items() if each.from_file_name}
        values |= _from_file(path, parser)
    values |= {name: field_value(settings[name], value) for name, value in given.items()}
    for name, each in settings.items():
        if each.default is MISSING and name not in values:
            raise ConfigError(f"{name.upper() if each.positional else f'--{name}'} is missing: {each.help}")
    return config_class(**values)


def make_parser(config_class: type, *, prog: str | None = None, epilog: str = "") -> "SettingsParser":
    """Returns the parser that `parse` uses; arguments as there."""
    prog = prog or Path(sys.argv[0]).name
    settings = settings_of(config_class)
    positional = [each for each in settings.values() if each.positional]
    parser = SettingsParser(
        prog=prog,
        usage=_usage(prog, positional),
        description=first_paragraph(config_class),
        version=f"(tfprune {tfprune.__version__})",
        formatter_class=FlagHelp,
        allow_abbrev=False,
        default_env=False,
        parser_mode=_MODE,
    )
    parser.settings, parser.closing = settings, epilog
    if positional:
        arguments = parser.add_argument_group("arguments")
        for each in positional:
            add_flag(arguments, each)
    parser.add_argument(
        "--config",
        "--setting",
        action="append",
        metavar="FILE.yaml",
        help="YAML file with values for any of the flags; the flags win over it.",
    )
    titles = [*getattr(config_class, "HELP_ORDER", ()), *(each.group for each in settings.values())]
    for title in dict.fromkeys(titles):
        if flags := [each for each in settings.values() if each.group == title and not each.positional]:
            group = parser.add_argument_group(title)
            for each in flags:
                add_flag(group, each)
    return parser


def _usage(prog: str, positional: Sequence[Setting]) -> str:
    """Returns the usage, in two lines if one of 80 characters is too short."""
    flags = "[--config FILE.yaml] [--FLAG VALUE ...]"
    words, title = " ".join([prog, *map(usage, positional)]), "usage: "
    long = len(f"{title}{words} {flags}") > WIDTH
    return (f"{words}\n{' ' * len(title)}{flags}" if long else f"{words} {flags}").replace("%", "%%")


def first_paragraph(documented: type) -> str:
    """Returns the first paragraph of a docstring as one line."""
    return " ".join((inspect.getdoc(documented) or "").partition("\n\n")[0].split())


class SettingsParser(jsonargparse.ArgumentParser):
    """A parser whose errors are one line, raised as `ConfigError`.

    Attributes:
        settings: The settings by name.
        closing: Lines at the end of the help.
    """

    settings: Mapping[str, Setting]
    closing: str

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises a `ConfigError`."""
        raise ConfigError(_reworded(message, self.settings)) from ex

    def parse_args(self, *arguments: Any, **options: Any) -> Any:
        """Reads a command line."""
        with self._one_line():
            return super().parse_args(*arguments, **options)

    def parse_object(self, *arguments: Any, **options: Any) -> Any:
        """Reads values by name."""
        with self._one_line():
            return super().parse_object(*arguments, **options)

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        """Turns what jsonargparse and its YAML reader let through, for odd tags and huge numbers, into one line."""
        try:
            yield
        except (ConfigError, OSError):  # such as a reader of the help that has gone
            raise
        except Exception as error:
            raise ConfigError(f"a value cannot be read: {first_line(error)}; expected numbers and words") from error

    def print_help(self, file: Any = None) -> None:
        """Prints the help; unlike argparse's method, it does not hide that nobody reads it."""
        print(self.format_help(), end="", file=file)

    def format_help(self, *arguments: Any, **options: Any) -> str:
        """Returns the help, with the lines at its end as they are."""
        return super().format_help(*arguments, **options) + (f"\n{self.closing}\n" if self.closing else "")


def _from_file(path: str, parser: SettingsParser) -> dict[str, Any]:
    values = {}
    for name, value in read_settings(path).items():
        if name not in parser.settings:
            raise ConfigError(f"{path}: unknown setting {name!r}{suggested_setting(name, parser.settings)}")
        values[name] = _file_value(value, path, parser, parser.settings[name])
    return values


def _file_value(value: Any, path: str, parser: SettingsParser, setting: Setting) -> Any:
    name = setting.name
    received = shortened(json.dumps(value, default=str), WIDTH)
    wrong = ConfigError(f"{path}: {name}: expected {setting.expected}, received {received}")
    if value is None:
        if not setting.optional:
            raise wrong
        return None
    if setting.is_list and not isinstance(value, list):
        value = [value]
    try:
        return field_value(setting, parser.parse_object({name: value}, defaults=False)[name])
    except ConfigError as error:
        raise wrong from error


def _value_of(setting: Setting) -> str:
    """Returns what a flag takes, in words; to give `None` is to leave it out."""
    return setting.expected.removesuffix(" or None")


def _reworded(message: str, settings: Mapping[str, Setting]) -> str:
    """Rewords an error of argparse or jsonargparse in one line of our style; theirs on one line if it is a new one."""
    if unknown := re.match(r"unrecognized arguments: (\S+)", message):
        word = unknown[1].partition("=")[0]
        if word.startswith("--"):
            return unknown_flag(word.removeprefix("--"), settings)
        return f"expected a flag, received {word!r}"
    if found := re.match(r"Parser key \"(\w+)\"|argument --(\w+)", message):
        name = found[1] or found[2]
        received = re.search(r"(?:Got value|Given value|invalid \w+ value): (.*)$", message)
        if "expected one argument" in message or "expected at least one argument" in message:
            words = _value_of(settings[name]) if name in settings else "a file"
            return f"--{name}: expected {words}, received nothing"
        if name in settings and not received and ": " in message:  # such as a number that Python does not read
            return f"--{name}: expected {_value_of(settings[name])}; {' '.join(message.partition(': ')[2].split())}"
        if received and name in settings:
            near = f"; --{name}_of is for single layers" if f"{name}_of" in settings and "=" in received[1] else ""
            return f"--{name}: expected {_value_of(settings[name])}, received {short(received[1].strip(chr(39)))}{near}"
    return " ".join(message.split())
