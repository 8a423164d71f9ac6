"""The devices that settings name."""

import tensorflow as tf

from tfprune.cluster import Cluster
from tfprune.errors import ConfigError
from tfprune.recipes.run_config import RunConfig
from tfprune.recipes.training import check_parts, make_strategy


def open_strategy(config: RunConfig) -> tf.distribute.Strategy:
    """The devices to train on. To be called before TensorFlow does anything else, see `make_strategy`.

    Args:
        config: Which GPUs of which processes; batch size and chunks, which have to suit them.

    Raises:
        ConfigError: They are not there, do not divide the batch, or `TF_CONFIG` is wrong.
        WorkerError: Other workers cannot be reached.
    """
    cluster = Cluster.of_environment() if config.strategy == "auto" else None
    if cluster is not None and len(cluster.addresses) > 1:
        raise ConfigError(
            f"TF_CONFIG names {len(cluster.addresses)} workers, which would all do the same with --strategy auto: add "
            "--strategy multi_worker, or unset it"
        )
    strategy = make_strategy(config.gpu_id, config.strategy)
    check_parts(config.batch_size, chunks=config.accum, replicas=strategy.num_replicas_in_sync)
    return strategy
