"""What README.md, CONTRIBUTING.md and the pages of docs/ show must work."""

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml

import tfprune
from tfprune.cli import parse
from tfprune.cli.main import COMMANDS
from tfprune.cli.programs import IMAGENET_STAGES, pick_method
from tfprune.graph import complexity
from tfprune.recipes.catalog import configs
from tfprune.recipes.dpp.config import DPP_COMMANDS
from tfprune.recipes.ekg.config import EKGConfig
from tfprune.recipes.evaluate_config import EvaluateConfig

ROOT = Path(__file__).parents[1]
METHODS, IMAGENET_METHODS = configs(), configs(imagenet=True)
DOCS = sorted(f"docs/{file.name}" for file in ROOT.glob("docs/*.md"))
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *DOCS]
SUBCOMMANDS = {"tfprune": COMMANDS, "train_imagenet.py": IMAGENET_STAGES, "dpp": DPP_COMMANDS}
PROGRAMS = {"train_cifar.py": METHODS, "train_imagenet.py": IMAGENET_METHODS}
OTHER_PROGRAMS = {"pip", "make", "export", "wait", ".venv/bin/pre-commit"}


@cache
def text(page):
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text(page), re.DOTALL | re.MULTILINE)


def prose(page):
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", text(page), flags=re.DOTALL | re.MULTILINE)


# ---------------------------------------------------------------- Python code


def run_python(page):
    """Runs the blocks of a page in order, and returns the names that they define."""
    keras.utils.set_random_seed(0)
    names = {"__name__": "page"}
    for code in blocks(page, "python"):
        exec(compile(code, page, "exec"), names)
        if {"small", "model"} <= names.keys():
            assert complexity(names["small"]).flops <= 0.5 * complexity(names["model"]).flops
    return names


def test_pages_with_python_code():
    with_code = {page for page in PAGES if blocks(page, "python")}
    assert with_code >= {"README.md", "CONTRIBUTING.md", "docs/ekg.md", "docs/peekaboo.md", "docs/multiprize.md"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python") and page not in ("CONTRIBUTING.md", "docs/ekg.md")]
)
@pytest.mark.filterwarnings("ignore:.*its copy is saved as a plain model")
def test_python_code_runs(page, tmp_path, monkeypatch, capsys):
    if "import keras_hub" in text(page):
        pytest.importorskip("keras_hub")
    monkeypatch.chdir(tmp_path)
    run_python(page)
    if page in ("README.md", "docs/pruning.md"):
        assert "channel groups" in capsys.readouterr().out
        assert Path("small.tflite").stat().st_size > 0


@pytest.mark.slow
def test_python_code_of_ekg_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = run_python("docs/ekg.md")
    images = names["images"][:5]
    np.testing.assert_allclose(
        keras.saving.load_model("small.keras")(images), names["small"](images), rtol=1e-4, atol=1e-4
    )
    assert "multiply-adds" in capsys.readouterr().out
    assert Path("small.tflite").stat().st_size > Path("small_int8.tflite").stat().st_size > 0


@pytest.mark.slow
def test_recipes_for_contributors_run(tmp_path):
    """In a process of its own, as what they register stays registered."""
    script = tmp_path / "recipes.py"
    script.write_text("".join(blocks("CONTRIBUTING.md", "python")), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- commands


def lines(page):
    """The lines of the blocks for a shell as words, without comments; a line may continue on the next."""
    joined = (block.replace("\\\n", " ") for block in blocks(page, "bash"))
    found = (shlex.split(line, comments=True) for block in joined for line in block.splitlines())
    return [words for words in found if words]


def without_assignments(words):
    return words[1:] if re.match(r"\w+=", words[0]) else words


def commands(page):
    """The commands in the blocks for a shell that are ours, variables filled in."""
    exports = [words[1].partition("=") for words in lines(page) if words[0] == "export"]
    variables = {f"${name}": shlex.split(value) for name, _, value in exports}
    ours = [words for words in map(without_assignments, lines(page)) if words[0] in ("python", "tfprune")]
    return [
        [each for word in words for each in variables.get(word, [word]) if each != "&"]
        for words in ours
        if not words[1].startswith("benchmarks/")
    ]


ALL_COMMANDS = [pytest.param(words, id=f"{page}: {' '.join(words)}") for page in PAGES for words in commands(page)]


def config_and_arguments(words):
    """The settings class that a command line needs, and the words it is to be parsed from."""
    program, *arguments = words
    if program == "python":
        program, *arguments = arguments
    if arguments[:1] == ["dpp"]:
        program, *arguments = arguments
    if arguments[:1] and arguments[0] in SUBCOMMANDS.get(program, ()):
        name, *arguments = arguments
        return SUBCOMMANDS[program][name], arguments
    if program == "test.py":
        return EvaluateConfig, arguments
    return pick_method(arguments, PROGRAMS[program], default="ekg"), arguments


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with the files that the commands name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_settings.yaml").write_text("seed: 2\n")
    (tmp_path / "runs" / "res56").mkdir(parents=True)
    (tmp_path / "runs" / "res56" / "settings.yaml").write_text(yaml.safe_dump(EKGConfig().settings()))
    (tmp_path / "configs").symlink_to(ROOT / "configs")


@pytest.mark.parametrize("words", ALL_COMMANDS)
def test_commands_are_understood(words, workplace):
    config, arguments = config_and_arguments(words)
    if arguments[-1:] == ["--help"]:
        with pytest.raises(SystemExit):
            parse(config, arguments)
    else:
        parse(config, arguments)


def test_there_are_commands_of_all_programs(workplace):
    shown = {config_and_arguments(words)[0] for page in PAGES for words in commands(page)}
    assert {*METHODS.values(), *COMMANDS.values(), *IMAGENET_STAGES.values(), EvaluateConfig} <= shown
    assert {*DPP_COMMANDS.values()} <= shown


@pytest.mark.parametrize("page", PAGES)
def test_other_commands_exist(page):
    targets = re.search(r"^\.PHONY: (.*)$", text("Makefile"), re.MULTILINE)[1].split()
    extras = re.findall(r'^        "(\w+)": ', text("setup.py"), re.MULTILINE)
    for words in map(without_assignments, lines(page)):
        assert words[0] in OTHER_PROGRAMS | {"python", "tfprune"}
        if words[0] == "make":
            assert set(words[1:]) <= set(targets)
        if words[0] == "pip":
            named = re.fullmatch(r"\.(?:\[([\w,]+)\])?", words[-1])
            assert set((named[1] or "").split(",")) - {""} <= set(extras)


def benchmark_commands(page):
    """The benchmarks that a page names, in its blocks for a shell or within its text."""
    inline = [re.search(r"(?<!tests/)benchmarks/.*", code, re.DOTALL) for code in re.findall(r"`([^`]+)`", prose(page))]
    named = [shlex.split(code[0]) for code in inline if code and code[0].split()[0].endswith(".py")]
    ours = [words[1:] for words in map(without_assignments, lines(page)) if words[0] == "python"]
    return named + [words for words in ours if words[0].startswith("benchmarks/")]


@pytest.mark.parametrize(
    "words",
    [pytest.param(words, id=f"{page}: {' '.join(words)}") for page in PAGES for words in benchmark_commands(page)],
)
def test_benchmarks_have_these_flags(words):
    source = text(words[0])
    for name in re.findall(r"^from (\w+) import", source, re.MULTILINE):  # programs share flags
        if (ROOT / "benchmarks" / f"{name}.py").exists():
            source += text(f"benchmarks/{name}.py")
    assert [word for word in words[1:] if word.startswith("--") and f'"{word}"' not in source] == []


@pytest.mark.parametrize("file", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda file: file.name)
def test_configs_are_understood(file, tmp_path):
    arguments = ["--config", str(file)]
    if "give --density" in file.read_text(encoding="utf-8"):
        arguments += ["--density", "0.5"]
    if file.name.startswith("prune_imagenet_"):
        parse(IMAGENET_STAGES["prune"], [*arguments, "DATA", "--out", str(tmp_path / "a.npz")])
    elif file.name.startswith("imagenet_"):
        arguments += ["--data_path", "DATA"]
        parse(pick_method(arguments, IMAGENET_METHODS, default="ekg"), arguments)
    else:
        parse(pick_method(arguments, METHODS, default="ekg"), arguments)


# ---------------------------------------------------------------- pages


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        known = target.exists() and target.resolve().is_relative_to(ROOT)
        if not known or (anchor and anchor not in anchors(target.resolve().relative_to(ROOT))):
            broken.append(link)
    assert broken == []


def test_index_links_every_page():
    linked = set(re.findall(r"\]\(([^)#]+)\)", text("docs/index.md")))
    assert {Path(page).name for page in DOCS} - {"index.md"} <= linked


def test_readme_is_short():
    assert len(text("README.md").splitlines()) <= 150


def test_every_method_has_its_paper():
    citation = yaml.safe_load(text("CITATION.cff"))
    assert [each["notes"] for each in citation["references"]] == [
        *("EKG", "Peek-a-Boo", "multi-prize tickets", "random tickets", "DPP pruning")
    ]
    assert citation["version"] == tfprune.__version__
    assert f'version="{tfprune.__version__}"' in text("setup.py")
    assert tfprune.__version__ in text("CHANGELOG.md")
