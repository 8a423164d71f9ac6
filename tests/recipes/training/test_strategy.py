import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.recipes.training import make_strategy, strategy

no_gpu = pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="the machine has a GPU")


@no_gpu
def test_the_default_without_a_gpu_is_the_cpu(capsys):
    assert make_strategy((0,)).num_replicas_in_sync == 1
    assert capsys.readouterr().out == "no GPU found: running on the CPU\n"


@no_gpu
@pytest.mark.parametrize("ids", [(1,), (0, 1)])
def test_missing_gpus(ids):
    with pytest.raises(ConfigError, match="this machine has none"):
        make_strategy(ids)


@pytest.mark.parametrize("ids", [(), (0, 0)])
def test_wrong_lists_of_gpus(ids):
    with pytest.raises(ConfigError, match="different indices"):
        make_strategy(ids)


def test_several_gpus_are_mirrored_by_index(monkeypatch):
    made = []
    gpus = [tf.config.LogicalDevice(name=f"/device:GPU:{i}", device_type="GPU") for i in range(4)]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: gpus)
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", made.append)
    monkeypatch.setattr(tf.distribute, "OneDeviceStrategy", made.append)
    monkeypatch.setattr(strategy, "_mirrored", strategy._mirrored.__wrapped__)  # without its memory
    make_strategy((3, 1))
    make_strategy((2,))
    assert made == [["/device:GPU:3", "/device:GPU:1"], "/device:GPU:2"]
    with pytest.raises(ConfigError, match="no GPU 4; this machine has GPUs 0 to 3"):
        make_strategy((0, 4))


def test_trainings_with_different_optimizers_share_the_strategy_of_a_process():
    """A second `MirroredStrategy` on the same devices fails in TensorFlow, with Keras' optimizers alone too."""
    script = Path(__file__).with_name("strategies_script.py")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["same"]
    assert all(loss > 0 for loss in found["losses"])
    assert found["error"].startswith("strategy: expected one MirroredStrategy for these devices in this process")
