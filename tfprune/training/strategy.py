"""From GPU numbers to a distribution strategy."""

from collections.abc import Sequence

import tensorflow as tf

from tfprune.errors import ConfigError


def make_strategy(gpu_ids: Sequence[int] = (0,)) -> tf.distribute.Strategy:
    """The strategy that trains on these GPUs.

    Args:
        gpu_ids: Indices into the visible GPUs; any subset. On a machine without a GPU the default, `(0,)`, means the
            CPU, which is said in one printed line.

    Returns:
        TensorFlow's default strategy for one device, `MirroredStrategy` for several.

    Raises:
        ConfigError: If the list is empty or repeats itself, or names a GPU that is not there.
    """
    if not gpu_ids or len(set(gpu_ids)) != len(gpu_ids):
        raise ConfigError(f"gpu_id: expected different indices, at least one, received {list(gpu_ids)}")
    _grow_memory()
    gpus = [device.name for device in tf.config.list_logical_devices("GPU")]
    if not gpus and tuple(gpu_ids) == (0,):
        print("no GPU found: running on the CPU")
        return tf.distribute.get_strategy()
    missing = [index for index in gpu_ids if not 0 <= index < len(gpus)]
    if missing:
        there = f"this machine has GPUs 0 to {len(gpus) - 1}" if gpus else "this machine has none"
        raise ConfigError(f"gpu_id: no GPU {', '.join(map(str, missing))}; {there}")
    if len(gpu_ids) > 1:
        return tf.distribute.MirroredStrategy([gpus[index] for index in gpu_ids])
    return tf.distribute.get_strategy() if gpu_ids[0] == 0 else tf.distribute.OneDeviceStrategy(gpus[gpu_ids[0]])


def _grow_memory() -> None:
    """Lets other processes use the GPUs too; possible only before TensorFlow has initialised them."""
    try:
        for device in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(device, True)
    except RuntimeError:
        return
