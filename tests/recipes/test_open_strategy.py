import json

import pytest
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.recipes.method import open_strategy
from tfprune.recipes.run_config import RunConfig

CLUSTER = json.dumps({"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}})


def test_one_process(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert open_strategy(RunConfig()).num_replicas_in_sync == 1
    monkeypatch.setenv(
        "TF_CONFIG", json.dumps({"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}})
    )
    assert open_strategy(RunConfig()).num_replicas_in_sync == 1


@pytest.mark.parametrize(
    ("environment", "changes", "expected"),
    [
        ("", {"strategy": "multi_worker"}, "strategy: expected TF_CONFIG in the environment to name the workers"),
        ("{", {"strategy": "multi_worker"}, "TF_CONFIG: expected JSON"),
        (CLUSTER, {}, "TF_CONFIG names 2 workers, which would all do the same with --strategy auto"),
        (CLUSTER, {"strategy": "multi_worker", "gpu_id": (64,)}, "gpu_id: no GPU 64; this machine has"),
        ("", {"accum": 3}, r"batch_size: expected a multiple of 3 \(1 device\(s\) times 3 .* received 128; take 126"),
        ("", {"gpu_id": (64,)}, "gpu_id: no GPU 64; this machine has"),
    ],
)
def test_what_does_not_fit_is_found_at_once(monkeypatch, environment, changes, expected):
    monkeypatch.setenv("TF_CONFIG", environment)
    with pytest.raises(ConfigError, match=expected):
        open_strategy(RunConfig(**changes))


def test_devices_times_chunks_divide_the_batch(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    made = tf.distribute.MirroredStrategy(["CPU:0"])
    monkeypatch.setattr(type(made), "num_replicas_in_sync", 6)
    monkeypatch.setattr("tfprune.recipes.method.make_strategy", lambda *arguments: made)
    assert open_strategy(RunConfig(batch_size=24, accum=2)) is made
    with pytest.raises(ConfigError, match=r"a multiple of 12 \(6 device\(s\) times 2 accumulated chunk\(s\)\)"):
        open_strategy(RunConfig(batch_size=30, accum=2))
