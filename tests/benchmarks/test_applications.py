import application_check
import applications
import applications_table
import numpy as np
import pytest
from application_check import Settings, check, failures, latency_only, model_names

from tfprune.graph import slim

SETTINGS = Settings(runs=1, warm_up=1, round_to=4)


@pytest.fixture
def row(tiny_application, monkeypatch):
    monkeypatch.setattr(application_check, "SIZE_WHERE_OPEN", 16)
    return check("Tiny", SETTINGS)


def test_all_forty_models_are_found():
    assert len(model_names()) == 40
    assert {"ResNet50", "NASNetLarge", "ConvNeXtXLarge"} <= set(model_names())


def test_a_right_model_passes(row):
    assert failures(row) == []
    assert row["input"] == [16, 16, 3]
    assert row["groups"] == 2
    assert row["after"]["flops"] <= 0.5 * row["before"]["flops"]
    assert row["response"] > 0.05
    assert row["latency"]["after"]["median_ms"] > 0


def test_a_wrong_model_fails(tiny_application, monkeypatch):
    def wrong(model, mask, groups):
        small = slim(model, mask, groups)
        kernel = next(variable for variable in small.variables if variable.path.endswith("/kernel"))
        kernel.assign(np.roll(kernel, 1, axis=-1))  # channels in the wrong order
        return small

    monkeypatch.setattr(application_check, "SIZE_WHERE_OPEN", 16)
    monkeypatch.setattr(application_check, "slim", wrong)
    assert failures(check("Tiny", SETTINGS)) == ["error"]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("shape", {"shape": False}),
        ("power", {"power": 0.0}),
        ("response", {"response": 1e-7}),
        ("error", {"error": float("nan")}),
        ("counts", {"counts": False}),
        ("budget", {"flops_target": 0.1}),
        ("pinned", {"pinned": ["a layer"]}),
    ],
)
def test_failures_are_named(row, name, change):
    assert failures(row | change) == [name]


def test_rows_go_on_and_latency_is_measured_anew(row, tiny_application, tmp_path):
    path = tmp_path / "results" / "rows.jsonl"
    applications.append_row(path, row)
    applications.append_row(path, latency_only("Tiny", SETTINGS))
    (received,) = applications.read_rows(path).values()
    assert received["latency"] != row["latency"]
    assert received | {"latency": 0, "versions": 0} == row | {"latency": 0, "versions": 0}


def test_table(row, tmp_path):
    rows, page = tmp_path / "rows.jsonl", tmp_path / "page.md"
    applications.append_row(rows, row)
    applications.append_row(rows, row | {"model": "Other", "error": 1.0, "after": row["after"] | {"profiler": 0}})
    assert applications.main(["--rows", str(rows), "--table", str(page)]) == 0
    *_, wrong, right = page.read_text().splitlines()
    assert "1 of 2 models measured (40 are still missing) pass" in page.read_text()
    assert right.startswith("| Tiny | 16x16 | 2 |")
    assert "| exact |" in right
    assert wrong.startswith("| **Other: error, profiler** |")
    assert "| off by +0 → -" in wrong
    written = page.read_text()
    page.write_text(f"old\n{applications_table.BY_HAND}\n\nMore.\n")
    applications_table.write_table(applications.read_rows(rows), page)
    assert page.read_text() == f"{written}\n{applications_table.BY_HAND}\n\nMore.\n"


def test_models_run_apart_and_only_once(tmp_path, monkeypatch, capfd):
    ran = []
    path = tmp_path / "rows.jsonl"

    def run(name, options):
        ran.append(name)
        applications.append_row(path, {"model": name})
        return "FAILS error" if name == "VGG16" else ""

    monkeypatch.setattr(applications, "run_apart", run)
    assert applications.main(["--rows", str(path), "--only", "VGG19", "--latency_only"]) == 0  # no row yet
    assert applications.main(["--rows", str(path), "--only", "VGG16", "VGG19"]) == 1
    assert applications.main(["--rows", str(path), "--only", "VGG16", "VGG19"]) == 0
    assert applications.main(["--rows", str(path), "--only", "VGG19", "--again"]) == 0
    assert applications.main(["--rows", str(path), "--only", "VGG19", "--latency_only"]) == 0
    assert ran == ["VGG16", "VGG19", "VGG19", "VGG19"]
    assert "FAILS error" in capfd.readouterr().out


@pytest.mark.slow
def test_a_real_model_in_a_process_of_its_own(tmp_path):
    rows = tmp_path / "rows.jsonl"
    arguments = ["--only", "MobileNetV3Small", "--rows", str(rows), "--runs", "1", "--warm_up", "1"]
    assert applications.main(arguments) == 0
    assert failures(applications.read_rows(rows)["MobileNetV3Small"]) == []
