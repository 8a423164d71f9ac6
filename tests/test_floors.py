"""The floors of the house: which packages may import which, read from the code."""

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

import tfprune

PACKAGE = Path(__file__).parents[1] / "tfprune"

# From the ground up; what is in one line does not import its neighbors. Recipes stand on the library.
LIBRARY = (
    ("reprs", "tables"),
    ("errors",),
    ("reading", "arrays"),
    ("files", "cluster", "console", "settings", "keras_private"),
    ("locks", "arguments"),
    ("masks", "ops", "optimizers", "dpp"),
    ("layers",),
    ("graph", "model_file"),
    ("batches",),
    ("criteria", "exporting", "report"),
    ("pruning",),
    ("landscape",),
    ("search",),
)
RECIPES = (
    ("data", "models", "run_config"),
    ("training", "catalog", "evaluate_config", "sanity_config", "sanity_table", "record"),
    ("method", "evaluate", "dpp"),
    ("ekg", "peekaboo", "multiprize", "tickets"),
    ("sanity",),
)
FLOORS = (*LIBRARY, *(tuple(f"recipes.{name}" for name in names) for names in RECIPES), ("cli",), ("__main__",))
HEIGHT = {name: height for height, names in enumerate(FLOORS) for name in names}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.name != "__init__.py")


def public_names():
    """Where the names of `tfprune` come from, by `tfprune/__init__.pyi`."""
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    lines = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    short = {name: f"{PACKAGE.name}.recipes.{name}" for name in tfprune._SHORT_NAMES}
    return {
        each.name: short.get(each.name) or f"{PACKAGE.name}.{node.module or each.name}"
        for node in lines
        for each in node.names
    }


PUBLIC = public_names()


@cache
def imported(path):
    """Modules of this package that a file imports or uses as attributes of `tfprune`, inside functions, too."""
    return tuple(module for module in _imported(path) if module != PACKAGE.name)


def _imported(path):
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            above = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            if module.split(".")[0] != PACKAGE.name:
                continue
            yield module
            for each in node.names:
                if module == PACKAGE.name:
                    yield PUBLIC.get(each.name, f"{module}.{each.name}")
                elif (PACKAGE.parent / module.replace(".", "/") / each.name).is_dir():
                    yield f"{module}.{each.name}"
        elif isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name.split(".")[0] == PACKAGE.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == PACKAGE.name:
            yield PUBLIC.get(node.attr, PACKAGE.name)


def room(module):
    """The package that a module belongs to, as `FLOORS` names it; empty for `tfprune` and `tfprune.recipes`."""
    _, *parts = module.split(".")
    return ".".join(parts[:2] if parts[:1] == ["recipes"] and parts[1:] else parts[:1]).removesuffix("recipes")


def name_of(path):
    return ".".join((PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_is_imported_from_the_same_floor_or_above(path):
    own = room(name_of(path))
    for module in imported(path):
        other = room(module)
        assert other == own or not other or HEIGHT[other] < HEIGHT[own], f"{name_of(path)} imports {module}"


def test_the_library_does_not_import_recipes():
    library = {name for names in LIBRARY for name in names}
    importers = {room(name_of(path)) for path in FILES for module in imported(path) if ".recipes" in module}
    assert importers
    assert not importers & library


@pytest.mark.parametrize(
    "line",
    [
        "from tfprune.pruning import plan_channels",
        "from tfprune import recipes",
        "from tfprune import ekg",
        "from tfprune import plan_channels",
        "from .. import pruning",
        "from ..recipes.data import load_data",
        "import tfprune; tfprune.plan_channels",
        "import tfprune.search.ekg",
    ],
)
def test_each_way_to_import_is_seen(line, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path / "tfprune")
    path = tmp_path / "tfprune" / "graph" / "cost.py"
    for folder in (path.parent, tmp_path / "tfprune" / "pruning", tmp_path / "tfprune" / "recipes"):
        folder.mkdir(parents=True)
    path.write_text(f"def f():\n    {line}\n")
    rooms = {room(module) for module in _imported(path)} - {""}
    assert rooms & {"pruning", "search", "recipes.ekg", "recipes.data"} or "tfprune.recipes" in _imported(path)


def test_every_package_has_a_floor():
    rooms = {room(name_of(path)) for path in FILES} - {""}
    assert rooms - set(HEIGHT) == set()


def test_modules_of_a_package_import_each_other_in_one_direction():
    arrows = {name_of(path): set(imported(path)) for path in FILES}
    left = dict(arrows)
    while left:
        free = [name for name, others in left.items() if not (others & left.keys()) - {name}]
        assert free, f"these import each other: {sorted(left)}"
        for name in free:
            del left[name]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_import_is_only_for_type_checkers(path):
    assert "TYPE_CHECKING" not in path.read_text(encoding="utf-8")
