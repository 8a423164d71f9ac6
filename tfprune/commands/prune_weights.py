"""What `tfprune prune` does where single weights are pruned."""

import warnings
from typing import Any

import keras
from rich.console import Console
from rich.text import Text

from tfprune.commands.examples import Examples
from tfprune.commands.file_size import file_size
from tfprune.commands.prune_config import PruneConfig
from tfprune.console import working
from tfprune.criteria import LayerCollapseWarning, weight_criterion
from tfprune.masks import Masks


def prune_weights(config: PruneConfig, model: keras.Model, examples: Examples | None, console: Console) -> Masks:
    """Finds the masks of a model's weights, shows them, and writes them unless it is a dry run.

    Args:
        config: The settings.
        model: The model.
        examples: What criteria may look at.
        console: Where to print.

    Returns:
        The masks.

    Raises:
        TfpruneError: Something the user can mend.
    """
    settings: dict[str, Any] = {
        "schedule": config.schedule or "exponential",
        "scope": config.scope,
        "ignore": config.ignore,
        "original_ties": config.original_ties,
    }
    if config.iterations is not None:
        settings["iterations"] = config.iterations
    if config.criterion == "synflow":
        settings["input_shape"] = config.input_shape
    criterion = weight_criterion(config.criterion, **settings)
    with working(f"scoring weights by {config.criterion}"), warnings.catch_warnings():
        warnings.simplefilter("ignore", LayerCollapseWarning)  # said in a line of its own
        masks = criterion(model, config.density, None if examples is None else tuple(examples))
    console.print(Text(masks.table()))
    console.print()
    if masks.collapsed:
        console.print(Text(str(LayerCollapseWarning(masks.collapsed))))
    if config.dry_run:
        console.print("dry run: nothing was written")
        return masks
    assert config.out is not None, "checked by the settings"
    masks.save(config.out)
    console.print(Text(f"wrote {config.out}: {file_size(config.out)}"))
    return masks
