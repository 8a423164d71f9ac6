import pytest

from tfprune.errors import RunFolderError
from tfprune.files import WriteError, writing


def test_what_the_system_said_is_told():
    with pytest.raises(RunFolderError) as caught, writing("folder/table.csv"):
        raise PermissionError(13, "Permission denied", "/somewhere/else")
    assert str(caught.value) == (
        "cannot write folder/table.csv: Permission denied; make room, or name a folder that can be written; what was "
        "complete before is kept"
    )
    assert isinstance(caught.value, OSError)
    assert caught.value.strerror == "Permission denied"


def test_the_inner_one_counts():
    with pytest.raises(WriteError, match="cannot write inner: full;"), writing("outer"), writing("inner"):
        raise OSError("full")


class Other(Exception):
    pass


def test_errors_of_others():
    with pytest.raises(WriteError, match="cannot write file: File too large; make room"), writing("file", Other):
        raise Other("{{function_node x}} /run/ckpt_temp/part; File too large [Op:SaveV2]\nmore")
    with pytest.raises(Other), writing("file"):
        raise Other
