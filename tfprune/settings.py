"""Settings of commands and methods: flags, YAML keys, help texts and checks follow from one declaration of each.

A config is a frozen dataclass that derives from `Settings` and declares each field by `setting`:

    @dataclass(frozen=True)
    class MyConfig(Settings):
        density: float = setting(0.3, "Fraction of the weights that is kept.", group="pruning", above=0, at_most=1)
"""

import math
import os
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, make_dataclass
from inspect import get_annotations
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from tfprune.errors import CheckpointError, ConfigError
from tfprune.reprs import described
from tfprune.tables import shortened

_WORDS: dict[Any, tuple[str, str]] = {
    bool: ("true or false", ""),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("text", "texts"),
}
_TYPES: dict[Any, Any] = {bool: bool, int: Integral, float: Real, str: str}
_RECEIVED = 120  # characters of a value in a message
_MOST_BITS = 1000  # of a whole number that a message shows
LARGEST = 2**31 - 1
"""The largest whole number: counts, sizes and seeds fit into 32 bits, as TensorFlow and NumPy take them."""


def setting(
    default: Any = MISSING,
    help: str | None = None,
    *,
    if_none: str | None = None,
    group: str | None = None,
    above: float | None = None,
    below: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    nonempty: bool | None = None,
    distinct: bool | None = None,
    positional: bool | None = None,
    recorded: bool | None = None,
    from_file_name: bool | None = None,
    path: Literal["file", "folder"] | None = None,
    kw_only: bool = False,
) -> Any:
    """Declares a setting, as the value of a field of a `Settings` dataclass.

    A subclass that changes only the default assigns it without `setting`. If it does use `setting`, it inherits all
    that it leaves out, except the default.

    Args:
        default: The default. Without one, the setting must be given.
        help: What it means, in sentences.
        if_none: What the default `None` stands for, for the help.
        group: Title of the section of the help that lists it. Default: "settings".
        above: Lower bound of the value, excluded. The bounds of a list hold for its elements.
        below: Upper bound, excluded.
        at_least: Lower bound, included.
        at_most: Upper bound, included.
        nonempty: Whether a list must have an element. Default: False.
        distinct: Whether the elements of a list must differ. Default: False.
        positional: Whether the command line gives it without a flag. Default: False. The last one may be a list.
        recorded: Whether it decides the result, and is part of `Settings.settings`. Default: True.
        from_file_name: Whether a YAML file that does not contain it sets it to the file's name. Default: False.
        path: Whether it names a file or a folder of this machine, see `Settings.portable`. Default: neither.
        kw_only: Whether Python code must give it by name.

    Returns:
        A dataclass field.
    """
    declared = {
        "help": help,
        "if_none": if_none,
        "group": group,
        "above": above,
        "below": below,
        "at_least": at_least,
        "at_most": at_most,
        "nonempty": nonempty,
        "distinct": distinct,
        "positional": positional,
        "recorded": recorded,
        "from_file_name": from_file_name,
        "path": path,
    }
    metadata = {"setting": {name: value for name, value in declared.items() if value is not None}}
    return field(default=default, metadata=metadata, kw_only=True if kw_only else MISSING)


def same_setting(config_class: type["Settings"], name: str) -> Any:
    """Declares a setting as another class does: with the same default, help, group and bounds.

    Args:
        config_class: The other class.
        name: The setting there; a field of the same type.

    Returns:
        A dataclass field.
    """
    default = next(each.default for each in fields(config_class) if each.name == name)
    return field(default=default, metadata={"setting": _declarations(config_class)[name]})


@dataclass(frozen=True)
class Setting:
    """A setting as declared; the arguments of `setting` with what the field says.

    Attributes:
        name: Name of the field; `--name` is the flag and `name` the YAML key.
        kind: `bool`, `int`, `float`, `str` or a `Literal`; of the elements, for a list.
        words: Words that it may be instead, for `int | Literal["random"]`; no bounds hold for them.
        is_list: Whether it takes several values, separated by blanks or as a YAML list.
        optional: Whether it may be `None`.
        default: Its default; `dataclasses.MISSING` if it must be given.
    """

    name: str
    kind: Any
    is_list: bool
    optional: bool
    default: Any
    help: str = ""
    if_none: str = ""
    group: str = "settings"
    above: float | None = None
    below: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    nonempty: bool = False
    distinct: bool = False
    positional: bool = False
    recorded: bool = True
    from_file_name: bool = False
    words: tuple[str, ...] = ()
    path: str = ""

    @classmethod
    def from_field(cls, each: Field, annotation: Any, declared: Mapping[str, Any]) -> "Setting":
        """Creates the setting of a dataclass field.

        Args:
            each: The field.
            annotation: Its resolved type: `bool`, `int`, `float`, `str`, `Literal[...]`, one of these with words,
                `int | Literal["random"]`, or `tuple[kind, ...]` of one of these, each perhaps `| None`.
            declared: The arguments of `setting`.

        Raises:
            TypeError: The type is none of these, or there is no help: an error in the program.
        """
        if not declared.get("help"):
            raise TypeError(f"setting {each.name}: expected a help text, received none; declare it by setting()")
        kind, optional = _without_none(annotation)
        is_list = get_origin(kind) is tuple and get_args(kind)[1:] == (Ellipsis,)
        if is_list:
            kind = get_args(kind)[0]
        kind, words = _without_words(kind)
        if kind not in _WORDS and get_origin(kind) is not Literal:
            raise TypeError(f"setting {each.name}: no flag for the type {annotation}")
        return cls(each.name, kind, is_list, optional, each.default, **declared, words=words)

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values of a `Literal`; empty for other kinds."""
        return get_args(self.kind) if get_origin(self.kind) is Literal else ()

    @property
    def expected(self) -> str:
        """The kind of value that it takes, in words."""
        words = _listed(self.choices) if self.choices else _WORDS[self.kind][self.is_list]
        return " or ".join([words, *self.words, *(["None"] if self.optional else [])])

    @property
    def help_text(self) -> str:
        """The help with the default."""
        if self.default is MISSING:
            return f"{self.help} (must be given)"
        if self.default is None and self.if_none:
            return f"{self.help} Default: {self.if_none}."
        if isinstance(self.default, bool):
            return f"{self.help} (default: {str(self.default).lower()})"
        return f"{self.help} (default: {'none' if self.default in ((), None) else shown(self.default)})"

    def value(self, given: Any) -> Any:
        """Returns what is given as the value of the field: a tuple for any list, Python's numbers for NumPy's.

        Args:
            given: What Python code, a flag or a file gives.

        Raises:
            ConfigError: It has another type, is none of the choices, or is out of bounds.
        """
        if given is None:
            require(self.optional, self.name, self.expected, None)
            return None
        if not self.is_list:
            value = self._single(given, given)
        elif isinstance(given, list | tuple):
            value = tuple(self._single(each, given) for each in given)
        else:
            raise _unexpected(self.name, self.expected, described(given))
        self._check(value, tuple(given) if self.is_list else given)
        return value

    def _single(self, each: Any, given: Any) -> Any:
        """Returns one value as Python's own type; raises `ConfigError` if it has another type."""
        kind = type(self.choices[0]) if self.choices else self.kind
        if isinstance(each, str) and (kind is str or each in self.words):
            require("\0" not in each, self.name, "text without null characters", described(given))
            require(bool(each.strip()) or not self.path, self.name, f"the path of a {self.path}", described(given))
            return each
        if kind is str and isinstance(each, os.PathLike) and not self.choices:
            return self._single(os.fspath(each), given)
        if not isinstance(each, _TYPES[kind]) or (kind is not bool and isinstance(each, bool)):
            raise _unexpected(self.name, self.expected, described(given))
        try:
            return kind(each)
        except OverflowError:
            return math.inf

    def _check(self, value: Any, given: Any) -> None:
        """Raises `ConfigError` if a value is none of the choices, or out of bounds."""
        values = value if self.is_list else (value,)
        values = [each for each in values if each not in self.words] if self.words else values
        require(bool(values) or not self.nonempty, self.name, "at least one value", given)
        require(not self.distinct or len(set(values)) == len(values), self.name, "values that differ", given)
        if self.choices:
            require(all(each in self.choices for each in values), self.name, _listed(self.choices), given)
        elif not all(map(self._in_bounds, values)):
            # A percentage is the usual mistake.
            half = self.above == 0 and self.at_most == 1 and any(each > 1 for each in values)
            message = f"{'values' if self.is_list else 'a value'} {self._bounds}"
            raise _unexpected(self.name, message, given, "; half is 0.5" if half else "")
        elif self.kind is int:
            words = f"{_WORDS[int][self.is_list]} from {-LARGEST} to {LARGEST}"
            require(all(abs(each) <= LARGEST for each in values), self.name, words, given)
        elif self.kind is float:
            words = "finite numbers" if self.is_list else "a finite number"
            require(all(map(math.isfinite, values)), self.name, words, given)

    def _in_bounds(self, value: Any) -> bool:
        return (
            (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
        )

    @property
    def _bounds(self) -> str:
        if self.above is not None and self.below is not None:
            return f"between {self.above:g} and {self.below:g}"
        if self.at_least is not None and self.at_most is not None:
            return f"from {self.at_least:g} to {self.at_most:g}"
        words = {"above": self.above, "of at least": self.at_least, "below": self.below, "at most": self.at_most}
        return " and ".join(f"{word} {bound:g}" for word, bound in words.items() if bound is not None)


@dataclass(frozen=True)
class Settings:
    """Base class of configs: checks the types, choices and bounds of its settings when it is created.

    Lists may be given for tuples, NumPy's numbers for Python's, and paths for texts.

    A subclass whose settings depend on each other extends `__post_init__`.
    """

    HELP_ORDER: ClassVar[tuple[str, ...]] = ()
    """Titles of the groups that come first in the help; the others follow in the order of the fields."""

    def __post_init__(self) -> None:
        for name, each in settings_of(type(self)).items():
            object.__setattr__(self, name, each.value(getattr(self, name)))

    def settings(self) -> dict[str, object]:
        """Returns the settings that decide the result, as plain values for a YAML file."""
        recorded = [name for name, each in settings_of(type(self)).items() if each.recorded]
        values = {name: getattr(self, name) for name in recorded}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def portable(self) -> dict[str, object]:
        """Returns `settings()` for other machines: without folders of this one, and of files only their names."""
        values = self.settings()
        for name, each in settings_of(type(self)).items():
            value = values.get(name)
            if each.path == "folder":
                values.pop(name, None)
            elif each.path == "file" and isinstance(value, str):
                values[name] = Path(value).name
        return values

    def changed(self, names: Sequence[str]) -> list[str]:
        """Returns those of the named settings that differ from their defaults."""
        known = settings_of(type(self))
        return [name for name in names if getattr(self, name) != known[name].default]


C = TypeVar("C", bound=Settings)


def settings_of(config_class: type) -> Mapping[str, Setting]:
    """Returns the settings of a config class by name, in the order of its fields.

    Args:
        config_class: A dataclass whose fields `setting` declares, in it or in a class that it derives from.

    Raises:
        TypeError: A field has no help, or a type that no flag can have: an error in the program.
    """
    annotations = get_type_hints(config_class)
    declared = _declarations(config_class)
    return {
        each.name: Setting.from_field(each, annotations[each.name], declared[each.name])
        for each in fields(config_class)
    }


def preset(
    name: str, config_class: type[C], defaults: Mapping[str, object], *, more: type[Settings] | None = None
) -> type[C]:
    """Returns a config class with the settings of another one and other defaults.

    Args:
        name: Name of the class.
        config_class: The other class.
        defaults: The new defaults by the name of the setting.
        more: A class whose settings come in addition, or replace those of the same name.

    Raises:
        TypeError: There is no setting of one of the names: an error in the program.
    """
    known = settings_of(config_class)
    if unknown := [each for each in defaults if each not in known]:
        raise TypeError(f"preset of {config_class.__name__}: no setting {', '.join(unknown)}")
    annotations = get_type_hints(config_class)
    return make_dataclass(
        name,
        [(each, annotations[each], default) for each, default in defaults.items()],
        bases=(config_class,) if more is None else (more, config_class),
        namespace={"__doc__": config_class.__doc__, "__module__": config_class.__module__},
        frozen=True,
    )


def require(holds: bool, name: str, expected: str, received: object) -> None:
    """Raises an error in the uniform style if a setting is not as expected.

    Args:
        holds: Whether it is.
        name: Name of the setting.
        expected: What it should be, in words.
        received: Its value.

    Raises:
        ConfigError: `--name: expected ..., received ...`.
    """
    if not holds:
        raise _unexpected(name, expected, received)


def shown(value: object) -> str:
    """Returns a value as a command line has it."""
    if isinstance(value, tuple):
        return " ".join(map(shown, value)) or "nothing"
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:  # Python does not write the longest at all
        return f"a number of {value.bit_length()} bits"
    return str(value)


def check_model_file(path: str | None, *, suffixes: Sequence[str] = (".keras",)) -> None:
    """Checks, before TensorFlow is imported, that a model can be read.

    Args:
        path: The file; None if there is none to read.
        suffixes: Suffixes that it may have, `.keras` first.

    Raises:
        CheckpointError: There is no such file, or it is of another kind.
    """
    if path is None:
        return
    kinds = " or ".join(suffixes)
    if Path(path).is_dir():
        raise CheckpointError(f"expected a {kinds} file, {path} is a folder; name a file")
    if not Path(path).exists():
        raise CheckpointError(f"expected a {kinds} file, {path} does not exist; check the path")
    if Path(path).suffix not in suffixes:
        weights = Path(path).suffix in (".h5", ".hdf5")
        way = "save the model with model.save('name.keras')" if weights else "name the file that it was made from"
        raise CheckpointError(f"expected a {kinds} file, received {path}; {way}")


def _unexpected(name: str, expected: str, received: object, hint: str = "") -> ConfigError:
    return ConfigError(f"--{name}: expected {expected}, received {shortened(shown(received), _RECEIVED)}{hint}")


def _listed(choices: Sequence[Any]) -> str:
    *most, last = map(str, choices)
    return f"{', '.join(most)} or {last}" if most else last


def _declarations(config_class: type) -> dict[str, dict[str, Any]]:
    """Returns the arguments of `setting` for each field; a subclass inherits what it omits."""
    declared: dict[str, dict[str, Any]] = {}
    for base in reversed(config_class.__mro__):
        own = vars(base).get("__dataclass_fields__", {})
        for name in get_annotations(base):
            if name in own:
                declared[name] = declared.get(name, {}) | own[name].metadata.get("setting", {})
    return declared


def _without_words(kind: Any) -> tuple[Any, tuple[str, ...]]:
    """Splits `int | Literal["random"]` into `int` and the words."""
    if get_origin(kind) in (Union, types.UnionType):
        words = [word for each in get_args(kind) for word in get_args(each) if get_origin(each) is Literal]
        kinds = [each for each in get_args(kind) if get_origin(each) is not Literal]
        if words and len(kinds) == 1:
            return kinds[0], tuple(words)
    return kind, ()


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        if len(kinds) == 1:
            return kinds[0], True
    return annotation, False
