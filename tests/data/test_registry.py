import pytest

from tfprune.data import data_names, load_data
from tfprune.errors import ConfigError


def test_names_in_any_case():
    assert data_names() == ("CIFAR10", "CIFAR100", "digits", "tiny-imagenet", "MNIST")
    assert load_data("DIGITS").name == "digits"


@pytest.mark.parametrize("name", ["SVHN", "", "CIFAR"])
def test_unknown_name_lists_the_known(name):
    with pytest.raises(ConfigError, match="CIFAR10, CIFAR100, digits") as raised:
        load_data(name)
    assert repr(name) in str(raised.value)
