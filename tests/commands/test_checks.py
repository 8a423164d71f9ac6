import pytest

from tfprune.commands.checks import at_least_one, check_model_file, check_output
from tfprune.errors import CheckpointError, ConfigError, RunFolderError


def test_at_least_one():
    at_least_one(a=1, b=(1, 2), c=None)
    for settings, message in (
        ({"a": 0}, "--a: expected values of at least 1, received 0"),
        ({"a": 1, "b": (3, -1)}, "--b: expected values of at least 1, received 3 -1"),
        ({"b": ()}, "--b: expected values of at least 1, received nothing"),
    ):
        with pytest.raises(ConfigError) as caught:
            at_least_one(**settings)
        assert str(caught.value) == message


def test_model_files(tmp_path):
    (tmp_path / "a.keras").touch()
    (tmp_path / "a.h5").touch()
    (tmp_path / "folder.keras").mkdir()
    check_model_file(None)
    check_model_file(str(tmp_path / "a.keras"))
    for name, message in (("b.keras", "does not exist"), ("a.h5", "save the model"), ("folder.keras", "is a folder")):
        with pytest.raises(CheckpointError, match=message):
            check_model_file(str(tmp_path / name))


def test_outputs(tmp_path):
    old = tmp_path / "old.keras"
    old.touch()
    check_output(None, overwrite=False)
    check_output(str(tmp_path / "new.keras"), overwrite=False)
    check_output(str(old), overwrite=True)
    with pytest.raises(RunFolderError, match=r"old.keras exists; add --overwrite to replace it, or name another"):
        check_output(str(old), overwrite=False)
    with pytest.raises(RunFolderError, match=r"the folder of .* does not exist; make it"):
        check_output(str(tmp_path / "no" / "new.keras"), overwrite=True)
