import subprocess
import sys

import numpy as np
import pytest

from tfprune import criteria
from tfprune.criteria import L2, Criterion, Magnitude, Random, RandomWeights, WeightCriterion, registry
from tfprune.errors import ConfigError

NAMES = ("bn_scale", "dpp_node", "ekg", "flap", "fpgm", "l1", "l2", "random", "taylor", "ziplm")


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
    assert [name for name in NAMES if criteria.get(name).uses_data == "always"] == ["ekg", "flap", "taylor", "ziplm"]


def test_objects_and_classes_are_taken_as_they_are():
    criterion = L2(reduce="max")
    assert criteria.get(criterion) is criterion
    assert criteria.get(L2) == L2()


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(
        ConfigError, match="bn_scale, dpp_node, ekg, flap, fpgm, l1, l2, random, taylor, ziplm, received 'l3'"
    ):
        criteria.get("l3")


def test_messages_on_names_suggest_what_was_meant():
    with pytest.raises(ConfigError, match=r"received 'L2norm'; did you mean l2\?$"):
        criteria.get("L2norm")
    with pytest.raises(ConfigError, match=r"received 'magnitude', which scores single weights, for masks"):
        criteria.get("magnitude")
    with pytest.raises(ConfigError, match=r"received 'l2', which scores channels, for tfprune.plan_channels"):
        criteria.weight_criterion("l2")


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
    with pytest.raises(ConfigError, match="method scores"):
        criteria.register_criterion("abstract")(type("Abstract", (criteria.WeightCriterion,), {}))
    with pytest.raises(ConfigError, match="method scores"):
        criteria.register_criterion("instance")(L2())


@pytest.mark.usefixtures("scratch")
def test_what_a_program_could_not_use_is_refused():
    sometimes = type("Sometimes", (L2,), {"uses_data": "sometimes"})
    with pytest.raises(ConfigError, match="uses_data of never, optional, always, received 'sometimes'"):
        criteria.register_criterion("sometimes")(sometimes)
    for name in ("", 3):
        with pytest.raises(ConfigError, match="expected a name"):
            criteria.register_criterion(name)(type("Named", (L2,), {}))
    with pytest.raises(ConfigError, match="L2 is criterion 'l2' already"):
        criteria.register_criterion("second")(L2)
    with pytest.raises(ConfigError, match="kind: expected one of channels, weights, blocks, received 'layers'"):
        criteria.criterion("l2", kind="layers")


BUILT_IN = """
from tfprune.criteria import registry
for info in registry.registered_criteria():
    kind = type(registry.criterion(info.name, kind=info.kind))
    found = registry.CriterionInfo(
        kind.name, getattr(kind, "kind", "channels"), kind.uses_data, kind.__doc__.partition("\\n")[0],
        f"{kind.__module__}:{kind.__qualname__}",
    )
    assert found == info, (found, info)
print(len(registry.registered_criteria()))
"""


def test_what_is_known_of_built_in_criteria_is_what_their_classes_say():
    done = subprocess.run([sys.executable, "-c", BUILT_IN], capture_output=True, text=True, check=True)
    assert done.stdout == "24\n"


def test_criteria_of_both_kinds_are_created_by_name():
    assert criteria.criterion("l2", reduce="max") == L2(reduce="max")
    assert criteria.criterion("magnitude", scope="local") == Magnitude(scope="local")
    with pytest.raises(ConfigError, match="'random': there is one for channels and one for weights; give kind="):
        criteria.criterion("random")
    assert criteria.criterion("random", kind="channels") == Random()
    assert criteria.criterion("random", kind="weights", seed=2) == RandomWeights(seed=2)
    assert set(criteria.criterion_names()) == {*criteria.names(), *criteria.weight_names()}
    with pytest.raises(ConfigError, match=r"expected a criterion for weights of .*, received 'l2'"):
        criteria.criterion("l2", kind="weights")
    with pytest.raises(
        ConfigError, match="criterion l2: expected settings of roles, reduce, normalize, received scope"
    ):
        criteria.criterion("l2", scope="local")


@pytest.mark.usefixtures("scratch")
def test_one_verb_registers_both_kinds():
    @criteria.register_criterion("mine")
    class Mine(WeightCriterion):
        """Scores all weights alike.

        More is not said.
        """

        def scores(self, model, masks, data=None):
            return {name: np.ones(mask.shape) for name, mask in masks.items()}

    @criteria.register_criterion("mine")
    class Channels:
        def scores(self, model, groups, data=None):
            return np.ones(groups.channels)

    assert isinstance(criteria.weight_criterion("mine"), Mine)
    assert isinstance(criteria.get("mine"), Channels)
    own = {info.kind: info for info in registry.registered_criteria() if info.name == "mine"}
    assert own["weights"].help == "Scores all weights alike."
    assert own["weights"].uses_data == "never"
    assert (own["channels"].uses_data, own["channels"].help) == ("optional", f"{Channels.__qualname__} of {__name__}.")


def test_the_registry_needs_no_tensorflow():
    code = "import sys\nfrom tfprune.criteria import registry\nregistry.registered_criteria()\n"
    code += "print(sorted({'tensorflow', 'keras', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_weight_criterion_of_ones_own_in_both_styles(scratch):
    import keras

    class ByWeights(WeightCriterion):
        def scores(self, model, weights, data=None):
            return {name: -np.abs(np.asarray(weight)) for name, weight in weights.items()}

    class ByMasks(WeightCriterion):
        def scores(self, model, masks, data=None):
            return {name: np.arange(mask.shape.num_elements()).reshape(mask.shape) for name, mask in masks.items()}

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="fc")])
    kernel = model.get_layer("fc").kernel
    kernel.assign(np.arange(1.0, 13.0).reshape(4, 3))
    criteria.register_criterion("by_weights")(ByWeights)
    criteria.register_weight_criterion("by_masks")(ByMasks)
    expected = {"by_weights": np.asarray(kernel) <= 6, "by_masks": np.asarray(kernel) > 6}
    for name, mask in expected.items():
        np.testing.assert_array_equal(criteria.criterion(name)(model, density=0.5)["fc/kernel"], mask)
        np.testing.assert_array_equal(criteria.weight_criterion(name)(model, density=0.5)["fc/kernel"], mask)


def test_scores_of_other_arguments_are_refused(scratch):
    class Short(WeightCriterion):
        def scores(self, model, weights):
            return weights

    message = r"scores\(self, model, weights, data=None\) for weights, received scores\(self, model, weights\)"
    for register in (criteria.register_criterion, criteria.register_weight_criterion):
        with pytest.raises(ConfigError, match=message):
            register("short")(Short)
