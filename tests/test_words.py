"""The words of the code: docstrings begin with a verb, and phrases that strangers stumble over are not used."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "tfprune").rglob("*.py"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]

# American spelling, and plain words: DESIGN.md has the vocabulary.
AVOIDED = re.compile(
    r"\b(anew|mend(s|ed)?|spoilt|stands? (in|there|afterwards)|in the place of|whatever lies|hands back|ever less|"
    r"looked at by nobody|as they must be|\w*colour\w*|\w+normalis\w*|"
    r"normalis\w*|grey\w*|centre\w*|behaviour|neighbour\w*)\b",
    re.IGNORECASE,
)


NOUNS = ("This", "Its", "Weights", "Channels", "Models", "Images", "Positions", "Axes")


def functions(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node):
            yield node


def is_property(node):
    names = {each.id for each in node.decorator_list if isinstance(each, ast.Name)}
    return bool(names & {"property", "cached_property"}) or any(
        isinstance(each, ast.Attribute) for each in node.decorator_list
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_of_functions_begin_with_a_verb(path):
    words = [(node.name, ast.get_docstring(node).split()[0]) for node in functions(path) if not is_property(node)]
    assert [each for each in words if not re.fullmatch(r"[A-Z][a-z]+s[:,.]?", each[1]) or each[1] in NOUNS] == []


@pytest.mark.parametrize("path", [*FILES, *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_plain_words(path):
    assert [found[0] for found in AVOIDED.finditer(path.read_text(encoding="utf-8"))] == []
