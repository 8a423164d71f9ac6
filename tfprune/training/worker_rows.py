"""Which examples of a batch a worker takes."""

from tfprune.errors import ConfigError


def worker_rows(batch_size: int, *, chunks: int, replicas: int, workers: int, rank: int) -> tuple[int, ...]:
    """The places in a batch of the examples that a worker's devices take, chunk by chunk.

    A batch is cut into chunks, and each chunk into as many parts as there are devices, worker by worker: so any number
    of workers sees the chunks that one process with as many devices would see.

    Args:
        batch_size: Examples of the batch.
        chunks: Into how many the batch is cut for gradient accumulation.
        replicas: Devices of all workers.
        workers: Processes.
        rank: Which of them.

    Returns:
        `[batch_size / workers]` places.

    Example:
        >>> worker_rows(8, chunks=2, replicas=2, workers=2, rank=1)
        (2, 3, 6, 7)
    """
    check_parts(batch_size, chunks=chunks, replicas=replicas)
    chunk, share = batch_size // chunks, batch_size // chunks // workers
    first = [part * chunk + rank * share for part in range(chunks)]
    return tuple(row for start in first for row in range(start, start + share))


def check_parts(batch_size: int, *, chunks: int, replicas: int) -> None:
    """Whether a batch can be cut into equal parts.

    Only equal parts make the same update as the whole batch: statistics of parts are averaged.

    Raises:
        ConfigError: It cannot.
    """
    if chunks < 1:
        raise ConfigError(f"accumulate: expected at least 1 chunk, received {chunks}; mend it")
    parts = chunks * replicas
    if batch_size < 1 or batch_size % parts:
        raise ConfigError(
            f"batch_size: expected a multiple of {parts} ({replicas} device(s) times {chunks} accumulated chunk(s)), "
            f"received {batch_size}; take {batch_size - batch_size % parts or parts}, or other devices or chunks"
        )
