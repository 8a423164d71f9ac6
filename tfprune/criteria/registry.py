"""Criteria by name: those of channels, those of single weights and those of residual blocks.

A class becomes a criterion when it is registered under a name. From then on the name can be used wherever a criterion
is asked for: `plan_channels(model, "mine")`, `criterion("mine")`, `tfprune prune --plugin my_module --criterion mine`.
An installed package may also name its criteria as entry points of the group `tfprune.criteria`: they are imported when
one of them is asked for.

The built-in criteria are listed below, with what a program needs to know before it imports TensorFlow; their classes
are imported on first use. Importing this module imports neither TensorFlow nor Keras.
"""

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from tfprune.errors import ConfigError, suggestion
from tfprune.reprs import described

Kind = Literal["channels", "weights", "blocks"]
"""What a criterion scores; a setting of its own names those for residual blocks, so other settings do not find them."""

DataUse = Literal["never", "optional", "always"]
"""Whether a criterion uses data: never, if there is some, or not without it."""

ENTRY_POINTS = "tfprune.criteria"
_DATA_NOTES: dict[DataUse, str] = {"never": "", "optional": "; uses data if given", "always": "; needs data"}
_SCORED: dict[Kind, str] = {
    "channels": "channels, for tfprune.plan_channels",
    "weights": "single weights, for masks (tfprune.criteria.weight_criterion)",
    "blocks": "residual blocks, for depth_criterion of tfprune.plan_channels",
}
_AnyClass = TypeVar("_AnyClass", bound=type)


@dataclass(frozen=True)
class CriterionInfo:
    """What is known of a criterion without importing it.

    Attributes:
        name: The name that it is registered under.
        kind: What it scores, see `Kind`.
        uses_data: Whether it uses data, see `DataUse`.
        help: One line for users, the first sentence of its docstring.
        origin: Where its class is defined, `module:Class`.
    """

    name: str
    kind: Kind
    uses_data: DataUse
    help: str
    origin: str


def _built_in(kind: Kind, module: str, *rows: tuple[str, str, DataUse, str]) -> list[CriterionInfo]:
    path = f"tfprune.criteria.{kind}.{module}"
    return [CriterionInfo(name, kind, uses_data, help, f"{path}:{cls}") for name, cls, uses_data, help in rows]


_INFOS: dict[tuple[Kind, str], CriterionInfo] = {
    (info.kind, info.name): info
    for info in (
        *_built_in(
            "channels",
            "magnitude",
            ("l1", "L1", "never", "L1 norm of the kernel slices that produce and read a channel."),
            ("l2", "L2", "never", "L2 norm of the kernel slices that produce and read a channel."),
            ("bn_scale", "BNScale", "never", "Absolute scale, gamma, of a channel's batch norm."),
            ("fpgm", "FPGM", "never", "Distance of a channel's filter from the other filters of its layer."),
            ("random", "Random", "never", "Random scores, the baseline of every other criterion."),
        ),
        *_built_in(
            "channels",
            "gradient",
            ("taylor", "Taylor", "always", "First-order change of the loss if a channel's filter is removed."),
            ("ekg", "EKG", "always", "Importance of the gates by which EKG's search ranks channels."),
        ),
        *_built_in(
            "channels",
            "dpp",
            ("dpp_node", "DPPNode", "optional", "Diverse channels, drawn by one k-DPP for each group."),
        ),
        *_built_in(
            "channels",
            "reading",
            (
                "flap",
                "FLAP",
                "always",
                "Fluctuation of a channel on data, times the squared norm of the weights that read it.",
            ),
            (
                "ziplm",
                "ZipLM",
                "always",
                "Error of the layers that read a channel, after least squares on all channels that are left.",
            ),
        ),
        *_built_in(
            "weights",
            "magnitude",
            ("magnitude", "Magnitude", "never", "Absolute value of a weight."),
            ("lottery", "Lottery", "never", "Absolute value of a weight; dense layers are not pruned."),
            ("random", "RandomWeights", "never", "Random scores, the baseline of every other criterion."),
        ),
        *_built_in(
            "weights",
            "gradient",
            ("snip", "SNIP", "always", "Connection sensitivity: absolute product of a weight and its gradient."),
            ("grad_norm", "GradNorm", "always", "Absolute gradient of the loss by a weight."),
            ("fisher", "Fisher", "always", "Squared weight times its entry of the empirical Fisher matrix."),
        ),
        *_built_in(
            "weights",
            "grasp",
            ("grasp", "GraSP", "always", "Gradient flow: keeps weights whose removal reduces the gradient norm."),
        ),
        *_built_in(
            "weights",
            "synflow",
            ("synflow", "SynFlow", "optional", "Synaptic flow: a weight's share of all paths from input to output."),
        ),
        *_built_in(
            "weights",
            "smart_ratio",
            ("smart_ratio", "SmartRatio", "never", "A decreasing fraction per layer, of random weights."),
            ("hybrid", "Hybrid", "never", "The fractions of smart_ratio, of the largest weights."),
        ),
        *_built_in(
            "weights",
            "activations",
            (
                "wanda",
                "Wanda",
                "always",
                "Absolute weight times the norm of its input, compared within each output channel.",
            ),
            (
                "ria",
                "RIA",
                "always",
                "Share of a weight in its output and in its input, times a power of the norm of its input.",
            ),
        ),
        *_built_in(
            "weights",
            "sparsegpt",
            (
                "sparsegpt",
                "SparseGPT",
                "always",
                "Error of a layer's outputs after the remaining weights have made up for a removed one.",
            ),
        ),
        *_built_in(
            "weights",
            "dpp",
            ("dpp_edge", "DPPEdge", "always", "Diverse weights of each channel, drawn by k-DPPs."),
        ),
        *_built_in(
            "blocks",
            "influence",
            ("cosine", "Cosine", "always", "Change of direction from a block's input to its output, 1 - cosine."),
            ("taylor", "BlockTaylor", "always", "First-order change of the loss if a block is left out."),
            ("loss", "LossIncrease", "always", "Loss of the model without a block, minus its loss with it."),
        ),
        *_built_in(
            "blocks",
            "magnitude",
            ("l1", "BlockL1", "never", "Sum of the absolute values of a block's kernels."),
            ("random", "RandomBlocks", "never", "Random scores, the baseline of every other criterion."),
        ),
    )
}
_CLASSES: dict[tuple[Kind, str], type] = {}


def register_criterion(name: str) -> Callable[[_AnyClass], _AnyClass]:
    """Registers a class of criteria under a name.

    Args:
        name: The name. Unless the class has attributes `name` and `uses_data`, they are set to it and to `optional`.

    Returns:
        A decorator for a class that can be created without arguments: a subclass of `WeightCriterion`, which scores
        weights, a class with the attribute `kind = "blocks"` and a method `scores(model, blocks, data)`, or any class
        with a method `scores(model, groups, data)`, which scores channels, see `Criterion`.

    Raises:
        ConfigError: The name belongs to another class, or the class has no method `scores` of three arguments.

    Example:
        >>> import numpy as np
        >>> @register_criterion("first")
        ... class First:
        ...     def scores(self, model, groups, data=None):
        ...         return -np.arange(groups.channels, dtype=float)
        >>> criterion("first").name
        'first'
    """

    def add(cls: _AnyClass) -> _AnyClass:
        _check(name, cls)
        kind: Kind = next((each for each in get_args(Kind) if each == getattr(cls, "kind", None)), "channels")
        origin = f"{cls.__module__}:{cls.__qualname__}"
        known = _INFOS.get((kind, name))
        # A class that is defined again, as in a notebook, replaces itself; it must not replace another one.
        if known is not None and known.origin != origin:
            owner = known.origin.partition(":")[2]
            raise ConfigError(f"criterion {name!r} is {owner} already; register yours under another name")
        other = next((each for (_, each), taken in _CLASSES.items() if taken is cls and each != name), None)
        if other is not None:
            raise ConfigError(f"criterion {name!r}: {cls.__name__} is criterion {other!r} already; derive from it")
        if kind == "weights" or not hasattr(cls, "name"):
            cls.name = name  # type: ignore[attr-defined]
        if not hasattr(cls, "uses_data"):
            cls.uses_data = "optional"  # type: ignore[attr-defined]
        _INFOS[kind, name] = CriterionInfo(name, kind, cls.uses_data, _summary(cls), origin)  # type: ignore[attr-defined]
        _CLASSES[kind, name] = cls
        return cls

    return add


def _check(name: object, cls: object) -> None:
    """Raises ConfigError unless a name and a class can be registered."""
    if not (isinstance(name, str) and name):
        raise ConfigError(f"criterion {name!r}: expected a name, such as 'mine'")
    method = getattr(cls, "scores", None)
    if not (isinstance(cls, type) and callable(method)) or getattr(method, "__isabstractmethod__", False):
        raise ConfigError(f"criterion {name!r}: expected a class with a method scores, received {cls!r}")
    try:
        inspect.signature(method).bind("self", "model", "channels or weights", "data")
    except TypeError as error:
        raise ConfigError(
            f"criterion {name!r}: expected a method scores(self, model, groups, data=None) for channels, or "
            f"scores(self, model, weights, data=None) for weights, received scores{inspect.signature(method)}; "
            "change its arguments"
        ) from error
    uses = getattr(cls, "uses_data", "optional")
    if uses not in get_args(DataUse):
        choices = ", ".join(get_args(DataUse))
        raise ConfigError(f"criterion {name!r}: expected uses_data of {choices}, received {uses!r}")


def criterion(name: str, *, kind: Kind | None = None, **settings: Any) -> Any:
    """Creates a criterion.

    Args:
        name: One of `criterion_names()`.
        kind: What it scores. Needed for blocks, and for a name that criteria for channels and for weights have, such as
            `random`.
        **settings: Settings of the criterion, its fields.

    Returns:
        The criterion: a `Criterion` if it scores channels, a `WeightCriterion` if it scores weights, a `BlockCriterion`
        if it scores blocks.

    Raises:
        ConfigError: There is no such criterion, it has no such setting, or the name is ambiguous.

    Example:
        >>> criterion("magnitude", scope="local")
        Magnitude(iterations=1, schedule='exponential', scope='local', ignore=(), original_ties=False, revive=False)
    """
    if kind is not None and kind not in get_args(Kind):
        raise ConfigError(f"kind: expected one of {', '.join(get_args(Kind))}, received {kind!r}")
    info = find_criterion(name, kind)
    if info is None:
        what = "a criterion" if kind is None else f"a criterion for {kind}"
        other = find_criterion(name)
        way = suggestion(name, criterion_names(kind)) or "; use one of these"
        if other is not None:
            way = f", which scores {_SCORED[other.kind]}; use one of these"
        raise ConfigError(
            f"expected {what} of {', '.join(criterion_names(kind))}, received {name!r}{way}"
            f"{'' if way.endswith('?') else ', or add it with tfprune.criteria.register_criterion'}"
        )
    if kind is None and all(find_criterion(name, each) for each in _kinds(kind)):
        raise ConfigError(f"criterion {name!r}: there is one for channels and one for weights; give kind=")
    cls = _class_of(info)
    known = _settings_of(cls)
    unknown = sorted(set(settings) - known.keys())
    if unknown:
        raise ConfigError(f"criterion {name}: expected settings of {', '.join(known)}, received {unknown[0]}")
    return cls(**settings)


def given_criterion(given: Any, kind: Kind, setting: str = "") -> Any:
    """Returns the criterion that a name, an object or a class stands for; the last two with their settings.

    Args:
        given: A name of `criterion_names(kind)`, a criterion, or a class of criteria.
        kind: What it scores.
        setting: The setting that a user gives it as, for the message.

    Raises:
        ConfigError: There is no such criterion.
    """
    if isinstance(given, str):
        return criterion(given, kind=kind)
    if not callable(getattr(given, "scores", None)):
        raise ConfigError(
            f"{setting}{setting and ': '}expected a criterion's name ({', '.join(criterion_names(kind))}) or an object "
            f"with a method scores, received {described(given)}"
        )
    return given() if isinstance(given, type) else given


def criterion_names(kind: Kind | None = None) -> tuple[str, ...]:
    """Returns the names of all criteria in alphabetical order, those of installed packages included.

    Args:
        kind: Only those for one kind. Default: those for channels and for weights.
    """
    for point in _entry_points().values():
        _load_entry_point(point)
    return tuple(sorted({info.name for info in registered_criteria(kind)}))


def registered_criteria(kind: Kind | None = None) -> tuple[CriterionInfo, ...]:
    """Returns what is known of the built-in criteria and those that were registered; imports nothing.

    Args:
        kind: Only those for one kind. Default: those for channels and for weights.
    """
    return tuple(info for info in _INFOS.values() if info.kind in _kinds(kind))


def _kinds(kind: Kind | None) -> tuple[Kind, ...]:
    """Returns the kinds that are meant where perhaps none is named."""
    return ("channels", "weights") if kind is None else (kind,)


def find_criterion(name: str, kind: Kind | None = None) -> CriterionInfo | None:
    """Returns what is known of a criterion; None if there is none of this name.

    Imports a package only if one of its entry points has this name.

    Args:
        name: The name.
        kind: What it scores. Default: channels or weights, channels first.

    Raises:
        ConfigError: The entry point cannot be imported.
    """
    if not any(info.name == name for info in _INFOS.values()) and (point := _entry_points().get(name)) is not None:
        _load_entry_point(point)
    return next((_INFOS[each, name] for each in _kinds(kind) if (each, name) in _INFOS), None)


def installed_criteria() -> Mapping[str, str]:
    """Returns the names of criteria that installed packages have as entry points, and the packages; imports nothing."""
    return {name: point.dist.name if point.dist else point.module for name, point in _entry_points().items()}


def depth_criterion_help() -> str:
    """Returns the help on a setting that names a criterion for residual blocks; imports nothing."""
    return f"How residual blocks are scored: {', '.join(map(_described, registered_criteria('blocks')))}."


def criterion_help() -> str:
    """Returns the help on a setting that names a criterion: all that are known; imports nothing."""
    channels, weights = (", ".join(map(_described, registered_criteria(kind))) for kind in ("channels", "weights"))
    installed = ", ".join(f"{name} (of {package})" for name, package in installed_criteria().items())
    return (
        f"How channels are scored: {channels}. How weights are scored: {weights}. "
        f"{f'From installed packages: {installed}. ' if installed else ''}--plugin adds others."
    )


def _described(info: CriterionInfo) -> str:
    text = info.help.rstrip(".")
    first = text[0] if text[1:2].isupper() else text[0].lower()
    return f"{info.name} ({first}{text[1:]}{_DATA_NOTES[info.uses_data]})"


def load_plugins(modules: Iterable[str]) -> None:
    """Imports modules, of installed packages or of the current folder, that register criteria, methods or layers.

    Args:
        modules: Their names, such as `my_module` or `my_package.criteria`.

    Raises:
        ConfigError: A module cannot be imported.
    """
    folder = str(Path.cwd())
    for module in modules:
        if folder not in sys.path and "" not in sys.path:
            sys.path.insert(0, folder)
        try:
            import_module(module)
        except ConfigError:
            raise
        except (Exception, SystemExit) as error:
            raise ConfigError(
                f"cannot import the plugin {module}: {type(error).__name__}: {error}; expected the name of a module "
                "of the current folder or of an installed package, such as my_module"
            ) from error


def _class_of(info: CriterionInfo) -> type:
    """Imports the class of a built-in criterion, unless that was done; its module registers it."""
    if (info.kind, info.name) not in _CLASSES:
        import_module(info.origin.partition(":")[0])
    return _CLASSES[info.kind, info.name]


def _settings_of(cls: type) -> Mapping[str, Any]:
    """Returns the settings of a class of criteria by name."""
    if is_dataclass(cls):
        return {field.name: field for field in fields(cls) if field.init}
    return inspect.signature(cls).parameters


def _summary(cls: type) -> str:
    """Returns the first sentence of a class's own docstring; where there is none, the class."""
    text = cls.__dict__.get("__doc__") or ""
    first = " ".join(text.strip().partition("\n\n")[0].split())
    if not first or first.startswith(f"{cls.__name__}("):  # what `dataclass` writes
        return f"{cls.__qualname__} of {cls.__module__}."
    return first


@cache
def _entry_points() -> Mapping[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


@cache
def _load_entry_point(point: EntryPoint) -> None:
    """Imports what an entry point names: a module that registers criteria, or a class, which gets the point's name."""
    try:
        loaded = point.load()
    except Exception as error:
        raise ConfigError(
            f"cannot import the criterion {point.name} ({point.value}): {type(error).__name__}: {error}; "
            "repair or remove its package"
        ) from error
    if isinstance(loaded, type) and loaded not in _CLASSES.values():
        register_criterion(point.name)(loaded)
