"""What a search step costs, ours beside a plain masked full-width evaluation of every candidate (the original's way).

    python benchmarks/ekg_search.py --data_path DIR --trained_param res56_cifar10.pkl

Both sides run in one process, on the same images, from the same states, in turn. The plain side scores with the
supernet of masked layers and evaluates each candidate with it at full width, its batch norm composed of elementary
functions as in Keras and the original. It gets its FLOPs for free; the original counts them by an eager forward per
candidate, whose cost is measured apart. Figures are CPU seconds on one thread.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from functools import partial

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from program import new_parser, use_threads

from tfprune.ops import NormalizedBatch
from tfprune.recipes.data import load_data, search_subsets
from tfprune.recipes.ekg import EKGConfig
from tfprune.recipes.ekg.stages import warm_up
from tfprune.recipes.models import load_checkpoint
from tfprune.search.greedy import Search
from tfprune.search.state import SearchState
from tfprune.search.subnetworks import objective_sum
from tfprune.search.supernet import Supernet

Pick = tuple[int, int]
"""Gate chosen, candidates tried."""


class PlainSearch:
    """Scores and evaluates sub-networks with a masked supernet at full width."""

    def __init__(self, search: Search, batch_norm: str) -> None:
        self.search = search
        self.supernet = Supernet(search.model)
        self.model = self.supernet.model
        if batch_norm == "stock":
            self._use_stock_batch_norm()
        self.logits = tf.function(lambda images: self.forward(images), reduce_retracing=True)
        self.gradients = tf.function(self._gradients, reduce_retracing=True)

    def _use_stock_batch_norm(self) -> None:
        """Evaluates batch norm as Keras (and the original) composes it, on the same variables."""
        for layer in self.model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer._normalize_batch = lambda inputs, scale, offset, layer=layer: _composed(
                    inputs, scale, offset, layer
                )

    def forward(self, images: tf.Tensor) -> tf.Tensor:
        """Logits with the statistics of the batch."""
        trainable = [variable.value for variable in self.model.trainable_variables]
        other = [variable.value for variable in self.model.non_trainable_variables]
        return self.model.stateless_call(trainable, other, images, training=True)[0]

    def _gradients(self, images: tf.Tensor, labels: tf.Tensor, knowledge: tf.Tensor) -> list[tf.Tensor]:
        scores = [variable.value for variable in self.supernet.score_variables()]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(scores)
            loss = objective_sum(self.model(images, training=True), labels, knowledge)
        return tape.gradient(loss, scores)

    def step(self, state: SearchState) -> Pick:
        """One step: the gate chosen, and the number of candidates."""
        search, scores = self.search, np.zeros(self.search.groups.channels, np.float32)
        self.supernet.assign(state.orders, state.rates)
        for batch, images in zip(search.batches, search.inputs, strict=True):
            labels, knowledge = tf.constant(search.labels[batch]), tf.constant(state.knowledge[batch])
            scores += np.concatenate(self.gradients(images, labels, knowledge)) / search.score_divisor
        orders, candidates = search.candidates(state, scores)
        losses = []
        for candidate in candidates:
            rates = state.rates.copy()
            rates[candidate.gate] = candidate.rate
            self.supernet.assign(orders, rates)
            logits = np.concatenate([self.logits(images) for images in search.inputs])
            losses.append(search.measure(logits, state.knowledge)[2])
        return candidates[int(np.argmin(losses))].gate, len(candidates)


def _composed(inputs, scale, offset, layer):  # type: ignore[no-untyped-def]
    mean, variance = tf.nn.moments(inputs, list(range(len(inputs.shape) - 1)))
    output = tf.nn.batch_normalization(inputs, mean, variance, offset, scale, layer.epsilon)
    rows = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
    return NormalizedBatch(output, mean, variance, rows)


def cpu_seconds(work: Callable[[], Pick]) -> tuple[float, Pick]:
    """CPU seconds of a piece of work, and its result."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--dataset", default="CIFAR10")
    parser.add_argument("--data_path", default=None, help="TFDS folder with the data set")
    parser.add_argument("--trained_param", required=True, help="trained ResNet-56: .keras or .pkl")
    parser.add_argument("--arch", default="ResNet-56")
    parser.add_argument("--validation_per_class", type=int, default=32, help="images that the search evaluates")
    parser.add_argument("--training_per_class", type=int, default=256, help="images of the warm-up")
    parser.add_argument("--every", type=int, default=8, help="measure every n-th step of a search to the target")
    parser.add_argument("--target", type=float, default=0.45)
    parser.add_argument("--original_quirks", action="store_true", help="follow the original's code in both sides")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures some steps of a search, and prints a line each and the means."""
    options = make_parser().parse_args(arguments)
    use_threads(1)
    data = load_data(options.dataset, options.data_path)
    subsets = search_subsets(
        data, validation_per_class=options.validation_per_class, training_per_class=options.training_per_class
    )
    shape = {"num_classes": data.num_classes, "input_shape": data.input_shape}
    network = load_checkpoint(options.trained_param, arch=options.arch, **shape)
    config = EKGConfig(arch=options.arch, original_quirks=options.original_quirks)
    model, _ = warm_up(config, network, data, subsets.training)
    images, labels = data.normalize(data.train_images[subsets.validation]), data.train_labels[subsets.validation]
    ours = {
        dtype: Search(model, images, labels, options.target, dtype=dtype, original_quirks=options.original_quirks)
        for dtype in ("float32", "bfloat16")
    }
    exact = ours["float32"]
    plain = {kind: PlainSearch(exact, kind) for kind in ("stock", "fused")}
    state = exact.start()
    sides: dict[str, Callable[[SearchState], Pick]] = {
        "masked, stock batch norm": plain["stock"].step,
        "masked, our batch norm": plain["fused"].step,
        "ours float32": lambda state: _pick(ours["float32"], state),
        "ours bfloat16": lambda state: _pick(ours["bfloat16"], state),
    }
    for step in sides.values():
        step(state)  # tracing
    totals = dict.fromkeys(sides, 0.0)
    agreements = dict.fromkeys(sides, 0)
    number = measured = 0
    print(f"{'step':>4} {'FLOPs':>6} {'cand.':>5} " + " ".join(f"{name:>26}" for name in sides))
    while not exact.done(state):
        if number % options.every == 0:
            measured += 1
            row = {name: cpu_seconds(partial(step, state)) for name, step in sides.items()}
            reference = row["masked, stock batch norm"][1]
            for name, (seconds, pick) in row.items():
                totals[name] += seconds
                agreements[name] += pick[0] == reference[0]
            cells = " ".join(f"{seconds:>17.2f} s gate {pick[0]:>2}" for seconds, pick in row.values())
            rate = state.flops / exact.full_flops
            print(f"{number + 1:>4} {rate:>6.1%} {reference[1]:>5} {cells}", flush=True)
        state, _ = exact.step(state)
        number += 1
    zeros = tf.zeros([1, *model.input_shape[1:]])
    counting = min(cpu_seconds(lambda: (len(plain["stock"].model(zeros, training=False)), 0))[0] for _ in range(5))
    print(f"an eager forward of one image, by which the original counts FLOPs: {counting:.2f} CPU s")
    base = totals["masked, stock batch norm"]
    for name, total in totals.items():
        same = f"same pick in {agreements[name]} of {measured}"
        print(f"{name:>26}: {total / measured:6.2f} CPU s per step, {base / total:5.2f} times less, {same}")


def _pick(search: Search, state: SearchState) -> Pick:
    _, step = search.step(state)
    return step.chosen.gate, len(step.candidates)


if __name__ == "__main__":
    main()
