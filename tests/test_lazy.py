import subprocess
import sys

import pytest

import tfprune
from tfprune.lazy import lazy_exports
from tfprune.methods import ekg


def test_names_are_imported_on_first_use():
    get = lazy_exports("package", {"Fraction": "fractions", "path": "os.path"})
    from fractions import Fraction

    assert get("Fraction") is Fraction
    assert get("path") is __import__("os").path  # a module that goes by its own name


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="module 'package' has no attribute 'nothing'"):
        lazy_exports("package", {})("nothing")


@pytest.mark.parametrize("package", [tfprune, ekg], ids=lambda package: package.__name__)
def test_every_public_name_is_there(package):
    assert package.__all__
    for name in package.__all__:
        assert getattr(package, name).__doc__
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = package.nothing
    assert set(tfprune.__all__) < set(dir(tfprune))


def test_importing_the_package_imports_no_tensorflow():
    code = (
        "import sys, tfprune, tfprune.methods.ekg\nprint(sorted({'tensorflow', 'keras', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
