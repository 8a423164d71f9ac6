"""What `tfprune inspect` does."""

from rich.console import Console
from rich.text import Text

from tfprune.cli.model_configs import InspectConfig
from tfprune.cli.model_files import load_model_file
from tfprune.console import working
from tfprune.errors import ConfigError
from tfprune.graph import channel_groups
from tfprune.report import Summary, has_unknown_sizes, report_console, summarize


def run(config: InspectConfig, console: Console | None = None) -> Summary:
    """Prints the channel groups of a model, what is left alone and why, and the table of its layers.

    Args:
        config: The settings.
        console: Where to print. Default: standard output.

    Returns:
        The numbers of the layers.

    Raises:
        TfpruneError: Something that the user can fix.
    """
    console = console or report_console()
    with working(f"reading {config.model}"):
        model = load_model_file(config.model)
        small = load_model_file(config.small) if config.small is not None else None
        groups = channel_groups(model, ignore=config.ignore)
    if config.latency and config.input_shape is None and has_unknown_sizes(model):
        raise ConfigError(
            f"{config.model} takes inputs of any size: give --input_shape, such as 224 224 3, or --no_latency"
        )
    console.print(Text(f"{model.name}: {groups.table(width=console.width)}\n"))
    numbers = summarize(
        model,
        small,
        groups=groups,
        latency=config.latency,
        batch_size=config.batch_size,
        input_shape=config.input_shape,
    )
    console.print(numbers)
    return numbers
