"""The examples in docstrings run, and give what they show."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

from tfprune.criteria import registry
from tfprune.layers import kernels

PACKAGE = Path(__file__).parents[1] / "tfprune"
WITH_EXAMPLES = [
    ".".join((PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts))
    for path in sorted(PACKAGE.rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.fixture(autouse=True)
def registrations():
    """What an example registers is forgotten again."""
    rows, known = dict(kernels._ROWS), set(registry._INFOS)
    yield
    for key in set(registry._INFOS) - known:
        del registry._INFOS[key]
        registry._CLASSES.pop(key, None)
    kernels._ROWS.clear()
    kernels._ROWS.update(rows)


def test_there_are_examples():
    assert len(WITH_EXAMPLES) > 50


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_give_what_they_show(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(import_module(name))
    assert (result.failed, capsys.readouterr().out) == (0, "")
    assert result.attempted
