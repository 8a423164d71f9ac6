"""Sections and curvature of a model's loss in one call, as the program and a search measure them."""

from dataclasses import dataclass
from os import PathLike
from typing import Any

import keras

from tfprune.arguments import instance, line_width, text
from tfprune.landscape.figures import draw_sections
from tfprune.landscape.hessian import Curvature, curvature
from tfprune.landscape.sections import Section, section
from tfprune.landscape.settings import LandscapeSettings
from tfprune.reprs import short_repr
from tfprune.tables import WIDTH


@dataclass(frozen=True)
class Landscape:
    """Sections of a loss, and its curvature at the center.

    Attributes:
        section: The sections.
        curvature: The extreme eigenvalues of the Hessian; None if they were not wanted.
    """

    section: Section
    curvature: Curvature | None = None

    __repr__ = short_repr

    @property
    def numbers(self) -> dict[str, float]:
        """The numbers by name, as in the metrics of a search; NaN for what does not exist or was not found.

        These are `center_loss`, `fluctuation` and its standard error `fluctuation_error`, and, if there is a curvature,
        `hessian_min`, `hessian_max` and `hessian_ratio`, the condition measure `|min / max|`.
        """
        section, curvature = self.section, self.curvature
        found = {
            "center_loss": section.center,
            "fluctuation": section.fluctuation,
            "fluctuation_error": section.standard_error,
        }
        if curvature is None:
            return found
        ends = {"hessian_min": curvature.smallest, "hessian_max": curvature.largest, "hessian_ratio": curvature.ratio}
        return found | ends

    def table(self, *, width: int = WIDTH) -> str:
        """Returns the tables of sections and curvature.

        Args:
            width: Characters per line.
        """
        width = line_width(width)
        parts = [self.section.table(width=width)]
        if self.curvature is not None:
            parts.append(self.curvature.table(width=width))
        return "\n\n".join(parts)

    def plot(self, path: str | PathLike[str], *, title: str = "") -> None:
        """Draws the sections, see `Section.plot`."""
        draw_sections({text("title", title): self.section}, path)


def measure(
    model: keras.Model,
    data: Any,
    settings: LandscapeSettings | None = None,
    *,
    loss: Any = None,
    batches: int | None = None,
    progress: bool = True,
) -> Landscape:
    """Measures sections of a model's loss, and its curvature if the settings say so.

    Args:
        model: A functional or sequential model. It is not changed.
        data: A pair of arrays, or batches `(x, y)`, see `section`.
        settings: What is measured. Default: the defaults of `LandscapeSettings`.
        loss: What `compile(loss=...)` takes. None: the loss that the model is compiled with; if it is not compiled,
            cross-entropy.
        batches: Use only so many batches. Default: all.
        progress: Show progress bars.

    Raises:
        ConfigError: The data or the loss cannot be used.
        UnsupportedLayerError: The model has no graph, or the loss no second derivative.

    Example:
        `tfprune.landscape.measure(model, (images, labels)).numbers["hessian_ratio"]`
    """
    if settings is None:
        settings = LandscapeSettings()
    instance("settings", settings, LandscapeSettings, "LandscapeSettings")
    common = {
        "loss": loss,
        "batches": batches,
        "batch_norm": settings.batch_norm,
        "dtype": settings.dtype,
        "seed": settings.seed,
        "progress": progress,
    }
    sections = section(
        model,
        data,
        dimensions=settings.dimensions,
        directions=settings.directions,
        points=settings.points,
        radius=settings.radius,
        **common,
    )
    if not settings.hessian:
        return Landscape(sections)
    return Landscape(
        sections, curvature(model, data, tolerance=settings.tolerance, products=settings.products, **common)
    )
