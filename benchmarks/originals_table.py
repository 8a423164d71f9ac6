"""Writes docs/originals.md: what the five originals promise, where it is here, and what shows it.

    python benchmarks/originals_table.py

The rows are those of benchmarks/originals.yaml. The text above and below the tables is written by hand and stays.
"""

import argparse
import ast
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from pages import DOCS, rewrite
from program import new_parser

from tfprune.cli.main import COMMANDS
from tfprune.cli.programs import IMAGENET_STAGES, pick_method
from tfprune.recipes.catalog import configs
from tfprune.recipes.dpp.config import DPP_COMMANDS
from tfprune.recipes.evaluate_config import EvaluateConfig
from tfprune.settings import settings_of

ROOT = Path(__file__).resolve().parents[1]
PAGE, ROWS = DOCS / "originals.md", Path(__file__).with_suffix("").with_name("originals.yaml")
STATUS = ("kept", "differs", "not kept")
FOLDERS = ("benchmarks/", "configs/", "docs/", "examples/", "tests/", "tfprune/")

Row = Mapping[str, str]


def originals() -> list[dict[str, Any]]:
    """Returns the originals with their rows."""
    return yaml.safe_load(ROWS.read_text(encoding="utf-8"))


def flags_of(words: Sequence[str]) -> set[str]:
    """Returns the flags of one of our programs.

    Args:
        words: A command line, from the program on.

    Raises:
        KeyError: There is no such program or command.
        ConfigError: There is no such method.
    """
    program, *rest = words
    commands = {"tfprune": COMMANDS, "train_imagenet.py": IMAGENET_STAGES}.get(program, {})
    if program == "test.py":
        settings = settings_of(EvaluateConfig)
    elif rest[:1] == ["dpp"]:
        settings = settings_of(DPP_COMMANDS[rest[1]])
    elif rest and rest[0] in commands:
        settings = settings_of(commands[rest[0]])
    else:
        methods = {
            name: configs(imagenet=name == "train_imagenet.py") for name in ("train_cifar.py", "train_imagenet.py")
        }
        settings = settings_of(pick_method(rest, methods[program]))
    switches = (name for name, each in settings.items() if each.kind is bool)
    return {"--config", *(f"--{name}" for name in settings), *(f"--no_{name}" for name in switches)}


def code(text: str) -> list[str]:
    """Returns what stands between backticks."""
    return re.findall(r"`([^`]+)`", text)


@cache
def tests_in(path: Path) -> frozenset[str]:
    """Returns the names of the tests in a file."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"))


def known(span: str, programs: Sequence[str]) -> bool:
    """Returns whether what a row names exists: a flag, command, file, name of Python, test or target of make."""
    words = shlex.split(span)
    flags = {word for word in words if word.startswith("--")}
    if words[0].startswith("--"):
        return any(flags <= flags_of(shlex.split(program)) for program in programs)
    if words[0] in ("train_cifar.py", "train_imagenet.py", "test.py", "tfprune"):
        return flags <= flags_of(words)
    if words[:1] == ["make"]:
        return f"\n{words[1]}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
    if words[:1] == ["python"]:
        return flags <= set(re.findall(r'"(--\w+)"', (ROOT / words[1]).read_text(encoding="utf-8")))
    path, _, name = words[0].partition("::")
    if path.startswith(FOLDERS) or path in ("setup.py", "README.md"):
        return (ROOT / path).exists() and (not name or name in tests_in(ROOT / path))
    if re.fullmatch(r"tfprune(\.\w+)+", span):
        return _imports(span)
    return True  # a file of a run, a setting's value


def _imports(name: str) -> bool:
    module, _, attribute = name.rpartition(".")
    try:
        return hasattr(import_module(module), attribute)
    except ModuleNotFoundError:
        return False


def mistakes() -> Iterator[str]:
    """Yields what is wrong in the rows: missing columns, and names of what does not exist."""
    for original in originals():
        for row in original["rows"]:
            where = f"{original['name']}: {row['promise']}"
            if row["status"] not in STATUS:
                yield f"{where}: unknown status {row['status']}"
            if ("why" in row) == (row["status"] == "kept") or ("check" in row) == (row["status"] == "not kept"):
                yield f"{where}: `why` goes with differs and not kept, `check` with kept and differs"
            for span in code(row["here"]) + code(row.get("check", "")):
                if not known(span, original["programs"]):
                    yield f"{where}: {span} does not exist"


def _line(row: Row) -> str:
    status = f"{row['status']}: {row['why']}" if "why" in row else row["status"]
    cells = (status, row["promise"], row["here"], row.get("check", ""))
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def tables() -> str:
    """Returns a table for each original, after one that counts."""
    counts = {each["name"]: Counter(row["status"] for row in each["rows"]) for each in originals()}
    lines = [f"| | {' | '.join(STATUS)} |", "|---" * (1 + len(STATUS)) + "|"]
    lines += [f"| {name} | {' | '.join(str(found[each]) for each in STATUS)} |" for name, found in counts.items()]
    for each in originals():
        name = each["name"]
        lines += ["", f"## {name[0].upper()}{name[1:]}", "", f"*{each['title']}*: {each['pages']}.", ""]
        lines += ["| status | promise | here | shown by |", "|---|---|---|---|", *map(_line, each["rows"])]
    return "\n".join(lines)


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--page", type=Path, default=PAGE)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the tables into the page, or says what is wrong in the rows; returns the exit code."""
    file = make_parser().parse_args(arguments).page
    if wrong := list(mistakes()):
        print(*wrong, sep="\n")
        return 2
    rewrite(file, "originals_table.py", tables())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
