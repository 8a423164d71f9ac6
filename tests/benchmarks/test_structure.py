import pytest


def test_counts_of_a_package_made_by_hand(tmp_path):
    import structure

    package = tmp_path / "tfprune"
    package.mkdir()
    (package / "__init__.py").write_text("from tfprune.one import A\n")
    (package / "one.py").write_text('"""Says\n\nmuch."""\n\nA = 1  # a number\n# nothing\nB = A\n')
    (package / "two.py").write_text("from tfprune.one import A\n")
    (package / "three.py").write_text('def f():\n    """Nothing."""\n    return 1\n')
    assert structure.counts(package) == {
        "modules (without __init__)": 3,
        "lines": 11,
        "lines of code": 5,
        "median lines of a module": 3,
        "modules under 60 lines": 3,
        "modules over 400 lines": 0,
        "modules with one importer": 1,
    }


@pytest.mark.slow
def test_every_task_runs_through_files_of_the_package():
    import structure

    found = structure.files_of_tasks(structure.ROOT)
    assert list(found) == [f"files: {name}" for name in structure.TASKS]
    assert all(0 < count < 200 for count in found.values())
