import originals_table
import pytest
import yaml
from pages import written_part


def test_the_page_is_what_the_generator_gives():
    page = originals_table.PAGE.read_text(encoding="utf-8")
    assert written_part(page, "originals_table.py") == originals_table.tables()


def test_everything_that_is_named_exists():
    assert list(originals_table.mistakes()) == []


def test_all_five_originals_have_rows():
    citation = yaml.safe_load((originals_table.ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    named = [each["name"] for each in originals_table.originals()]
    assert named == [each["notes"] for each in citation["references"]]


@pytest.mark.parametrize(
    ("span", "exists"),
    [
        ("--density 0.3", True),
        ("--no_psg_take_sign", True),
        ("--prune_ratio 0.3", False),
        ("train_cifar.py --method dense --epochs 3", True),
        ("train_cifar.py --method dense --density 0.3", False),
        ("train_imagenet.py prune --out a.npz", True),
        ("train_imagenet.py prune --epochs 3", False),
        ("tfprune dpp prune --k 3", True),
        ("tfprune dpp prune --density 3", False),
        ("test.py --evaluate", True),
        ("configs/peekaboo/digits.yaml", True),
        ("configs/peekaboo/letters.yaml", False),
        ("tests/benchmarks/test_originals_table.py::test_all_five_originals_have_rows", True),
        ("tests/benchmarks/test_originals_table.py::test_all_six_originals_have_rows", False),
        ("python benchmarks/originals_table.py --page a.md", True),
        ("python benchmarks/originals_table.py --pages a.md", False),
        ("make test", True),
        ("make nothing", False),
        ("tfprune.optimizers.Bop", True),
        ("tfprune.optimizers.Bob", False),
        ("tfprune.dpp", True),
        ("tfprune.nothing.at_all", False),
    ],
)
def test_what_does_not_exist_is_found(span, exists):
    assert originals_table.known(span, ["train_cifar.py --method peekaboo"]) is exists


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ({"status": "kept", "check": "`make test`"}, 0),
        ({"status": "kept"}, 1),
        ({"status": "kept", "why": "so", "check": "`make test`"}, 1),
        ({"status": "differs", "check": "`make test`"}, 1),
        ({"status": "not kept", "why": "so"}, 0),
        ({"status": "almost", "why": "so", "check": "`make test`"}, 1),
    ],
)
def test_rows_say_why_and_are_shown(row, wrong, tmp_path, monkeypatch):
    rows = [{"promise": "p", "here": "`--density`", **row}]
    file = tmp_path / "rows.yaml"
    file.write_text(yaml.safe_dump([{"name": "a", "programs": ["train_cifar.py --method peekaboo"], "rows": rows}]))
    monkeypatch.setattr(originals_table, "ROWS", file)
    assert len(list(originals_table.mistakes())) == wrong


def test_mistakes_write_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(originals_table, "mistakes", lambda: ["a flag does not exist"])
    page = tmp_path / "page.md"
    page.write_text("text")
    assert originals_table.main(["--page", str(page)]) == 2
    assert (page.read_text(), capsys.readouterr().out) == ("text", "a flag does not exist\n")
