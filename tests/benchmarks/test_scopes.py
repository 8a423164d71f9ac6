"""docs/scopes.md: the numbers of the originals are those of their code, ours are counted, and both are the same."""

import json

import numpy as np
import pytest
import scopes
from pages import written_part

from tests.golden_arrays import GoldenArrays

PAGE = scopes.PAGE.read_text(encoding="utf-8")
TICKETS = {"VGG-19": "vgg19_bn", "ResNet-32x2": "resnet32", "ResNet-56x2": "resnet56"}
MULTIPRIZE = {"VGG-Small": "VGG_Small", "ResNet-18": "ResNet18", "ResNet-50": "ResNet50"}


@pytest.fixture(scope="module")
def lines():
    return scopes.table().splitlines()


def test_the_page_is_what_is_counted(lines):
    written = written_part(PAGE, "scopes.py").splitlines()
    assert written == lines


def test_by_default_what_the_original_prunes(lines):
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    counted = [row for row in rows if row[0] != "DPP"]
    assert len(counted) == len(scopes.SCOPES) + 1
    for row in counted:
        assert row[5] == row[6], row


def in_their_code(scope):
    """How many weights the original prunes among, from the numbers that its code gave."""
    if scope.method.startswith("Peek-a-Boo"):
        lists = json.loads(str(GoldenArrays("peekaboo")["e/layer_lists_json"]))
        name = scope.arch.replace("-BN", "").replace("-maxpool", "").replace("-28-", "28_").replace("-", "")
        return sum(
            int(np.prod(shape)) for _, shape in lists[name.lower() if scope.classes == 1000 else name]["prunable"]
        )
    if scope.arch in TICKETS:
        return int(GoldenArrays("random_tickets")[f"layers/{TICKETS[scope.arch]}/c{scope.classes}/num"].sum())
    golden = GoldenArrays("biprop")
    place = list(golden["params/names"]).index(MULTIPRIZE.get(scope.arch, scope.arch))
    return int(golden["params/conv_weights__scores__bn_channels__n_conv__n_bn"][place, 0])


@pytest.mark.parametrize("scope", scopes.SCOPES, ids=lambda scope: f"{scope.method} {scope.arch}")
def test_numbers_of_the_originals(scope):
    assert scope.original == in_their_code(scope)
