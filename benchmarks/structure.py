"""Measures how the package is divided: modules, lines, importers, and the files that one task of a user runs through.

    python benchmarks/structure.py
    python benchmarks/structure.py CHECKOUT OTHER_CHECKOUT

Counts every checkout that is named, or the one this file is in. A line counts unless it is blank, a comment or part of
a docstring. A module has one importer if exactly one other module of the package imports from it. For each of four
tasks (a program's pruning by the l2 criterion, carrying out a plan, one step of EKG's search, one training step with
PSG) a fresh process records in how many files of the package a function was called.
"""

import argparse
import ast
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from program import new_parser

ROOT = Path(__file__).parents[1]

_MODEL = """
import os, sys, tempfile
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras, numpy as np
import tfprune
layers = keras.layers
inputs = x = keras.Input((8, 8, 1))
for filters in (8, 12):
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)))
model = keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))
images = np.random.default_rng(0).normal(size=(32, 8, 8, 1)).astype("float32")
labels = np.arange(32) % 10
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
"""

# Each task: what comes before it, and what is recorded.
TASKS = {
    "tfprune prune --criterion l2": (
        "from tfprune.cli.main import main\nfolder = tempfile.mkdtemp()\nmodel.save(f'{folder}/model.keras')\n",
        "main(['prune', '--model', f'{folder}/model.keras', '--criterion', 'l2', '--flops', '.5', '--out', "
        "f'{folder}/small.keras'])",
    ),
    "plan.apply()": ("plan = tfprune.plan_channels(model, criterion='l2', flops=0.5)\n", "plan.apply()"),
    "one step of EKG's search": (
        "search = tfprune.ekg.Search(model, images, labels, target=0.5, batch_size=32)\nstate = search.start()\n",
        "search.step(state)",
    ),
    "one step with PSG": (
        "from tfprune.optimizers import SGD\nsparse = tfprune.convert(model, 'psg')\nsparse.compile(SGD(0.1), loss)\n",
        "sparse.train_on_batch(images, labels)",
    ),
}

_RECORD = """
import contextlib, io, json
package = os.path.dirname(tfprune.__file__)
files = set()
def note(frame, event, argument):
    code = frame.f_code
    if event == "call" and code.co_name != "<module>" and code.co_filename.startswith(package):
        files.add(os.path.relpath(code.co_filename, package))
with contextlib.redirect_stdout(io.StringIO()):
    sys.setprofile(note)
    {task}
    sys.setprofile(None)
print(json.dumps(sorted(files)))
"""


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the program's flags."""
    parser = new_parser(__doc__)
    parser.add_argument("checkouts", nargs="*", metavar="CHECKOUT", help="folders that contain the folder tfprune")
    parser.add_argument("--no_tasks", dest="tasks", action="store_false", help="count only; run nothing")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Prints the table."""
    options = make_parser().parse_args(arguments)
    checkouts = [Path(folder).resolve() for folder in options.checkouts] or [ROOT]
    rows = [{**counts(each / "tfprune"), **(files_of_tasks(each) if options.tasks else {})} for each in checkouts]
    width = max(map(len, rows[0]))
    for name in rows[0]:
        print(f"{name:<{width}}", *(f"{row[name]:>8}" for row in rows))


def counts(package: Path) -> dict[str, int]:
    """Counts the modules of a package and their lines.

    Args:
        package: The folder of the package.

    Returns:
        Numbers by what they count.
    """
    modules = {
        ".".join(path.relative_to(package.parent).with_suffix("").parts): path
        for path in sorted(package.rglob("*.py"))
        if path.name != "__init__.py"
    }
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in modules.items()}
    lengths = [len(path.read_text(encoding="utf-8").splitlines()) for path in modules.values()]
    imports = {name: _imports(tree) for name, tree in trees.items()}
    importers = {name: [other for other in modules if name in imports[other]] for name in modules}
    return {
        "modules (without __init__)": len(modules),
        "lines": sum(lengths),
        "lines of code": sum(_code_lines(path.read_text(encoding="utf-8")) for path in modules.values()),
        "median lines of a module": int(statistics.median(lengths)),
        "modules under 60 lines": sum(length < 60 for length in lengths),
        "modules over 400 lines": sum(length > 400 for length in lengths),
        "modules with one importer": sum(len(those) == 1 for those in importers.values()),
    }


def _imports(tree: ast.Module) -> set[str]:
    return {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}


def _code_lines(text: str) -> int:
    """Counts the lines that are neither blank nor comments nor part of a docstring."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    dropped: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            first = node.body[0]
            dropped.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    lines = enumerate(text.splitlines(), 1)
    return sum(
        number not in dropped and bool(line.strip()) and not line.lstrip().startswith("#") for number, line in lines
    )


def files_of_tasks(checkout: Path, tasks: Iterable[str] = tuple(TASKS)) -> dict[str, int]:
    """Counts the files in which a function is called, for each task.

    Args:
        checkout: The folder that contains the package.
        tasks: Names in `TASKS`.

    Returns:
        Numbers of files by task.
    """
    found = {}
    for name in tasks:
        before, task = TASKS[name]
        code = _MODEL + before + _RECORD.format(task=task)
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True, check=True)
        found[f"files: {name}"] = len(json.loads(done.stdout.splitlines()[-1]))
    return found


if __name__ == "__main__":
    main()
