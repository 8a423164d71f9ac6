import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Literal, get_origin

import pytest

import tfprune

ROOT = Path(__file__).parents[1]
NO_NAMES = {"tfprune.json"}  # a file
RECIPES = ("ekg", "multiprize", "peekaboo", "tickets")
SHORT_NAMES = (*RECIPES, "data", "models", "training")
PACKAGES = (
    "",
    ".criteria",
    ".exporting",
    ".landscape",
    ".search",
    ".recipes",
    *(f".recipes.{name}" for name in RECIPES),
)


@pytest.mark.parametrize("name", PACKAGES)
def test_every_public_name_is_there(name):
    package = importlib.import_module(f"tfprune{name}")
    assert package.__all__
    assert set(package.__all__) <= set(dir(package))
    for each in package.__all__:
        found = getattr(package, each)
        assert found.__doc__ or get_origin(found) is Literal  # aliases have their text in the source
    with pytest.raises(AttributeError, match="nothing"):
        _ = package.nothing


@pytest.mark.parametrize("name", SHORT_NAMES)
def test_recipes_have_short_names(name):
    recipe = importlib.import_module(f"tfprune.recipes.{name}")
    assert importlib.import_module(f"tfprune.{name}") is getattr(tfprune, name) is recipe
    assert recipe.__spec__.name == recipe.__name__ == f"tfprune.recipes.{name}"


def test_a_module_of_a_recipe_is_the_same_under_both_names():
    short = importlib.import_module("tfprune.ekg.config")
    assert short is importlib.import_module("tfprune.recipes.ekg.config")
    with pytest.raises(ModuleNotFoundError, match="nothing"):
        importlib.import_module("tfprune.ekg.nothing")


def test_short_names_are_found_as_other_modules_are():
    assert importlib.util.find_spec("tfprune.ekg.nothing") is None
    with pytest.raises(ModuleNotFoundError) as raised:
        importlib.import_module("tfprune.ekg.nothing")
    assert raised.value.name == "tfprune.ekg.nothing"
    spec = importlib.util.find_spec("tfprune.ekg.config")
    assert spec.origin == importlib.import_module("tfprune.recipes.ekg.config").__file__
    command = [sys.executable, "-m", "tfprune.tickets.nothing"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "No module named tfprune.tickets.nothing" in done.stderr


def test_importing_the_package_imports_no_tensorflow():
    code = (
        "import sys, tfprune, tfprune.recipes.ekg\nprint(sorted({'tensorflow', 'keras', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.slow
def test_a_function_is_not_hidden_by_its_module():
    code = "import tfprune.recipes.tickets.pruning as module\nimport tfprune\n"
    subprocess.run([sys.executable, "-c", f"{code}assert callable(tfprune.tickets.find_ticket)"], check=True)


def test_names_in_the_documentation_need_no_other_import():
    """Every `tfprune.a.b` of the pages is an attribute after `import tfprune` alone."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages if page.name != "DESIGN.md")
    names = sorted(set(re.findall(r"(?<![\w/.])tfprune(?:\.[A-Za-z]\w*)+(?![\w.]*[/])", text)) - NO_NAMES)
    assert len(names) > 25
    code = (
        "import sys, tfprune\n"
        "def known(name):\n"
        "    value = tfprune\n"
        "    for part in name.split('.')[1:]:\n"
        "        value = getattr(value, part, None)\n"
        "    return value is not None\n"
        "print([name for name in sys.argv[1:] if not known(name)])"
    )
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
