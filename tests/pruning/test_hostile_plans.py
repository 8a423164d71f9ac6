"""Plans that were changed at random, or on purpose: refused in one line, or carried out as they say."""

import copy
import itertools
import json
import random
from functools import reduce
from operator import getitem

import keras
import numpy as np
import pytest

from tfprune.errors import PruningError
from tfprune.pruning import PruningHistory, PruningPlan, plan_channels, prune_channels

layers = keras.layers
WRONG = [
    *(None, True, False, 0, 1, -1, 2, 0.5, -0.5, 1e308, 10**25, 2**63, "", "x", "global", "\x00\n\x1b[31m", "y" * 5000),
    *([], [[]], [0], [-1], [0, 0], ["a"], [None], {}, {"a": 1}, {"format": 1}, [{}], "\udcff", list(range(500))),
]


def places(content, path=()):
    """Yields the path of every value."""
    yield path
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in pairs:
        yield from places(value, (*path, key))


def at(content, path):
    return reduce(getitem, path, content)


def put(content, path, value):
    if not path:
        return value
    changed = copy.deepcopy(content)
    at(changed, path[:-1])[path[-1]] = value
    return changed


def without(content, path):
    changed = copy.deepcopy(content)
    del at(changed, path[:-1])[path[-1]]
    return changed


def deep(depth):
    return "[" * depth + "]" * depth


def mutations(text, seed):
    """Yields texts: of wrong values in every place, with a member less or more, cut, with flipped bits, nested."""
    content, rng = json.loads(text), random.Random(seed)
    for path in places(content):
        yield from (json.dumps(put(content, path, value)) for value in WRONG)
        yield json.dumps(put(content, path, "NEST")).replace('"NEST"', deep(3000))
        if path:
            yield json.dumps(without(content, path))
    for path in places(content):
        inner = at(content, path)
        if isinstance(inner, dict):
            yield json.dumps(put(content, path, {**inner, "more": 1}))
        if isinstance(inner, list) and inner:
            yield from (json.dumps(put(content, path, each)) for each in (inner[::-1], inner * 2, inner[1:], [inner]))
    yield from (text[:end] for end in range(len(text)))
    data = text.encode()
    while True:
        flipped = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 5))):
            flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        yield flipped.decode("latin-1")


@pytest.fixture(scope="module")
def model():
    inputs = keras.Input((6, 6, 2))
    x = y = layers.Conv2D(4, 3, padding="same", name="a")(inputs)
    x = layers.Conv2D(4, 3, padding="same", name="b")(layers.BatchNormalization(name="n")(x))
    x = layers.Flatten(name="f")(layers.Add(name="s")([x, y]))
    x = layers.Dense(3, name="c")(x)
    model = keras.Model(inputs, layers.Dense(2, name="out")(x), name="net")
    rng = np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(rng.uniform(0.1, 1, weight.shape))
    return model


def said(call):
    """Returns what a call returns, or None if it says what is wrong, in one line."""
    try:
        return call()
    except PruningError as error:
        line = str(error)
        assert len(line) < 400
        assert line.isprintable()
        return None


def holds_zero(small, model, plan, x):
    """Whether a pruned model computes what the whole one does with zeros where the removed channels are read."""
    whole = keras.models.clone_model(model)
    whole.set_weights(model.get_weights())
    gone = {group.name: sorted(set(range(group.size)) - set(group.keep)) for group in plan.groups}
    for name, group, shape in (("b", "a", (9, 4, 4)), ("c", "a", (36, 4, 3)), ("out", "c", (1, 3, 2))):
        kernel = whole.get_layer(name).kernel
        values = kernel.numpy().reshape(shape)  # `[positions, channels read, channels made]`
        values[:, gone[group]] = 0
        kernel.assign(values.reshape(kernel.shape))
    return np.allclose(small(x), whole(x), atol=1e-5)


@pytest.fixture
def files(model, tmp_path):
    """Texts of the files that plans and histories are stored in, and the classes that read them."""
    settings = {"density": 0.6, "max_sparsity": {"a": 0.5}, "round_to": 2, "min_channels": 2}
    history = PruningHistory()
    prune_channels(model, "l2", **settings, steps=2, history=history)
    history.save(tmp_path / "steps.json")
    plan = plan_channels(model, "l2", **settings)
    return {PruningPlan: plan.to_json(), PruningHistory: (tmp_path / "steps.json").read_text()}


def check(model, kind, text, count, path):
    """Feeds mutated files to a reader; those that it reads are shown and carried out."""
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 2)).astype(np.float32)
    read, carried_out = 0, set()
    for changed in itertools.islice(mutations(text, 0), count):
        path.write_bytes(changed.encode("utf-8", "surrogatepass"))
        found = said(lambda: kind.load(path))
        if found is None:
            continue
        read += 1
        steps = [found] if kind is PruningPlan else found.plans
        for plan in steps:
            assert str(plan)
            assert repr(plan)
            assert plan.explain()
        deed = tuple((plan.before, plan.after, plan.groups) for plan in steps)
        if deed in carried_out:
            continue
        carried_out.add(deed)
        small = said(lambda found=found: found.apply(model) if kind is PruningPlan else found.replay(model))
        if small is not None:
            assert small.count_params() == steps[-1].after.params
            assert holds_zero(small, model, steps[-1], x)
    assert read > count / 100
    assert carried_out


@pytest.mark.parametrize(("kind", "number"), [(PruningPlan, 10_000), (PruningHistory, 2_000)])
def test_mutated_files(model, files, kind, number, tmp_path):
    check(model, kind, files[kind], number, tmp_path / "changed.json")
