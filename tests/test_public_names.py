import importlib
import subprocess
import sys

import pytest

PACKAGES = ("", ".methods", ".methods.ekg", ".methods.multiprize", ".methods.peekaboo", ".methods.tickets")


@pytest.mark.parametrize("name", PACKAGES)
def test_every_public_name_is_there(name):
    package = importlib.import_module(f"tfprune{name}")
    assert package.__all__
    assert set(package.__all__) <= set(dir(package))
    for each in package.__all__:
        assert getattr(package, each).__doc__
    with pytest.raises(AttributeError, match="nothing"):
        _ = package.nothing


def test_importing_the_package_imports_no_tensorflow():
    code = (
        "import sys, tfprune, tfprune.methods.ekg\nprint(sorted({'tensorflow', 'keras', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.slow
def test_a_function_is_not_hidden_by_its_module():
    code = "import tfprune.methods.tickets.find_ticket as module\nimport tfprune\n"
    subprocess.run([sys.executable, "-c", f"{code}assert callable(tfprune.tickets.find_ticket)"], check=True)
