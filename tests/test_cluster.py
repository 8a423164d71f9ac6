import json

import pytest

from tfprune.cluster import Cluster
from tfprune.errors import ConfigError

TWO = {"worker": ["a:1", "b:2"]}


def text(cluster=TWO, task=("worker", 1)):
    return json.dumps({"cluster": cluster, "task": {"type": task[0], "index": task[1]}})


def test_workers_in_their_order():
    assert Cluster.from_json(text()) == Cluster(("a:1", "b:2"), rank=1)
    assert [Cluster.from_json(text(task=("worker", index))).is_chief for index in (0, 1)] == [True, False]
    assert Cluster.from_json(text({"worker": ["[::1]:80", "b:2"]})).addresses[0] == "[::1]:80"


def test_a_chief_comes_first():
    cluster = {"worker": ["a:1", "b:2"], "chief": ["c:3"]}
    assert Cluster.from_json(text(cluster, ("chief", 0))) == Cluster(("c:3", "a:1", "b:2"), rank=0)
    assert Cluster.from_json(text(cluster, ("worker", 1))).rank == 2


@pytest.mark.parametrize("value", ["", "  ", "{}", '{"cluster": {}}'])
def test_no_cluster(monkeypatch, value):
    monkeypatch.setenv("TF_CONFIG", value)
    assert Cluster.from_environment() is None


def test_the_environment(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert Cluster.from_environment() is None
    monkeypatch.setenv("TF_CONFIG", text())
    assert Cluster.from_environment().title == "worker 1 of 2"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("{", "expected JSON, received {"),
        ("[1]", "expected a JSON object with `cluster` and `task`, received"),
        (text({"worker": ["a:1"], "ps": ["b:1"]}), "expected a `cluster` of `worker` and perhaps `chief` only"),
        (text(["a:1"]), "expected a `cluster` of"),
        (text({"worker": "a:1"}), "expected a list of addresses as `worker`, received a:1"),
        (text({"worker": []}), "expected a list of addresses as `worker`"),
        (text({"worker": [1]}), "expected a list of addresses as `worker`"),
        (text({"worker": ["a:1"], "chief": ["b:1", "c:1"]}), "expected one chief"),
        (text({"worker": ["a", "b:1"]}), "expected addresses host:port, received a;"),
        (text({"worker": ["a:0", "b:1"]}), "expected addresses host:port, received a:0"),
        (text({"worker": ["a:65536", "b:1"]}), "expected addresses host:port"),
        (text({"worker": ["http://a:1", "b:1"]}), "expected addresses host:port"),
        (text({"worker": ["a:1", "a:1"]}), "expected an address of its own for each worker"),
        (text(task=("chief", 0)), "expected a `task` with the type worker and an index"),
        (text(task=("evaluator", 0)), "expected a `task` with the type worker"),
        (json.dumps({"cluster": TWO}), "expected a `task` with the type worker and an index, received null"),
        (text(task=("worker", 2)), "expected a task index from 0 to 1, received 2"),
        (text(task=("worker", -1)), "expected a task index from 0 to 1, received -1"),
        (text(task=("worker", "1")), "expected a task index from 0 to 1, received 1"),
        (text(task=("worker", True)), "expected a task index from 0 to 1, received true"),
        (
            json.dumps({"cluster": TWO, "task": {"type": ["worker"], "index": 0}}),
            "expected a `task` with the type worker",
        ),
        (json.dumps({"cluster": TWO, "task": {"type": {}, "index": 0}}), "expected a `task` with the type worker"),
        (text({"worker": ["a:\u0661\u0662", "b:1"]}), "expected addresses host:port"),
        ("[" * 100_000, "expected JSON, received "),
        ('{"cluster":' * 100_000, "expected JSON, received "),
        ('{"cluster": {}, "cluster": {}}', "expected JSON, received "),
        ('{"cluster": NaN}', "expected JSON, received "),
        ('{"cluster": 1' + "0" * 5000 + "}", "expected JSON, received "),
        (r'"\ud800"', "expected JSON, received "),
        ("\udcff", "expected JSON, received "),
        (text({"worker": [[[]]]}), "expected a list of addresses as `worker`"),
        (text({"worker": {"a:1": 0}}), "expected a list of addresses as `worker`"),
        (text("a:1"), "expected a `cluster` of"),
        (text(1), "expected a `cluster` of"),
        (text(task=("worker", 10**30)), "expected a task index from 0 to 1, received 1000"),
        (text(task=("worker", 0.5)), "expected a task index from 0 to 1, received 0.5"),
        ("x" * 500, r"expected JSON, received x{77}\.\.\. \(it is no JSON: line 1, column 1\);"),
    ],
)
def test_errors_are_reported_in_one_line(value, expected):
    with pytest.raises(ConfigError, match=expected) as caught:
        Cluster.from_json(value)
    assert str(caught.value).startswith("TF_CONFIG: expected ")
    assert "; set it like {" in str(caught.value)
    assert "\n" not in str(caught.value)
