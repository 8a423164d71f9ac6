"""The tables of docs/results_landscape.md are those of the rows."""

import ekg_rates
import landscape_study
import pytest
from pages import written_part

PAGE = landscape_study.PAGE.read_text(encoding="utf-8")


def test_the_tables_of_the_study_are_those_of_its_rows():
    assert written_part(PAGE, "landscape_study.py") == landscape_study.tables(landscape_study.RESULTS).strip()


def test_the_table_of_rates_is_that_of_its_rows():
    assert written_part(PAGE, "ekg_rates.py") == ekg_rates.table(ekg_rates.measured(ekg_rates.RESULTS))


def test_choices_differ_and_are_named():
    assert len({choice.name for choice in landscape_study.CHOICES}) == len(landscape_study.CHOICES) == 26
    choice = landscape_study.Choice("l2", "global", 0.5, 3)
    assert (choice.name, choice.label) == ("l2_global_0.5_3", "`l2`, whole model, noise 0.5, seed 3")


def test_a_row_without_its_other_half_is_left_out(tmp_path):
    (tmp_path / "after.csv").write_text("name,train_seed,test_accuracy\nl2_global_0_0,1,0.5\nl2_global_0_0,2,0.75\n")
    (tmp_path / "before.csv").write_text(
        "name,params,validation_loss,fluctuation,fluctuation_error,ratio\n"
        "l2_global_0_0,1234,1.5,0.25,0.01,0.125\ntaylor_global_0_0,99,1,1,1,1\n"
    )
    table = landscape_study.joined(tmp_path)
    assert list(table["name"]) == ["l2_global_0_0"]
    assert table["accuracy"] == pytest.approx([62.5])
