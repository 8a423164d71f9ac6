"""Every benchmark command that README.md, docs/ and the benchmarks' docstrings show runs here, at a smallest size."""

import argparse
import ast
import importlib
import importlib.util
import json
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import application_check
import keras
import pytest

from tfprune.recipes.models import build_model

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks"
RESULTS = ("--out", "--output", "--results", "--rows", "--figure", "--page", "--table")


class Small(NamedTuple):
    """How a program is made small.

    Attributes:
        flags: Added to each of its commands.
        says: A text that it then prints; none where it only writes a file.
        instead: Values that replace those of flags which change what is run, where a command has them.
        slow: Whether it takes more than a few seconds.
        elsewhere: The test file that runs it instead, with all flags that are documented.
    """

    flags: str
    says: str = ""
    instead: dict[str, str] = {}  # noqa: RUF012 - a tuple's field, which nothing changes
    slow: bool = False
    elsewhere: str = ""


SMALLEST = {
    "applications.py": Small(
        "--only Tiny --rows rows.jsonl --runs 1 --warm_up 1 --round_to 4", "passes", {"--table": "page.md"}
    ),
    "augmix.py": Small(
        "--dataset digits --arch Conv2 --batch_size 4 --batches 1 --rounds 1",
        "plain |",
        {"--from_disk": "16"},
        slow=True,
    ),
    "batch_norm_statistics.py": Small(
        "--images 32 --seeds 1 --epochs 1 --arch Conv2-BN --out rows.jsonl", "| 32 | accuracy | ", slow=True
    ),
    "bop_step.py": Small(
        "--arch ResNet-8x2 --rounds 1 --batch_size 2 --out bop.jsonl", "step with Bop against SGD:", slow=True
    ),
    "compare_checkouts.py": Small(
        "--work work --only prune_weights_dpp_edge --jobs 1", "prune_weights_dpp_edge: ", slow=True
    ),
    "criteria.py": Small(
        "--dataset digits --arch ResNet-8x2 --trained_param small.keras --criteria taylor --flops 0.5",
        "| taylor | global | ",
        {"--rounds": "2"},
        slow=True,
    ),
    "dpp_node.py": Small(
        "--dataset digits --seeds 1 --density 0.5 --examples 64 --tests 50 --epochs 1 --arch ResNet-8x2 "
        "--out rows.jsonl",
        "| dpp_node with data, recalibrated | ",
        {"--trained_param": "small.keras"},
        slow=True,
    ),
    "ekg_rates.py": Small(
        "--dataset digits --arch ResNet-8x2 --trained_param small.keras --fraction 0.2 --batch_size 32 --held_out 100 "
        "--rates 0.98 0.95 --work work --out rows.csv --figure figure.png --page page.md",
        "| l2 in 10 rounds | 95% | ",
        slow=True,
    ),
    "ekg_search.py": Small(
        "--dataset digits --arch ResNet-8x2 --trained_param small.keras --target 0.98 "
        "--validation_per_class 2 --training_per_class 13",
        "ours bfloat16: ",
        slow=True,
    ),
    "field.py": Small(
        "--here --only keras.Tiny --rows rows.jsonl",
        "1 models: 1 pass",
        {"--table": "page.md", "--only": "keras.Tiny"},
        slow=True,
    ),
    "graph.py": Small("--models Tiny --rounds 1", "same shapes"),
    "hostile.py": Small("", elsewhere="test_hostile.py"),
    "hub_table.py": Small("--only BertBackbone", "| BertBackbone | ", {"--page": "page.md"}, slow=True),
    "input_pipeline.py": Small(
        "--images 4 --rounds 1 --batches 1 --batch_size 4 --size 32 --results rows.jsonl", "images/s"
    ),
    "kdpp.py": Small("--k 3 --masks 2 --repeats 1 --nodes 2 --items 8 --examples 50 --out rows.json", '"ratio": '),
    "landscape_study.py": Small(
        "--dataset digits --arch ResNet-8x2 --trained_param small.keras --fraction 0.2 --batch_size 32 --held_out 100 "
        "--subnetworks 4 --section_images 8 --directions 2 --points 3 --curvature_images 8 --tolerance 0.5 "
        "--work work --out rows --figure figure.png --page page.md",
        "| fluctuation of sections | ",
        slow=True,
    ),
    "latency.py": Small("--model Tiny --batch_size 1 --runs 1", "arrives", {"--round_to": "1 4"}),
    "model_table.py": Small("--groups dense --page page.md"),
    "multiprize.py": Small("", elsewhere="test_multiprize.py"),
    "multiprize_experiments.py": Small("--page page.md"),
    "originals_table.py": Small("--page page.md"),
    "packed_size.py": Small("--arch Conv2 --density 0.5", "| 0.5 | "),
    "peekaboo.py": Small(
        "--dataset digits --arch Conv2-BN --fraction 0.1 --epochs 1 --rows none-1-sgd synflow-0.3-bop-psg "
        "--synflow_rounds 1 --out rows.jsonl --figure figure.png",
        "| SynFlow | Bop+PSG | ",
        slow=True,
    ),
    "plan_memory.py": Small(
        "--layers 1 --hidden 16 --mlp 32 --heads 2 --key_value_heads 1 --vocabulary 20 --params 0.9", "pruned model "
    ),
    "prune_at_init.py": Small(
        "--arch ResNet-8x2 --iterations 1 --plain_iterations 1 --images 2 --yardstick_size 10 --out rows.json",
        '"grasp": ',
        slow=True,
    ),
    "psg_step.py": Small("--arch ResNet-8x2 --batch_size 2 --rounds 1", "psg_exact ", slow=True),
    "published.py": Small(
        "--dataset digits --arch Conv2-BN --epochs 1 --seeds 1 --only smart-ratio --precision float32 --out rows.jsonl",
        "| Random ticket, smart ratios, ",
        {"--table": "page.md", "--trained_param": "small.keras"},
        slow=True,
    ),
    "reweighting.py": Small("", elsewhere="test_reweighting.py"),
    "scale_plan.py": Small(
        "--search_arch ResNet-8x2 --search_target 0.98 --examples 1 --images_per_second 900 --efficiency 1 0.9 0.6",
        "| **EKG** | ",
        slow=True,
    ),
    "scaling.py": Small(
        "--arch Conv2-BN --images 2 --rounds 1 --batch_norm synchronized --output rows.jsonl",
        "two processes ",
        slow=True,
    ),
    "score_memory.py": Small(
        "--arch ResNet-8x2 --image_size 8 --classes 10 --images 4 --batch_size 2 --criterion snip --precision float32 "
        "--out rows.jsonl",
        "| snip | float32 | 4 | 2 | ",
        slow=True,
    ),
    "scopes.py": Small("--page page.md", slow=True),
    "soak.py": Small("", elsewhere="test_soak.py"),
    "soak_table.py": Small("", elsewhere="test_soak.py"),
    "structure.py": Small("--no_tasks", "modules with one importer"),
    "subnet_step.py": Small(
        "--archs Conv2 --batch 2 --runs 1 --scores 100 --out rows.jsonl", '"ratio_of_medians"', slow=True
    ),
    "transformer_latency.py": Small(
        "--image_size 32 --layers 1 --hidden 16 --heads 4 --batch_size 2 --runs 1 --warm_up 1",
        "pruned ",
        {"--density": "0.5"},
        slow=True,
    ),
    "transformers.py": Small(
        "--dataset digits --images 64 --tests 64 --seeds 1 --steps 1 --tune_steps 1 --density 0.5 --examples 32 "
        "--out rows.csv --page page.md --figure figure.png",
        "| ziplm, reweighted | ",
        slow=True,
    ),
    "train_step.py": Small("--arch ResNet-20 --rounds 1 --batch_size 2", "channel_masked ", slow=True),
}


def pages():
    """Texts that show commands, each with the pattern of its blocks of code."""
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        yield page.read_text(encoding="utf-8"), r"```[^\n`]*\n(.*?)```"
    for file in sorted(FOLDER.glob("*.py")):
        yield ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "", r"((?:^ {4}.*\n?)+)"


def commands(text, blocks):
    """The commands in blocks of code, line by line, and between backticks, as lists of words from the script on."""
    text = text.replace("\\\n", " ")
    lines = [line for block in re.findall(blocks, text, re.DOTALL | re.MULTILINE) for line in block.splitlines()]
    rest = re.sub(blocks, "", text, flags=re.DOTALL | re.MULTILINE)
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", rest)]
    found = [re.search(r"\bpython benchmarks/(.*)", line) for line in (*lines, *spans)]
    return [shlex.split(match[1], comments=True) for match in found if match]


COMMANDS = sorted({tuple(words) for page in pages() for words in commands(*page)})
PROGRAMS = {file.name for file in FOLDER.glob("*.py") if '__name__ == "__main__"' in file.read_text(encoding="utf-8")}


def module(script):
    return importlib.import_module(script.removesuffix(".py"))


def test_no_command_is_overlooked():
    for text, blocks in pages():
        assert len(commands(text, blocks)) == len(re.findall(r"python\s+benchmarks/", text))


def test_commands_are_found_where_they_stand():
    fence = "```"
    text = f"Run `python\nbenchmarks/a.py --b 1`:\n{fence}bash\nX=1 python benchmarks/c.py \\\n    --d  # e\n{fence}\n"
    assert commands(text, next(pages())[1]) == [["c.py", "--d"], ["a.py", "--b", "1"]]


def test_every_program_is_documented_and_has_a_smallest_size():
    assert {script for script, *_ in COMMANDS} == PROGRAMS
    assert set(SMALLEST) == PROGRAMS


@pytest.mark.parametrize("script", [script for script, small in SMALLEST.items() if small.elsewhere])
def test_tests_that_run_a_program_elsewhere_give_the_documented_flags(script):
    text = (Path(__file__).parent / SMALLEST[script].elsewhere).read_text(encoding="utf-8")
    assert f"{script.removesuffix('.py')}.main(" in text
    flags = {word for words in COMMANDS if words[0] == script for word in words if word.startswith("--")}
    assert [flag for flag in sorted(flags) if flag not in text] == []


def test_every_other_file_is_used_by_a_program():
    texts = [file.read_text(encoding="utf-8") for file in FOLDER.glob("*.py")]
    others = {file.stem for file in FOLDER.glob("*.py")} - {name.removesuffix(".py") for name in PROGRAMS}
    assert [name for name in others if not any(re.search(rf"(from|import) {name}\b", text) for text in texts)] == []


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_flags_are_known(words):
    script, *arguments = words
    parser = module(script).make_parser()
    assert isinstance(parser, argparse.ArgumentParser)
    parser.parse_args(arguments)


def tiny_applications(words, monkeypatch, tiny):
    """Prunes in this process, from the row of another model where a command asks for rows that are there."""
    import applications

    def run_here(name, options):
        applications.run_here(name, options)
        return ", ".join(applications.failures(applications.read_rows(options.rows)[name]))

    monkeypatch.setattr(applications, "run_apart", run_here)
    monkeypatch.setattr(application_check, "SIZE_WHERE_OPEN", 16)
    if {"--latency_only", "--table"} & set(words):
        row = json.loads(applications.ROWS.read_text(encoding="utf-8").splitlines()[0])
        applications.append_row(Path("rows.jsonl"), row | {"model": "Tiny"})


def page_without_table(words, monkeypatch, tiny):
    """Copies the page that a program writes, up to the mark that its table follows."""
    for page in (ROOT / "docs").rglob("*.md"):
        before, mark, _ = page.read_text(encoding="utf-8").partition(f"written by benchmarks/{words[0]} -->")
        if mark:
            Path("page.md").write_text(before + mark, encoding="utf-8")


def checkouts(words, monkeypatch, tiny):
    """Gives this checkout the names that commands have for theirs."""
    for name in {"OLD", "NEW", "CHECKOUT", "OTHER_CHECKOUT"} & set(words):
        Path(name).symlink_to(ROOT)


def tiny_latency(words, monkeypatch, tiny):
    monkeypatch.setattr(keras.applications, "Tiny", lambda weights: tiny(weights, None, (16, 16, 3)))


def tiny_graph(words, monkeypatch, tiny):
    def without_rescaling(weights, classifier_activation):
        model = tiny(weights, classifier_activation, (16, 16, 3))
        return keras.Model(model.layers[1].output, model.output)

    monkeypatch.setattr(keras.applications, "Tiny", without_rescaling)


def tiny_field(words, monkeypatch, tiny):
    """Prunes in this process; a command that asks for rows has those of the page."""
    import field
    from field_check import check
    from field_models import MODELS

    monkeypatch.setitem(MODELS, "keras.Tiny", lambda: tiny(None, None, (16, 16, 3)))
    monkeypatch.setattr(field, "run_apart", lambda python, name, options: check(name, options.flops, seed=0))
    if "--table" in words:
        Path("rows.jsonl").write_text(field.ROWS.read_text(encoding="utf-8"), encoding="utf-8")


def page_and_rows(words, monkeypatch, tiny):
    """Copies the page of `published.py`, and its rows where a command only writes the page from them."""
    import published

    page_without_table(words, monkeypatch, tiny)
    if "--table" in words:
        Path("rows.jsonl").write_text((published.RESULTS / "published.jsonl").read_text(encoding="utf-8"))


def small_transformers(words, monkeypatch, tiny):
    """Copies the page, and the rows where a command only writes the page from them."""
    import transformers

    page_without_table(words, monkeypatch, tiny)
    if "--page_only" in words:
        Path("rows.csv").write_text(transformers.ROWS.read_text(encoding="utf-8"), encoding="utf-8")


PREPARE = {
    "applications.py": tiny_applications,
    "compare_checkouts.py": checkouts,
    "ekg_rates.py": page_without_table,
    "field.py": tiny_field,
    "graph.py": tiny_graph,
    "landscape_study.py": page_without_table,
    "latency.py": tiny_latency,
    "model_table.py": page_without_table,
    "multiprize_experiments.py": page_without_table,
    "originals_table.py": page_without_table,
    "published.py": page_and_rows,
    "scopes.py": page_without_table,
    "structure.py": checkouts,
    "transformers.py": small_transformers,
}


@pytest.fixture(scope="module")
def small_network(tmp_path_factory):
    """A model for the digits, as a file."""
    path = tmp_path_factory.mktemp("network") / "small.keras"
    build_model("ResNet-8x2", num_classes=10, input_shape=(8, 8, 1), seed=0).save(path)
    return path


@pytest.fixture
def workplace(tmp_path, monkeypatch, small_network):
    """A folder with the folders and files that the commands read and write."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    (tmp_path / "small.keras").symlink_to(small_network)


def needs(words):
    """The package that a command asks for where it is missing; empty if it asks for none."""
    if words[0] == "graph.py" or "--torch" in words:
        return "torch"
    return "keras-hub" if words[0].startswith(("transformer", "hub_")) else ""


def runs():
    """The commands, but one of those that come to the same once they are made small."""
    different = {}
    for script, *arguments in COMMANDS:
        small = SMALLEST.get(script, Small(""))
        if small.elsewhere:
            continue
        flags = re.findall(r"(--\w+)((?: (?!--)\S+)*)", " ".join(arguments))
        kept = [(flag, values) for flag, values in flags if flag not in small.flags.split()]
        rest = [flag if flag in small.instead else flag + values for flag, values in kept]
        mark = pytest.mark.slow if small.slow else ()
        words = (script, *arguments)
        different[script, *rest] = pytest.param(words, marks=mark, id=" ".join(words))
    return list(different.values())


@pytest.mark.filterwarnings("ignore:layer collapse")
@pytest.mark.parametrize("words", runs())
def test_runs(words, workplace, monkeypatch, tiny_application, capfd):
    script, *arguments = words
    small = SMALLEST[script]
    if script in PREPARE:
        PREPARE[script](words, monkeypatch, tiny_application)
    for flag in set(arguments) & set(small.instead):
        arguments += [flag, *small.instead[flag].split()]
    arguments += small.flags.split()
    main = module(script).main
    package = needs(words)
    if package and not importlib.util.find_spec(package.replace("-", "_")):
        assert main(arguments) == 2
        assert re.fullmatch(rf"[^\n]*: pip install {package}[^\n]*\n", capfd.readouterr().err)
        return
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert not main(arguments)
    printed = capfd.readouterr().out
    assert small.says in printed or "--table" in words
    given = vars(module(script).make_parser().parse_args(arguments))
    files = [Path(given[name]) for flag in RESULTS if isinstance(given.get(name := flag[2:]), str | Path)]
    assert all(file.stat().st_size > 0 for file in files)
    assert printed or any(before.get(file) != file.read_bytes() for file in files)
