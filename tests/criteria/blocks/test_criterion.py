import numpy as np
import pytest

from tfprune import criteria
from tfprune.criteria import BlockCriterion, Cosine, get_block_criterion, registry
from tfprune.errors import ConfigError

NAMES = ("cosine", "l1", "loss", "random", "taylor")


def test_all_criteria_are_known_by_name():
    assert criteria.criterion_names("blocks") == NAMES
    for name in NAMES:
        criterion = get_block_criterion(name)
        assert isinstance(criterion, BlockCriterion)
        assert criterion.name == name
        info = registry.find_criterion(name, "blocks")
        kind = type(criterion)
        assert (info.uses_data, info.help) == (kind.uses_data, kind.__doc__.partition("\n")[0])
        assert info.origin == f"{kind.__module__}:{kind.__qualname__}"


def test_objects_and_classes_are_taken_as_they_are():
    criterion = Cosine(batches=2)
    assert get_block_criterion(criterion) is criterion
    assert get_block_criterion(Cosine) == Cosine()


def test_other_settings_do_not_find_them():
    assert {"cosine", "loss"}.isdisjoint(criteria.criterion_names())
    assert type(criteria.criterion("taylor")).__name__ == "Taylor"
    with pytest.raises(ConfigError, match=r"expected a criterion of .*, received 'cosine'"):
        criteria.criterion("cosine")


@pytest.mark.parametrize("given", [None, 3, "cosin", "l2"])
def test_what_is_no_criterion_is_refused(given):
    with pytest.raises(ConfigError, match="cosine, l1, loss, random, taylor"):
        get_block_criterion(given)


def test_a_criterion_of_ones_own(monkeypatch):
    for table in ("_INFOS", "_CLASSES"):
        monkeypatch.setattr(registry, table, dict(getattr(registry, table)))

    @criteria.register_criterion("late")
    class Late:
        """Keeps the last blocks."""

        kind = "blocks"

        def scores(self, model, blocks, data=None):
            return np.arange(len(blocks))

    assert isinstance(get_block_criterion("late"), Late)
    assert (get_block_criterion("late").name, Late.uses_data) == ("late", "optional")
    assert registry.find_criterion("late") is None
