"""From the settings of a run to how a network is trained."""

from typing import Any

from tfprune.recipes.run_config import RunConfig
from tfprune.recipes.training import Recipe


def make_recipe(config: RunConfig, *, epochs: int, kind: type[Recipe] = Recipe, **more: Any) -> Any:
    """A recipe with what all settings have in common.

    Args:
        config: The settings.
        epochs: Epochs of the schedule.
        kind: Class of the recipe.
        **more: What this one has besides, by its fields.
    """
    return kind(
        epochs=epochs,
        batch_size=config.batch_size,
        seed=config.seed,
        val_batch_size=config.val_batch_size,
        compile=config.compile,
        accumulate=config.accum,
        log_every=config.do_log,
        **more,
    )
