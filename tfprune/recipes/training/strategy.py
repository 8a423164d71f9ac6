"""From settings to a distribution strategy."""

import os
from collections.abc import Sequence
from typing import Literal, TypeAlias

import tensorflow as tf

from tfprune.cluster import Cluster
from tfprune.errors import ConfigError
from tfprune.recipes.training.workers import meet

StrategyName: TypeAlias = Literal["auto", "multi_worker"]
_START_MINUTES = 10.0


def make_strategy(
    gpu_ids: Sequence[int] = (0,), name: StrategyName = "auto", *, start_minutes: float = _START_MINUTES
) -> tf.distribute.Strategy:
    """The strategy that trains on these GPUs, of this process alone or of all workers.

    Args:
        gpu_ids: Indices into the visible GPUs; any subset. On a machine without a GPU the default, `(0,)`, means the
            CPU, which is said in one printed line.
        name: `"auto"`: this process; `"multi_worker"`: the processes that `TF_CONFIG` names, on each of which these
            GPUs are used. It must then be called before TensorFlow does anything else, and waits for the others.
        start_minutes: How long it waits.

    Returns:
        TensorFlow's default strategy for one device, `MirroredStrategy` for several, `MultiWorkerMirroredStrategy` for
        several workers.

    Raises:
        ConfigError: If the list is empty or repeats itself, names a GPU that is not there, or `TF_CONFIG` is wrong.
        WorkerError: If the workers do not find each other.
    """
    if not gpu_ids or len(set(gpu_ids)) != len(gpu_ids):
        raise ConfigError(f"gpu_id: expected different indices, at least one, received {list(gpu_ids)}")
    if name not in ("auto", "multi_worker"):
        raise ConfigError(f"strategy: expected auto or multi_worker, received {name!r}")
    if not os.environ.get("TF_CONFIG", "{}").strip():
        del os.environ["TF_CONFIG"]  # TensorFlow would take it for broken JSON
    if name == "multi_worker":
        return _multi_worker(gpu_ids, start_minutes)
    _grow_memory()
    gpus = [device.name for device in tf.config.list_logical_devices("GPU")]
    if not _has_all(gpu_ids, len(gpus)):
        return tf.distribute.get_strategy()
    if len(gpu_ids) > 1:
        return tf.distribute.MirroredStrategy([gpus[index] for index in gpu_ids])
    return tf.distribute.get_strategy() if gpu_ids[0] == 0 else tf.distribute.OneDeviceStrategy(gpus[gpu_ids[0]])


def _multi_worker(gpu_ids: Sequence[int], start_minutes: float) -> tf.distribute.Strategy:
    cluster = Cluster.of_environment()
    if cluster is None:
        raise ConfigError(
            "strategy: expected TF_CONFIG in the environment to name the workers, received none; set it, or take auto"
        )
    gpus = tf.config.list_physical_devices("GPU")
    chosen = [gpus[index] for index in gpu_ids] if _has_all(gpu_ids, len(gpus)) else []
    tf.config.set_visible_devices(chosen, "GPU")
    _grow_memory()
    if len(cluster.addresses) > 1:
        print(f"{cluster.title}: waiting for the others, {start_minutes:g} minutes at most", flush=True)
        meet(cluster, start_minutes)
    return tf.distribute.MultiWorkerMirroredStrategy(_resolver(cluster, len(chosen)))


def _resolver(cluster: Cluster, gpus: int) -> tf.distribute.cluster_resolver.ClusterResolver:
    """For TensorFlow the chief is the first worker, whatever `TF_CONFIG` calls it."""
    return tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(cluster.addresses)}),
        task_type="worker",
        task_id=cluster.rank,
        num_accelerators={"GPU": gpus},
        rpc_layer="grpc",
    )


def _has_all(gpu_ids: Sequence[int], count: int) -> bool:
    """Whether these GPUs are there; False if the CPU is meant.

    Raises:
        ConfigError: If one of them is not.
    """
    if not count and tuple(gpu_ids) == (0,):
        print("no GPU found: running on the CPU")
        return False
    missing = [index for index in gpu_ids if not 0 <= index < count]
    if missing:
        there = f"this machine has GPUs 0 to {count - 1}" if count else "this machine has none"
        raise ConfigError(f"gpu_id: no GPU {', '.join(map(str, missing))}; {there}")
    return True


def _grow_memory() -> None:
    """Lets other processes use the GPUs too; possible only before TensorFlow has initialised them."""
    try:
        for device in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(device, True)
    except RuntimeError:
        return
