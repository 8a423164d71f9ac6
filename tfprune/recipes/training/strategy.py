"""The devices of a training, from settings to a distribution strategy of TensorFlow.

`make_strategy` checks which GPUs exist, waits until all workers of `TF_CONFIG` have connected, and returns the
strategy.
"""

import functools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeAlias

import tensorflow as tf

from tfprune.arguments import each_of, number, whole_number
from tfprune.cluster import Cluster
from tfprune.errors import ConfigError, check_choice
from tfprune.recipes.training.workers import wait_for_all

StrategyName: TypeAlias = Literal["auto", "multi_worker"]
_START_MINUTES = 10.0


def make_strategy(
    gpu_ids: Sequence[int] = (0,), name: StrategyName = "auto", *, start_minutes: float = _START_MINUTES
) -> tf.distribute.Strategy:
    """Returns the strategy that trains on these GPUs, in this process or in all workers.

    Args:
        gpu_ids: Indices of visible GPUs. On a machine without a GPU the default, `(0,)`, means the CPU, and a line
            about it is printed.
        name: `"auto"`: this process; `"multi_worker"`: the processes in `TF_CONFIG`, each with its GPUs of these
            indices. The function must then be called before TensorFlow does anything else; it waits for the others.
        start_minutes: How long to wait.

    Returns:
        TensorFlow's default strategy for one device, `MirroredStrategy` for several, `MultiWorkerMirroredStrategy` for
        several workers. For the same GPUs it is the same `MirroredStrategy` each time, see `collective_errors`.

    Raises:
        ConfigError: The list is empty, contains an index twice or a GPU that does not exist, or `TF_CONFIG` is wrong.
        WorkerError: Not all workers connected in time.
    """
    gpu_ids = each_of(whole_number, "gpu_id", gpu_ids, at_least=0)
    if not gpu_ids or len(set(gpu_ids)) != len(gpu_ids):
        raise ConfigError(f"gpu_id: expected different indices, at least one, received {list(gpu_ids)}")
    check_choice("strategy", name, StrategyName)
    start_minutes = number("start_minutes", start_minutes, above=0)
    if not os.environ.get("TF_CONFIG", "{}").strip():
        del os.environ["TF_CONFIG"]  # TensorFlow would report broken JSON
    if name == "multi_worker":
        return _multi_worker(gpu_ids, start_minutes)
    _grow_memory()
    gpus = [device.name for device in tf.config.list_logical_devices("GPU")]
    if not _has_all(gpu_ids, len(gpus)):
        return tf.distribute.get_strategy()
    if len(gpu_ids) > 1:
        return _mirrored(tuple(gpus[index] for index in gpu_ids))
    return tf.distribute.get_strategy() if gpu_ids[0] == 0 else tf.distribute.OneDeviceStrategy(gpus[gpu_ids[0]])


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy(list(devices))


@contextmanager
def collective_errors() -> Iterator[None]:
    """Explains an error of TensorFlow: two strategies of one process number their sums over devices alike.

    Each `MirroredStrategy` counts its sums from the same number, and TensorFlow remembers the shape of each number for
    the whole process. So a second strategy on the same devices fails as soon as it sums another shape, whatever the
    optimizers are. One strategy for all trainings of a process works.

    Raises:
        ConfigError: This has happened.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if "Shape mismatch in the collective instance" not in str(error.message):
            raise
        raise ConfigError(
            "strategy: expected one MirroredStrategy for these devices in this process, received a second one, whose "
            "sums TensorFlow mixes up with those of the first; use the first one again, as make_strategy does, or "
            "start a new process"
        ) from error


def _multi_worker(gpu_ids: Sequence[int], start_minutes: float) -> tf.distribute.Strategy:
    """Waits for the workers of `TF_CONFIG` and returns their strategy."""
    cluster = Cluster.from_environment()
    if cluster is None:
        raise ConfigError(
            "strategy: expected TF_CONFIG in the environment to name the workers, received none; set it, or use auto"
        )
    gpus = tf.config.list_physical_devices("GPU")
    chosen = [gpus[index] for index in gpu_ids] if _has_all(gpu_ids, len(gpus)) else []
    tf.config.set_visible_devices(chosen, "GPU")
    _grow_memory()
    if len(cluster.addresses) > 1:
        print(f"{cluster.title}: waiting for the others, {start_minutes:g} minutes at most", flush=True)
        wait_for_all(cluster, start_minutes)
    return tf.distribute.MultiWorkerMirroredStrategy(_resolver(cluster, len(chosen)))


def _resolver(cluster: Cluster, gpus: int) -> tf.distribute.cluster_resolver.ClusterResolver:
    """Describes the cluster to TensorFlow, with the chief as the first worker."""
    return tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(cluster.addresses)}),
        task_type="worker",
        task_id=cluster.rank,
        num_accelerators={"GPU": gpus},
        rpc_layer="grpc",
    )


def _has_all(gpu_ids: Sequence[int], count: int) -> bool:
    """Returns True if these GPUs exist, False if the CPU is meant.

    Raises:
        ConfigError: One of them does not exist.
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
    """Leaves GPU memory to other processes; possible only before TensorFlow has initialized the GPUs."""
    try:
        for device in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(device, True)
    except RuntimeError:
        return
