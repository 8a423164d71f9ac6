"""Flags of the command line: how a setting becomes one, which words belong to which, what an unknown one may mean."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING
from typing import Any

from tfprune.errors import ConfigError, suggestion
from tfprune.reading.yaml_file import yaml_value
from tfprune.settings import Setting

_METAVARS = {int: "N", float: "X", str: "TEXT"}
_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
# What other programs, the authors' among them, call the fraction that is kept, or its complement.
_DENSITY = ("prune_ratio", "prune_rate", "pruning_ratio", "sparsity", "amount", "keep", "keep_ratio")
_CHOICES = 60  # characters of a list of choices that fits into the usage of a flag
_VALUES_OF_OTHERS = {"config": 1, "setting": 1, "help": 0, "version": 0}


def add_flag(group: Any, setting: Setting) -> None:
    """Adds a setting to a group of arguments of a jsonargparse parser.

    Args:
        group: The group.
        setting: The setting. A positional one is a flag, too, and is shown without dashes.
    """
    options: dict[str, Any] = {"default": None, "help": setting.help_text.replace("%", "%%")}
    if setting.kind is bool:
        group.add_argument(f"--{setting.name}", f"--no_{setting.name}", action=YesNo, **options)
        return
    if setting.choices:
        options["metavar"] = "{" + ",".join(map(str, setting.choices)) + "}"
        if len(options["metavar"]) > _CHOICES:
            options["metavar"] = "NAME"
            options["help"] = f"One of {', '.join(map(str, setting.choices))}. {options['help']}"
        if "on" in setting.choices:  # the flag alone switches it on, as in the original's commands
            options |= {"nargs": "?", "const": "on"}
    else:
        options["metavar"] = "|".join([_METAVARS[setting.kind], *setting.words])
    if setting.is_list:
        options["nargs"] = "+"
    if setting.kind in (int, float):
        kind: Any = number_of(setting)
    else:
        kind = setting.kind | None if setting.optional else setting.kind
    action = group.add_argument(f"--{setting.name}", type=kind, **options)
    action.shown = setting.name.upper() if setting.positional else None


def field_value(setting: Setting, parsed: Any) -> Any:
    """Returns the value of a config's field from what the parser made of a flag or a YAML key."""
    if setting.optional and parsed in (None, "None", ["None"], [None]):
        return None
    return tuple(parsed) if setting.is_list else parsed


def number_of(setting: Setting) -> Callable[[Any], Any]:
    """Returns what makes a value of a word of the command line, or of a value in a file.

    jsonargparse reads words for numbers as YAML 1.1, without limits: `0x10` and `1:30` would be numbers.

    Args:
        setting: A setting whose values are numbers, or words beside numbers.
    """

    def number(given: Any) -> Any:
        value = yaml_value(given) if isinstance(given, str) else given
        if value in setting.words or (value is None and setting.optional):
            return value
        if isinstance(value, bool) or not isinstance(value, int | setting.kind):
            raise ValueError(f"expected {setting.expected}")
        try:
            return setting.kind(value)
        except OverflowError as error:
            raise ValueError("it is beyond all numbers") from error

    return number


class YesNo(argparse.Action):
    """`--name`, `--name false`, `--no_name`."""

    def __init__(self, option_strings: list[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs="?", const=True, type=truth, **options)

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Stores the value."""
        setattr(namespace, self.dest, values != (option_string == self.option_strings[1]))


class FlagHelp(argparse.HelpFormatter):
    """Help in two columns, each flag once with the kind of value that it takes."""

    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog, **{"max_help_position": 32, **options})

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if name := getattr(action, "shown", None):
            return name
        if isinstance(action, YesNo):
            return ", ".join(action.option_strings)
        return super()._format_action_invocation(action)


def truth(value: object) -> bool:
    """Returns true or false for a word that means it."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _TRUTH:
        return _TRUTH[value.lower()]
    raise ValueError(f"expected true or false, received {value}")


def suggested_setting(name: str, settings: Mapping[str, Setting], *, dashes: str = "") -> str:
    """Returns the end of an error message for an unknown setting.

    Args:
        name: Its name.
        settings: The settings by name.
        dashes: What to put before a name that is suggested.

    Returns:
        `; did you mean ...?`, or how to list the settings.
    """
    word = name.replace("-", "_")
    if word in _DENSITY and "density" in settings:
        return f"; did you mean {dashes}density, the fraction that is kept?"
    off = (f"no_{each.name}" for each in settings.values() if each.kind is bool and dashes)
    near = suggestion(word, (*settings, *off))
    return near.replace("mean ", f"mean {dashes}") or "; --help lists them all"


def unknown_flag(name: str, settings: Mapping[str, Setting]) -> str:
    """Returns the error message for an unknown flag.

    Args:
        name: The flag, without its dashes.
        settings: The settings by name.

    Returns:
        One line.
    """
    return f"unknown flag --{name}{suggested_setting(name, settings, dashes='--')}"


def usage(setting: Setting) -> str:
    """Returns how the usage line shows a positional setting."""
    name = f"{setting.name.upper()} ..." if setting.is_list else setting.name.upper()
    return name if setting.default is MISSING else f"[{name}]"


def with_flags(words: Sequence[str], settings: Mapping[str, Setting]) -> list[str]:
    """Turns the words that stand without a flag into flags, wherever they stand.

    argparse rejects positional arguments that follow a flag with an optional value, or that are in two places.

    Args:
        words: The command line's words.
        settings: The settings by name; positional ones are given in this order, and the last one may be a list.

    Returns:
        The same settings, all with flags.

    Raises:
        ConfigError: A flag is unknown, a setting is given twice, or there are too many words.
    """
    rest, found = _separated(list(words), settings)
    given: dict[str, list[str]] = {}
    positional = [each for each in settings.values() if each.positional]
    for each in positional:
        if not found:
            break
        count = len(found) if each.is_list else 1
        given[each.name], found = found[:count], found[count:]
    if found:
        raise ConfigError(f"expected {' '.join(map(usage, positional))} and flags, received {found[0]!r}, too")
    for name, values in given.items():
        if any(word.partition("=")[0] == f"--{name}" for word in rest):
            raise ConfigError(f"{name} is given twice, as {values[0]!r} and as --{name}; give it once")
        rest += [f"--{name}", *values] if settings[name].is_list else [f"--{name}={values[0]}"]
    return rest


def _separated(words: list[str], settings: Mapping[str, Setting]) -> tuple[list[str], list[str]]:
    """Flags with their values, and the other words."""
    rest: list[str] = []
    found: list[str] = []
    while words:
        word = words.pop(0)
        if word == "--":
            return rest, found + words
        if not word.startswith("--") and word != "-h":
            found.append(word)
            continue
        rest.append(word)
        if "=" in word or word == "-h":
            continue
        count = _value_count(word.removeprefix("--"), words, settings)
        rest += words[:count]
        del words[:count]
    return rest, found


def _value_count(name: str, words: Sequence[str], settings: Mapping[str, Setting]) -> int:
    """Counts the words after a flag that belong to it."""
    following = next((index for index, word in enumerate(words) if word.startswith("--")), len(words))
    if name in _VALUES_OF_OTHERS:
        return min(_VALUES_OF_OTHERS[name], following)
    setting = settings.get(name) or settings.get(name.removeprefix("no_"))
    if setting is None or (setting.name != name and setting.kind is not bool):
        raise ConfigError(unknown_flag(name, settings))
    if setting.is_list:
        fits = [_is_value(setting, word) for word in words[:following]]
        return max(1, fits.index(False)) if False in fits else following
    optional = setting.kind is bool or "on" in setting.choices
    if optional and not (words and _is_value(setting, words[0])):
        return 0
    return min(1, following)


def _is_value(setting: Setting, word: str) -> bool:
    """Returns whether a word can be a value of a setting, or one of its values."""
    if word == "None" or setting.kind is str or word in setting.words:
        return True
    if setting.choices:
        return word in setting.choices
    try:
        (truth if setting.kind is bool else setting.kind)(word)
    except ValueError:
        return False
    return True
