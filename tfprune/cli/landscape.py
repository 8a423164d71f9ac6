"""What `tfprune landscape` does."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from inspect import signature
from math import isfinite
from typing import Any

import keras
import numpy as np
from rich.console import Console
from rich.text import Text

from tfprune.cli.examples import load_examples
from tfprune.cli.model_configs import LANDSCAPE_FILES, LandscapeConfig
from tfprune.console import report_console, working
from tfprune.criteria.loss import last_activation
from tfprune.criteria.registry import load_plugins
from tfprune.errors import ConfigError
from tfprune.files import csv_text, make_folder, write_text
from tfprune.landscape import Landscape, measure
from tfprune.landscape.figures import draw_sections
from tfprune.model_file import load_model
from tfprune.tables import Column, count, make_table, paragraph, shortened

_TITLE = 44  # characters of a file name above a panel of the figure


def run(config: LandscapeConfig, console: Console | None = None) -> dict[str, Landscape]:
    """Measures the loss landscapes of models, prints a table, and writes numbers and a figure if asked to.

    Args:
        config: The settings.
        console: Where to print. Default: standard output.

    Returns:
        The landscapes by file.

    Raises:
        TfpruneError: Something that the user can fix.
    """
    console = console or report_console()
    config.check_files()
    load_plugins(config.plugin)
    found = {path: _measured(path, config) for path in config.models}
    console.print(Text(_table(found, console.width) + "\n"))
    console.print(Text(paragraph(_note(config, found), width=console.width), style="dim"))
    if config.out is not None:
        _write(config, found)
        console.print(Text(f"wrote {', '.join(LANDSCAPE_FILES)} to {config.out}"))
    return found


def _measured(path: str, config: LandscapeConfig) -> Landscape:
    with working(f"reading {path}"):
        model = load_model(path)
        loss = None if config.loss is None else _loss(config.loss, model)
        x, y = load_examples(config.data, config.data_path, config.examples, model)
    if y is None:
        raise ConfigError(f"--data: expected labels y besides x in {config.data}, as the loss needs them; add them")
    starts = range(0, len(x), config.batch_size)
    batches = [(x[start : start + config.batch_size], y[start : start + config.batch_size]) for start in starts]
    return measure(model, batches, config, loss=loss)


def _loss(name: str, model: keras.Model) -> Any:
    """Returns a loss of Keras by its name; a cross-entropy takes logits if the model returns them."""
    try:
        loss = keras.losses.get(name)
    except ValueError as error:
        raise ConfigError(
            f"--loss: expected the name of a loss of Keras, such as mean_squared_error, received {name}"
        ) from error
    kind = getattr(keras.losses, name.title().replace("_", ""), type(loss))
    if "from_logits" in signature(kind).parameters:
        return kind(from_logits=last_activation(model) == "linear")
    return loss


def _table(found: Mapping[str, Landscape], width: int) -> str:
    """Returns a table with a line for each model."""
    columns = [Column("model", "name"), Column("loss"), Column("fluctuation")]
    hessian = all(each.curvature is not None for each in found.values())
    columns += [Column(title) for title in (("Hessian from", "to", "|ratio|") if hessian else ())]
    rows = []
    for path, each in found.items():
        numbers = each.numbers
        error = numbers["fluctuation_error"]
        fluctuation = f"{numbers['fluctuation']:.4g}" + (f" ± {error:.2g}" if isfinite(error) else "")
        ends = [_shown(numbers[name]) for name in ("hessian_min", "hessian_max", "hessian_ratio") if name in numbers]
        rows.append([path, f"{numbers['center_loss']:.4f}", fluctuation, *ends])
    return make_table(columns, rows, width=width, indent=0)


def _shown(value: float) -> str:
    return f"{value:.4g}" if isfinite(value) else "not found"


def _note(config: LandscapeConfig, found: Mapping[str, Landscape]) -> str:
    """Returns what the numbers of the table are."""
    section = next(iter(found.values())).section
    norms = {"batch": "those of each batch", "moving": "the moving averages", "recalibrated": "measured at each point"}
    noun = "direction" if config.dimensions == 1 else "plane"
    text = (
        f"loss: mean over {count(section.examples, 'example')} in batches of {min(config.batch_size, section.examples)}"
        f"; statistics of batch norms: {norms[config.batch_norm]}; fluctuation: root mean square of its change over "
        f"{count(config.drawn, noun)}, each filter moved by at most {config.radius:g} of its norm"
    )
    if config.drawn > 1:
        text += ", ± standard error"
    if config.hessian:
        text += "; |ratio|: smallest over largest eigenvalue of the Hessian"
    if len(found) > 1:
        text += "; models of different widths have different random directions"
    return text


def _write(config: LandscapeConfig, found: Mapping[str, Landscape]) -> None:
    """Writes `LANDSCAPE_FILES`."""
    assert config.out is not None, "checked by the caller"
    folder = make_folder(config.out)
    values = {"settings": config.settings(), "models": {path: _values(each) for path, each in found.items()}}
    write_text(folder / "landscape.json", json.dumps(values, indent=1) + "\n")
    write_text(folder / "landscape.csv", csv_text([{"model": path} | each.numbers for path, each in found.items()]))
    write_text(folder / "sections.csv", csv_text([row for path, each in found.items() for row in _points(path, each)]))
    draw_sections({shortened(path, _TITLE): each.section for path, each in found.items()}, folder / "landscape.png")


def _values(landscape: Landscape) -> dict[str, Any]:
    """Returns everything about a landscape, for JSON, which has no NaN."""
    curvature = None if landscape.curvature is None else _without_nan(asdict(landscape.curvature))
    return _without_nan(landscape.numbers) | {"section": landscape.section.values, "curvature": curvature}


def _without_nan(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(value, float) and not isfinite(value) else value for name, value in values.items()}


def _points(path: str, landscape: Landscape) -> list[dict[str, Any]]:
    """Returns a row for each point of each section."""
    section = landscape.section
    names = ("step",) if section.dimensions == 1 else ("first_step", "second_step")
    return [
        {"model": path, "direction" if section.dimensions == 1 else "plane": number}
        | {name: float(section.steps[place]) for name, place in zip(names, places, strict=True)}
        | {"loss": float(section.losses[number, *places])}
        for number, *places in np.ndindex(*section.losses.shape)
    ]
