"""The stages of EKG before fine-tuning: short training, search, memory bank."""

import io
import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfprune.errors import RunFolderError, SearchError
from tfprune.files import write_bytes, writing
from tfprune.graph import convert
from tfprune.landscape import LandscapeSettings
from tfprune.optimizers import SGD
from tfprune.reading import Expected, json_value, open_arrays, reading
from tfprune.recipes.data import ImageDataset, ShardedRows
from tfprune.recipes.ekg.config import EKGConfig
from tfprune.recipes.ekg.memory_bank import BankSize, MemoryBank, choose_teachers
from tfprune.recipes.training import CrossEntropy, GracefulInterrupt, Loop, RunFolder
from tfprune.recipes.training.run_folder import Row
from tfprune.search.greedy import Search
from tfprune.search.state import SearchResult, SearchState, Step, SubNetwork
from tfprune.search.subnetworks import SubNetworks

_WARM_UP_RATE = 1e-3
_SEARCH_FILE = "search.npz"
_STEPS_PER_LINE = 10
_LANDSCAPES = {  # by the value of `record_landscape`
    None: None,
    "sections": LandscapeSettings(directions=5, points=5, radius=0.5, hessian=False),
    "hessian": LandscapeSettings(directions=5, points=5, radius=0.5),
}
_CURVES = ("accuracy", "loss", "flops_rate", "fluctuation", "hessian_min", "hessian_max", "hessian_ratio")
_STATE = {
    "rates": Expected(axes="gates", least=0),
    "orders": Expected(axes="channels", least=0),
    "knowledge": Expected(axes="images classes", finite=False),
    **{name: Expected("whole numbers", least=1) for name in ("members", "params", "flops")},
    "accuracy": Expected(finite=False),
}
_HISTORY = {  # the fields of a SubNetwork, of each after the other
    "orders": Expected(axes="steps channels", least=0),
    "rates": Expected(axes="steps gates", least=0),
    "loss": Expected(axes="steps", finite=False),
}


def warm_up(
    config: EKGConfig, model: keras.Model, data: ImageDataset, subset: np.ndarray
) -> tuple[keras.Model, list[float]]:
    """Trains a copy of a model for one pass over a fixed subset of plain images, in fixed batches.

    The original divides the loss by the fine-tuning batch size instead of the size of the batch it sums over, which
    doubles the gradient with its defaults; here only `original_quirks` does so.

    Args:
        config: Batch sizes, weight decay, compilation.
        model: A plain model. It is not changed.
        data: The data set.
        subset: Positions in the training images, in the order to use them.

    Returns:
        The trained plain model, and the loss of each step.

    Reference:
        Lee & Song, EKG (ECCV 2022), the authors' `pruning.py`.
    """
    fast = convert(model, "fused")
    optimizer = SGD(_WARM_UP_RATE, momentum=0.9, nesterov=True, weight_decay=config.weight_decay)
    size = min(config.search_batch_size, len(subset))
    divisor = config.batch_size if config.original_quirks else size
    loop = Loop(fast, optimizer, CrossEntropy(), global_batch_size=divisor, compile=config.compile)
    batches = data.plain_batches(size, subset, drop_remainder=True)
    losses = [loop.train_step(batch)["loss"] * size / divisor for batch in batches]
    if not np.isfinite(losses[-1]):
        raise SearchError("the short training before the search diverged; expected a trained model to start from")
    return convert(fast, "plain"), losses


def run_search(
    config: EKGConfig, model: keras.Model, data: ImageDataset, subset: np.ndarray, run: RunFolder
) -> SearchResult:
    """Searches for the sub-network at the target rate; continues an interrupted search.

    Args:
        config: Settings of the search.
        model: The plain model to search in.
        data: The data set.
        subset: Positions of the search's validation images among the training images.
        run: Where the state and the metrics go.

    Returns:
        The finished search.

    Raises:
        KeyboardInterrupt: After Ctrl-C, when the step was finished and saved.
        SearchError: The search cannot start or continue.
    """
    images, labels = _validation(data, subset, config.search_batch_size)
    search = Search(
        model,
        images,
        labels,
        target=config.search_target_rate,
        search_step=config.search_step,
        batch_size=config.search_batch_size,
        dtype=config.search_precision.removeprefix("mixed_"),
        original_quirks=config.original_quirks,
    )
    path = run.file(_SEARCH_FILE)
    state = load_state(path, search) if path.exists() else search.start()
    log = run.metrics("search", last_step=len(state.history) - 1, rows=_load_rows(path) if path.exists() else [])
    landscape = _LANDSCAPES[config.record_landscape]
    with GracefulInterrupt() as interrupt, run.events("search").as_default(), _bar(search, state) as bar:
        for row in log.rows:
            _write_events(row, run)  # opening the writer removed the events of the interrupted run
        started = time.monotonic() - (float(log.rows[-1]["seconds"]) if log.rows else 0.0)
        for number, (new, step) in enumerate(search.run(state), len(state.history)):
            state = new
            seconds, numbers = time.monotonic() - started, {}
            if landscape is not None:
                numbers = search.landscape(state, landscape).numbers
                started = time.monotonic() - seconds  # what the landscape takes does not count as the search's
            row = _row(search, state, step, number, numbers, seconds)
            # The state comes last: a row without its state is dropped and written again, a state without its row
            # would leave a gap.
            log.append(row)
            save_state(state, path, log.rows)
            _write_events(row, run)
            _show(bar, search, state)
            if number % _STEPS_PER_LINE == 0 or search.done(state):
                tqdm.write(f"search: {_text(search, state)}")
            if interrupt.requested:
                raise KeyboardInterrupt
    return search.result(state)


def build_memory_bank(config: EKGConfig, found: SearchResult, data: ImageDataset, run: RunFolder) -> ShardedRows:
    """Stores the logits of the chosen interim sub-networks for every training image.

    Args:
        config: Settings: number of teachers, batch size, number format, length of a shard.
        found: The finished search.
        data: The data set.
        run: The run folder; the bank is written to `<dataset>_knowledge` in it.

    Returns:
        Logits `[images, classes, teachers]`, memory-mapped.

    Raises:
        RunFolderError: It does not fit on the disk, or cannot be written.
    """
    losses = [entry.loss for entry in found.history]
    teachers = choose_teachers(losses, config.num_teacher, original_quirks=config.original_quirks)
    masks = [found.gates.mask(found.history[index].orders, found.history[index].rates) for index in teachers]
    bank = MemoryBank(
        run.folder(f"{data.name}_knowledge"), dtype=config.knowledge_dtype, shard_images=config.knowledge_shard
    )
    with tqdm(desc=f"memory bank of {len(masks)} teachers", disable=None, leave=False) as bar:

        def show(done: int, todo: int) -> None:
            bar.total = todo
            bar.update(done - bar.n)

        return bank.build(
            SubNetworks(found.model, found.groups), masks, data, batch_size=config.val_batch_size, progress=show
        )


def check_room(config: EKGConfig, data: ImageDataset, run: RunFolder) -> None:
    """Fails early if the memory bank will not fit on the disk.

    Raises:
        RunFolderError: It does not fit.
    """
    if config.searching and config.Knowledge and config.train_epoch:
        folder = run.folder(f"{data.name}_knowledge")
        there = sum(file.stat().st_size for file in folder.glob("shard-*.npy"))
        BankSize(data.train_examples, data.num_classes, config.num_teacher, config.knowledge_dtype).check(
            folder, there=there
        )


def save_state(state: SearchState, path: str | os.PathLike[str], rows: Sequence[Row] = ()) -> None:
    """Writes the state of a search to a `.npz` file, all or nothing.

    Args:
        state: The state after a step.
        path: The file; an older state in it is replaced.
        rows: The rows of the table of the search, so that a damaged table does not matter.
    """
    values = {name: np.asarray(getattr(state, name)) for name in _STATE}
    for name in _HISTORY:
        values[f"history_{name}"] = np.stack([getattr(entry, name) for entry in state.history])
    values["table"] = np.asarray(json.dumps(list(rows)))
    buffer = io.BytesIO()
    np.savez(buffer, **values)  # type: ignore[arg-type]  # the stubs take a name for `allow_pickle`
    write_bytes(Path(path), buffer.getvalue())


def load_state(path: str | os.PathLike[str], search: Search | None = None) -> SearchState:
    """Reads a state that `save_state` wrote.

    Rates and ranks must be finite. Logits, losses and the accuracy are what was measured, and may be NaN or infinite.

    Args:
        path: The file.
        search: The search that is to continue. Default: its sizes are not checked.

    Raises:
        RunFolderError: The file contains no such state, or that of another model or of other images.
    """
    lengths: dict[str, int] = {}
    if search is not None:
        lengths = {"gates": len(search.groups), "channels": search.groups.channels, "images": len(search.images)}
        lengths["classes"] = search.model.output_shape[-1]
    expected = {f"history_{name}": array for name, array in _HISTORY.items()} | _STATE
    arrays = _read_arrays(path, expected, lengths)
    columns = [arrays.pop(f"history_{name}") for name in _HISTORY]
    history = tuple(SubNetwork(orders, rates, float(loss)) for orders, rates, loss in zip(*columns, strict=True))
    found: dict[str, Any] = {name: array if array.ndim else array.item() for name, array in arrays.items()}
    return SearchState(history=history, **found)


def _load_rows(path: Path) -> list[Row] | None:
    """Returns the rows of the table that `save_state` wrote; None if it is of an older version, which wrote none."""
    arrays = _read_arrays(path, {"table": Expected("text", optional=True)}, {})
    if not arrays:
        return None
    with _reading(path):
        return json_value(arrays["table"].item(), finite=False)


def _read_arrays(
    path: str | os.PathLike[str], expected: Mapping[str, Expected], lengths: Mapping[str, int]
) -> dict[str, np.ndarray]:
    with _reading(path), open_arrays(path, lengths) as file:
        return file.read(expected)


def _reading(path: str | os.PathLike[str]) -> AbstractContextManager[None]:
    return reading(path, "the state of a search", error=RunFolderError, advice="start again with --overwrite")


def _validation(data: ImageDataset, subset: np.ndarray, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the images to evaluate candidates with, and their labels, without images that cannot be read."""
    batches = list(data.plain_batches(batch_size, subset).as_numpy_iterator())
    if not batches:
        raise SearchError(f"none of the {len(subset)} validation images of the search can be read; repair the data set")
    return tuple(np.concatenate([batch[name] for batch in batches]) for name in ("images", "labels"))  # type: ignore


def _write_events(row: Row, run: RunFolder) -> None:
    with writing(run.path / "events" / "search", tf.errors.OpError):
        for name in (name for name in _CURVES if name in row):
            tf.summary.scalar(f"search/{name}", row[name], step=int(row["step"]))


def _row(
    search: Search, state: SearchState, step: Step, number: int, landscape: Mapping[str, float], seconds: float
) -> Row:
    chosen = step.chosen
    return {
        "step": number,
        "gate": search.groups[chosen.gate].name,
        "rate": chosen.rate,
        "candidates": len(step.candidates),
        "accuracy": state.accuracy,
        "loss": state.loss,
        "score": chosen.score,
        "params": state.params,
        "flops": state.flops,
        "flops_rate": state.flops / search.full_flops,
        **landscape,
        "seconds": round(seconds, 2),
    }


def _bar(search: Search, state: SearchState) -> tqdm:
    """Returns a progress bar from 100 % of the FLOPs down to the target."""
    bar = tqdm(
        total=round(100 * (1 - search.target), 1),
        desc="search",
        disable=None,
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
    )
    _show(bar, search, state)
    return bar


def _show(bar: tqdm, search: Search, state: SearchState) -> None:
    removed = 1 - state.flops / search.full_flops
    bar.n = round(100 * min(removed, 1 - search.target), 1)
    bar.set_postfix_str(_text(search, state))


def _text(search: Search, state: SearchState) -> str:
    rate = state.flops / search.full_flops
    return f"step {len(state.history) - 1}, FLOPs {rate:.1%}, accuracy {state.accuracy:.1%}, loss {state.loss:.4f}"
