"""The floors of the house: which packages may import which, read from the code."""

import ast
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tfprune"

# From the ground up; what is in one line does not import its neighbors. Recipes stand on the library.
LIBRARY = (
    ("errors",),
    ("files", "cluster", "console", "settings", "keras_private"),
    ("masks", "ops", "optimizers", "dpp"),
    ("layers",),
    ("graph",),
    ("criteria", "exporting", "report"),
    ("pruning",),
    ("search",),
)
RECIPES = (
    ("data", "models", "run_config"),
    ("training", "catalog", "evaluate_config", "sanity_config", "sanity_table"),
    ("method", "evaluate", "dpp"),
    ("ekg", "peekaboo", "multiprize", "tickets"),
    ("sanity",),
)
FLOORS = (*LIBRARY, *(tuple(f"recipes.{name}" for name in names) for names in RECIPES), ("cli",), ("__main__",))
HEIGHT = {name: height for height, names in enumerate(FLOORS) for name in names}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.name != "__init__.py")


@cache
def imported(path):
    """Modules of this package that a file imports, inside functions, too."""
    return tuple(_imported(path))


def _imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE.name:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name.split(".")[0] == PACKAGE.name)


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
