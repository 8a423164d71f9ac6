import numpy as np
import pytest

from tfprune import criteria
from tfprune.criteria import L2, Criterion, Random, registry
from tfprune.errors import ConfigError

NAMES = ("bn_scale", "dpp_node", "ekg", "fpgm", "l1", "l2", "random", "taylor")


@pytest.fixture
def scratch(monkeypatch):
    for table in ("_INFOS", "_CLASSES"):
        monkeypatch.setattr(registry, table, dict(getattr(registry, table)))


def test_all_criteria_are_known_by_name():
    assert criteria.names() == NAMES
    for name in NAMES:
        criterion = criteria.get(name)
        assert criterion.name == name
        assert isinstance(criterion, Criterion)
    assert [name for name in NAMES if criteria.get(name).uses_data == "always"] == ["ekg", "taylor"]


def test_objects_and_classes_are_taken_as_they_are():
    criterion = L2(reduce="max")
    assert criteria.get(criterion) is criterion
    assert criteria.get(L2) == L2()


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="bn_scale, dpp_node, ekg, fpgm, l1, l2, random, taylor, received 'l3'"):
        criteria.get("l3")


@pytest.mark.parametrize("given", [None, 3, object()])
def test_what_is_no_criterion_is_refused(given):
    with pytest.raises(ConfigError, match="expected a criterion's name"):
        criteria.get(given)


@pytest.mark.usefixtures("scratch")
def test_a_criterion_of_ones_own():
    @criteria.register("last")
    class Last:
        def scores(self, model, groups, data=None):
            return np.arange(3.0)

    found = criteria.get("last")
    assert (found.name, found.uses_data) == ("last", "optional")
    assert isinstance(found, Last)
    assert isinstance(found, Criterion)
    assert "last" in criteria.names()


@pytest.mark.usefixtures("scratch")
def test_names_stay_with_their_class():
    with pytest.raises(ConfigError, match="'l2' is L2 already"):
        criteria.register("l2")(Random)
    assert criteria.register("l2")(L2) is L2


@pytest.mark.usefixtures("scratch")
def test_classes_without_scores_are_refused():
    with pytest.raises(ConfigError, match="method scores"):
        criteria.register("nothing")(dict)
