"""Augmented batches to train on, the same ones whether a run was interrupted or not."""

from collections.abc import Sequence

import tensorflow as tf

from tfprune.data.augmented_batch import augmented_batch
from tfprune.data.image_arrays import ImageArrays
from tfprune.data.knowledge import Knowledge
from tfprune.data.knowledge_rows import check_knowledge, knowledge_rows
from tfprune.data.shuffled_steps import shuffled_steps
from tfprune.data.step_checks import check_rows, check_steps
from tfprune.data.view import View


def training_batches(
    data: ImageArrays,
    *,
    batch_size: int,
    epochs: int,
    seed: int,
    start_step: int = 0,
    views: int = 1,
    view: View | None = None,
    color_jitter: bool = False,
    knowledge: Knowledge | None = None,
    rows: Sequence[int] | None = None,
) -> tf.data.Dataset:
    """Shuffled, augmented, normalised batches of the training images.

    Every batch is a pure function of the seed and its step: beginning at step k gives, bit for bit, what an unbroken
    sequence gives from step k on. The images stay in memory as bytes; a batch is one gather from them.

    Args:
        data: The data set.
        batch_size: Images per batch; the remainder of an epoch is left out.
        epochs: Epochs of the whole sequence, the skipped steps included.
        seed: Drives order and augmentation.
        start_step: Step, counted over all epochs, to begin at.
        views: With 2 or more, each image comes in that many views, stacked on axis 1. They are augmented independently;
            with `view`, the first is the augmented image itself, and the others are what `view` makes of it, as
            `tfprune.training.Consistency` wants it with 3.
        view: What changes the augmented images, such as `AugMix()`.
        color_jitter: Whether to change contrast and saturation too (see `jitter_colors`).
        knowledge: Rows `[train, classes, teachers]` that belong to the training images: an array or `ShardedRows`; may
            be memory-mapped, as only the rows of each batch are read.
        rows: Places within each batch whose images are wanted, in this order, such as the share of one of several
            workers; they look as they do in the whole batch. Default: all.

    Returns:
        Batches `{"images": [batch, (views,) height, width, channels] float32, "labels": [batch] int64}` and, with
        `knowledge`, `"knowledge": [batch, classes, teachers] float32`.

    Raises:
        ConfigError: A number is out of range, or `knowledge` does not belong to the training images.
    """
    images = len(data.train_labels)
    check_steps(images, batch_size=batch_size, epochs=epochs, views=views, start_step=start_step)
    check_knowledge(knowledge, (images, data.num_classes), data.name)
    check_rows(rows, batch_size)
    gather = augmented_batch(
        data, batch_size=batch_size, seed=seed, views=views, view=view, color_jitter=color_jitter, rows=rows
    )
    dataset = shuffled_steps(images, batch_size=batch_size, epochs=epochs, seed=seed, start_step=start_step).map(
        gather, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    if knowledge is not None:
        dataset = dataset.map(knowledge_rows(knowledge, batch_size if rows is None else len(rows)))
    else:
        dataset = dataset.map(lambda positions, batch: batch)
    return dataset.prefetch(tf.data.AUTOTUNE)
