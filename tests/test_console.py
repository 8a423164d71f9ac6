import logging
import os
import sys
import warnings

import pytest

from tfprune.console import quiet


def chatter(text):
    os.write(2, f"compiled {text}\n".encode())
    print(f"printed {text}", file=sys.stderr)
    logging.getLogger("tf2onnx.tfonnx").error(text)
    logging.getLogger("absl").warning(text)


def test_quiet_ends_with_the_block(capfd, caplog):
    with quiet():
        chatter("within")
        warnings.warn("within", stacklevel=1)
    chatter("after")
    assert capfd.readouterr().err.splitlines()[:2] == ["compiled after", "printed after"]
    assert {record.message for record in caplog.records} == {"after"}
    assert len(caplog.records) == 2
    with pytest.warns(UserWarning, match="after"):
        warnings.warn("after", stacklevel=1)


def test_errors_pass_through_and_end_quiet(capfd):
    with pytest.raises(ValueError, match="wrong"), quiet():
        raise ValueError("wrong")
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"
