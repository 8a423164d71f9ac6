"""What `tfprune export` does."""

from pathlib import Path

from rich.console import Console
from rich.text import Text

from tfprune.cli.examples import load_examples
from tfprune.cli.model_configs import ExportConfig
from tfprune.cli.model_files import file_size
from tfprune.console import working
from tfprune.criteria.registry import load_plugins
from tfprune.exporting import export, read_record
from tfprune.model_file import load_model
from tfprune.report import report_console


def run(config: ExportConfig, console: Console | None = None) -> Path:
    """Writes a model file in another format.

    Args:
        config: The settings.
        console: Where to print. Default: standard output.

    Returns:
        The path written.

    Raises:
        TfpruneError: Something that the user can fix.
    """
    console = console or report_console()
    config.check_files()
    load_plugins(config.plugin)
    with working(f"reading {config.model}"):
        model = load_model(config.model)
    examples = None
    if config.data is not None:
        with working(f"reading {config.data}"):
            examples = load_examples(config.data, config.data_path, config.examples, model).x
    with working(f"writing {config.out}"):
        path = export(
            model,
            config.out,
            format=config.format,
            quantize=config.quantization,
            data=examples,
            float_io=config.float_io,
            batch_size=config.batch_size,
            record=read_record(config.model) or None,
        )
    console.print(Text(f"wrote {path}: {file_size(path)}, {config.model} has {file_size(config.model)}"))
    return path
