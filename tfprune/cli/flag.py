"""One setting as a flag of the command line."""

import argparse
import types
from dataclasses import MISSING, Field, dataclass
from typing import Any, Literal, Union, get_args, get_origin

_WORDS: dict[Any, tuple[str, str]] = {
    bool: ("true or false", ""),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("a text", "texts"),
}
_METAVARS = {int: "N", float: "X", str: "TEXT"}
_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True)
class Flag:
    """A setting of a configuration class, and how it looks on the command line.

    Attributes:
        name: Of the field; `--name` is the flag and `name` the YAML key.
        kind: `bool`, `int`, `float`, `str`, or a `Literal`; of the elements, for a list.
        is_list: Whether it takes several values, blank-separated or as a YAML list.
        optional: Whether it may be `None`.
        default: Its default; `dataclasses.MISSING` if there is none.
        help: What it means.
    """

    name: str
    kind: Any
    is_list: bool
    optional: bool
    default: Any
    help: str

    @classmethod
    def of(cls, field: Field, annotation: Any, help: str) -> "Flag":
        """The flag of a dataclass field.

        Args:
            field: The field.
            annotation: Its resolved type: `bool`, `int`, `float`, `str`, `Literal[...]`, `tuple[kind, ...]`, each
                perhaps `| None`.
            help: What it means.

        Raises:
            TypeError: The type is none of these, or there is no help: a fault of the program.
        """
        if not help:
            raise TypeError(f"setting {field.name}: expected a text on it in its class's docstring, there is none")
        kind, optional = _without_none(annotation)
        is_list = get_origin(kind) is tuple and get_args(kind)[1:] == (Ellipsis,)
        if is_list:
            kind = get_args(kind)[0]
        if kind not in _WORDS and get_origin(kind) is not Literal:
            raise TypeError(f"setting {field.name}: no flag for the type {annotation}")
        default = field.default if field.default_factory is MISSING else field.default_factory()
        return cls(field.name, kind, is_list, optional, default, help)

    @property
    def expected(self) -> str:
        """What it takes, in words."""
        if get_origin(self.kind) is Literal:
            *most, last = map(str, get_args(self.kind))
            words = f"{', '.join(most)} or {last}" if most else last
        else:
            words = _WORDS[self.kind][self.is_list]
        return f"{words} or None" if self.optional else words

    def add_to(self, group: Any, *, shown: str | None = None) -> None:
        """Adds it to a group of arguments of a jsonargparse parser.

        Args:
            group: The group.
            shown: What stands for it in the help. Default: the flag with what it takes.
        """
        options: dict[str, Any] = {"default": None, "help": self._help_text()}
        if self.kind is bool:
            group.add_argument(f"--{self.name}", f"--no_{self.name}", action=YesNo, **options)
            return
        if get_origin(self.kind) is Literal:
            choices = get_args(self.kind)
            options["metavar"] = "{" + ",".join(map(str, choices)) + "}"
            if "on" in choices:  # the flag alone switches it on, as in the original's commands
                options |= {"nargs": "?", "const": "on"}
        else:
            options["metavar"] = _METAVARS[self.kind]
        if self.is_list:
            options["nargs"] = "+"
        action = group.add_argument(f"--{self.name}", type=self.kind | None if self.optional else self.kind, **options)
        action.shown = shown

    def value(self, parsed: Any) -> Any:
        """The field's value from what the parser made of the flag or the YAML key."""
        if self.optional and parsed in (None, "None", ["None"], [None]):
            return None
        return tuple(parsed) if self.is_list else parsed

    def _help_text(self) -> str:
        if self.default is MISSING:
            note = " (must be given)"
        elif self.default is None and "Default:" in self.help:
            note = ""
        else:
            note = f" (default: {_shown(self.default)})"
        return (self.help + note).replace("%", "%%")


class YesNo(argparse.Action):
    """`--name`, `--name false`, `--no_name`."""

    def __init__(self, option_strings: list[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs="?", const=True, type=truth, **options)

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Notes the value."""
        setattr(namespace, self.dest, values != (option_string == self.option_strings[1]))


class FlagHelp(argparse.HelpFormatter):
    """Help in two columns, each flag once with what it takes."""

    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog, **{"max_help_position": 32, **options})

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if shown := getattr(action, "shown", None):
            return shown
        if isinstance(action, YesNo):
            return ", ".join(action.option_strings)
        return super()._format_action_invocation(action)


def truth(value: object) -> bool:
    """True or false from a word for it."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _TRUTH:
        return _TRUTH[value.lower()]
    raise ValueError(f"expected true or false, received {value}")


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        if len(kinds) == 1:
            return kinds[0], True
    return annotation, False


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value == ():
        return "none"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
