"""The search as a stage of a run: progress on the screen, a kept state after every step."""

import time

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfprune.errors import SearchError
from tfprune.files import writing
from tfprune.recipes.data import ImageDataset
from tfprune.recipes.ekg.config import EKGConfig
from tfprune.recipes.ekg.search_record import load_state, save_state
from tfprune.recipes.training import GracefulInterrupt, RunFolder
from tfprune.recipes.training.run_folder import Row
from tfprune.search.greedy import Search
from tfprune.search.state import SearchResult, SearchState, Step

_FILE = "search.npz"
_SAY_EVERY = 10


def run_search(
    config: EKGConfig, model: keras.Model, data: ImageDataset, subset: np.ndarray, run: RunFolder
) -> SearchResult:
    """Searches for the sub-network at the target rate; goes on where an interrupted run stopped.

    Args:
        config: Settings of the search.
        model: The plain model to search in.
        data: The data set.
        subset: Positions of the search's validation images among the training images.
        run: Where the state and the metrics go.

    Returns:
        The finished search.

    Raises:
        KeyboardInterrupt: After Ctrl-C, when the step was finished and kept.
        SearchError: The search cannot start or go on.
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
    path = run.file(_FILE)
    state = load_state(path) if path.exists() else search.start()
    log = run.metrics("search", last_step=len(state.history) - 1)
    with GracefulInterrupt() as interrupt, run.events("search").as_default(), _bar(search, state) as bar:
        for row in log.rows:
            _write_events(row, run)  # opening them anew removed those of the interrupted run
        started = time.monotonic() - (float(log.rows[-1]["seconds"]) if log.rows else 0.0)
        for number, (new, step) in enumerate(search.run(state), len(state.history)):
            state = new
            row = _row(search, state, step, number, time.monotonic() - started)
            # The state comes last: a row without its state is dropped and written again, a state without its row
            # would leave a gap.
            log.append(row)
            save_state(state, path)
            _write_events(row, run)
            _show(bar, search, state)
            if number % _SAY_EVERY == 0 or search.done(state):
                tqdm.write(f"search: {_text(search, state)}")
            if interrupt.requested:
                raise KeyboardInterrupt
    return search.result(state)


def _validation(data: ImageDataset, subset: np.ndarray, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """The images that candidates are judged by, and their labels; those that cannot be read are left out."""
    batches = list(data.plain_batches(batch_size, subset).as_numpy_iterator())
    if not batches:
        raise SearchError(f"none of the {len(subset)} validation images of the search can be read; mend the data set")
    return tuple(np.concatenate([batch[name] for batch in batches]) for name in ("images", "labels"))  # type: ignore


def _write_events(row: Row, run: RunFolder) -> None:
    with writing(run.path / "events" / "search", tf.errors.OpError):
        for name in ("accuracy", "loss", "flops_rate"):
            tf.summary.scalar(f"search/{name}", row[name], step=int(row["step"]))


def _row(search: Search, state: SearchState, step: Step, number: int, seconds: float) -> Row:
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
        "seconds": round(seconds, 2),
    }


def _bar(search: Search, state: SearchState) -> tqdm:
    """A bar that runs from 100 % of the FLOPs down to the target."""
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
