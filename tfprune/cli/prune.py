"""`tfprune prune`: shows a plan and writes the smaller model, or writes masks of single weights."""

import warnings
from pathlib import Path
from typing import Any

import keras
from rich.console import Console
from rich.text import Text

from tfprune import criteria
from tfprune.cli.accuracy import PruningAccuracy, not_measured
from tfprune.cli.examples import Examples, load_examples, load_test_examples
from tfprune.cli.model_files import file_size
from tfprune.cli.prune_config import PruneConfig
from tfprune.cli.record import pruned_record
from tfprune.console import working
from tfprune.criteria import LayerCollapseWarning, WeightCriterion, weight_criterion
from tfprune.errors import ConfigError
from tfprune.exporting import read_record, save_model
from tfprune.graph import complexity, kernels_of_copy, prunable_weights
from tfprune.masks import Masks, Ticket
from tfprune.model_file import load_model
from tfprune.pruning import PruningHistory, plan_channels, prune_channels
from tfprune.report import has_unknown_sizes, report_console, sized_model


def run(config: PruneConfig, console: Console | None = None) -> keras.Model | Masks | None:
    """Prunes a model file: shows the plan, carries it out, writes the smaller model; or finds and writes masks.

    Args:
        config: The settings.
        console: Where to print. Default: standard output.

    Returns:
        The smaller model, None after a dry run; the masks, where weights are pruned.

    Raises:
        TfpruneError: Something that the user can fix.
    """
    console = console or report_console()
    config.check_files()
    with working(f"reading {config.model}"):
        model = load_model(config.model)
        sized = None if config.prunes_weights else _sized(config, model)
    examples = None
    if config.data is not None and config.uses_examples:
        with working(f"reading {config.data}"):
            examples = load_examples(config.data, config.data_path, config.examples, model)
    if sized is None:
        return _prune_weights(config, model, examples, console)
    if config.steps > 1:
        small = _in_steps(config, sized, examples, console)
    else:
        plans = _plans(config, sized, examples, console)
        if config.dry_run:
            console.print("dry run: nothing was pruned")
            return None
        settings = {name: _inputs(getattr(config, name), examples) for name in ("reweight", "recalibrate")}
        with working("pruning"):
            small = plans.replay(model, match=config.match, **settings)
    assert config.out is not None, "checked by the settings"
    with working(f"writing {config.out}"):
        save_model(small, config.out, record=pruned_record(read_record(config.model), config))
    console.print(Text(f"wrote {config.out}: {file_size(config.out)}, {config.model} has {file_size(config.model)}"))
    return small


def _sized(config: PruneConfig, model: keras.Model) -> keras.Model:
    """Returns the model at the size that its FLOPs are to be counted for."""
    if config.input_shape is not None:
        if config.steps > 1 and has_unknown_sizes(model):
            raise ConfigError(
                "--steps: the steps of a model that takes inputs of any size cannot be given --input_shape"
            )
        return sized_model(model, config.input_shape)
    if config.flops is not None and has_unknown_sizes(model):
        raise ConfigError(
            f"--flops: they depend on the size of the inputs, and {config.model} takes any; "
            "give --input_shape, such as 224 224 3, or --params instead"
        )
    return model


def _settings(config: PruneConfig, examples: Examples | None) -> dict[str, Any]:
    return {
        **config.target,
        **({} if config.depth is None else {"depth": config.depth, "depth_criterion": config.depth_criterion}),
        "data": tuple(examples) if config.scores_on_data and examples is not None else None,
        "scope": config.scope,
        "round_to": config.round_to,
        "min_channels": config.min_channels,
        "max_sparsity": config.sparsity_limits,
        "ignore": config.ignore,
        "keep_width": config.keep_width,
        "keep_classes": config.keep_classes,
        "allow_unknown": config.allow_unknown,
    }


def _criterion(config: PruneConfig) -> Any:
    """Returns a criterion or its name; the k-DPPs of `dpp_node` need the number of channels to draw."""
    if config.criterion == "dpp_node" and config.density is not None:
        return criteria.DPPNode(density=config.density)
    return config.criterion


def _plans(config: PruneConfig, model: keras.Model, examples: Examples | None, console: Console) -> PruningHistory:
    """Reads the plans of one or several steps, or makes one; shows the last, and writes it if asked to."""
    if config.reads_plan:
        assert config.plan is not None
        plans = PruningHistory.load(config.plan)
        plans.check(model, config.match)
    else:
        with working(f"ranking by {' and '.join(info.name for info in config.criteria.values())}"):
            plans = PruningHistory([plan_channels(model, _criterion(config), **_settings(config, examples))])
    if len(plans.plans) > 1:
        console.print(f"the last of {len(plans.plans)} steps:")
    for plan in plans.plans[-1:]:
        console.print(Text(plan.explain(width=console.width)))
    if config.input_shape is None and not plans.plans[-1].sizes and has_unknown_sizes(model):
        console.print(Text("\nThe model takes inputs of any size, which count as 1 here; --input_shape gives one."))
    console.print()
    if not config.reads_plan and config.plan is not None:
        plans.plans[0].save(config.plan)
        console.print(Text(f"wrote the plan to {config.plan}"))
    return plans


def _in_steps(config: PruneConfig, model: keras.Model, examples: Examples | None, console: Console) -> keras.Model:
    whole = complexity(model)
    history = PruningHistory()

    def show_between(small: keras.Model, step: int) -> None:
        indicator.stop()  # it has the line
        show(small, step)
        indicator.start()

    def show(small: keras.Model, step: int) -> None:
        cost = complexity(small)
        flops, params = cost.flops / whole.flops if whole.flops else 1.0, cost.params / whole.params
        console.print(f"step {step} of {config.steps}: {flops:.1%} of the FLOPs, {params:.1%} of the parameters")

    with working(f"pruning in {config.steps} steps by {config.criterion}") as indicator:
        small = prune_channels(
            model,
            config.criterion,
            **_settings(config, examples),
            steps=config.steps,
            schedule=config.schedule or "linear",
            between=show_between,
            reweight=_inputs(config.reweight, examples),
            recalibrate=_inputs(config.recalibrate, examples),
            history=history,
        )
    show(small, config.steps)
    console.print(Text(f"\n{history.plans[-1].explain(width=console.width)}\n"))
    if config.plan is not None:
        history.save(config.plan)
        console.print(Text(f"wrote the plans of the steps to {config.plan}"))
    return small


def _inputs(wanted: bool, examples: Examples | None) -> Any:
    """Returns the inputs of the examples if they are wanted for an optional step."""
    return examples.x if wanted and examples is not None else None


def _prune_weights(config: PruneConfig, model: keras.Model, examples: Examples | None, console: Console) -> Masks:
    """Finds the masks of a model's weights, shows them, and writes them unless it is a dry run."""
    settings: dict[str, Any] = {
        "schedule": config.schedule or "exponential",
        "scope": config.scope,
        "ignore": config.ignore,
        "original_ties": config.original_ties,
    }
    if config.iterations is not None:
        settings["iterations"] = config.iterations
    if config.batch_size is not None:
        settings["batch_size"] = config.batch_size
    if config.criterion == "synflow":
        settings["input_shape"] = config.input_shape
    criterion = weight_criterion(config.criterion, **settings)
    accuracy = _accuracy(config, model, console)
    with working(f"scoring weights by {config.criterion}"), warnings.catch_warnings():
        warnings.simplefilter("ignore", LayerCollapseWarning)  # reported in a line of its own
        masks = _masks(criterion, model, config.density, None if examples is None else tuple(examples))
    console.print(Text(masks.table(width=console.width)))
    console.print()
    if masks.collapsed:
        console.print(Text(str(LayerCollapseWarning(masks.collapsed))))
    origin: dict[str, Any] = {"criterion": config.criterion, "model": Path(config.model).name}
    if accuracy is not None:
        with working("measuring the accuracy"):
            table = accuracy.measure(masks)
        console.print(table)
        origin |= accuracy.record
    if config.dry_run:
        console.print("dry run: nothing was written")
        return masks
    assert config.out is not None, "checked by the settings"
    ticket = Ticket.from_model(masks, model, **origin) if criterion.updates else Ticket(masks, {}, origin)
    ticket.save(config.out)
    weights = ", with the weights that go with these masks" if criterion.updates else ""
    console.print(Text(f"wrote {config.out}: {file_size(config.out)}{weights}"))
    return masks


def _masks(criterion: WeightCriterion, model: keras.Model, density: float | None, data: Any) -> Masks:
    """Returns the masks; a criterion that updates the weights that it keeps does so in the model."""
    if not criterion.updates:
        return criterion(model, density, data)
    pruned, masks = criterion.prune(model, density, data)
    new = kernels_of_copy(model, pruned)
    for name, weight in prunable_weights(model).items():
        weight.assign(new[name][0])
    return masks


def _accuracy(config: PruneConfig, model: keras.Model, console: Console) -> PruningAccuracy | None:
    """Measures the accuracy before pruning, if there are data.

    Raises:
        ConfigError: It cannot be measured, and the data are of no other use.
    """
    if config.data is None:
        return None
    with working(f"measuring the accuracy on {config.data}"):
        examples, words = load_test_examples(config.data, config.data_path, model)
        reason = not_measured(model, examples)
        if not reason:
            return PruningAccuracy(model, examples, words)
    if not config.uses_examples:
        raise ConfigError(f"--data: the criterion {config.criterion} uses them for the accuracy only, and {reason}")
    console.print(Text(f"The accuracy is not measured: {reason}."))
    return None
