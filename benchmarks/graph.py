"""Channel groups of the same network in tfprune and in Torch-Pruning: the same ones? And what do they cost?

    pip install torch torch-pruning
    python benchmarks/graph.py

The PyTorch network is a twin of the Keras one, with the same layers, names and weights. Compared are the groups (which
layers make their channels, which read them, which carry them along, and how many there are) and, after both have pruned
half of each group, the shapes of all kernels. Timed in turn, in CPU seconds on one thread, at 224x224:

    groups  finding all groups from a built model: `channel_groups`; `DependencyGraph` and its groups
    prune   from a whole model to one at half its channels by magnitude: ours a new Keras model, theirs changed in place
    copy    `keras.models.clone_model` and `copy.deepcopy` of the whole model: what a new model costs as such
"""

import argparse
import copy
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from program import missing, new_parser, use_threads

from tfprune.graph import ChannelGroups, channel_groups
from tfprune.pruning import plan_channels

Group = tuple[int, frozenset[tuple[str, str]]]
"""Size of a group, and what the layers with weights do with its channels: makes, reads or carries."""
ROLES = {"out": "makes", "in": "reads", "pass": "carries"}


def our_groups(groups: ChannelGroups) -> set[Group]:
    """Groups as tfprune finds them."""
    owner = groups.owner
    members: list[set[tuple[str, str]]] = [set() for _ in groups]
    for name, slots in groups.slots.items():
        for slot in slots:
            for index in set(owner[slot.channels[slot.channels >= 0]].tolist()):
                members[index].add((name, ROLES[slot.role]))
    return {(group.size, frozenset(each)) for group, each in zip(groups, members, strict=True)}


def their_groups(groups: Iterable[Any], twin: Any) -> set[Group]:
    """Groups as Torch-Pruning finds them; what it inserts for operations without weights is left out."""
    names = {module: name for name, module in twin.parts.items()}
    return {(len(group[0].idxs), frozenset(_members(group, names))) for group in groups}


def _members(group: Any, names: dict[Any, str]) -> Iterable[tuple[str, str]]:
    from torch import nn

    for item in group:
        module = item.dep.target.module
        if module not in names or not list(module.parameters()):
            continue
        carries = isinstance(module, nn.BatchNorm2d) or (isinstance(module, nn.Conv2d) and module.groups > 1)
        role = "reads" if item.dep.handler.__name__ == "prune_in_channels" else "makes"
        yield names[module], "carries" if carries else role


class Ours:
    """tfprune on the Keras model."""

    def __init__(self, model: keras.Model) -> None:
        self.model = model

    def groups(self) -> set[Group]:
        """Finds the groups."""
        return our_groups(channel_groups(self.model))

    def find(self) -> Any:
        """Finds the groups, for the clock."""
        return channel_groups(self.model)

    def prune(self, _: Any = None) -> keras.Model:
        """Half of each group."""
        return plan_channels(self.model, "l2", density=0.5, scope="local").apply()

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the kernels after pruning, in PyTorch's order of axes."""
        orders = {"DepthwiseConv2D": (2, 3, 0, 1), "Conv2D": (3, 2, 0, 1), "Dense": (1, 0)}
        kernels = {each.name: each for each in self.prune().layers if type(each).__name__ in orders}
        return {
            name: tuple(layer.kernel.shape[axis] for axis in orders[type(layer).__name__])
            for name, layer in kernels.items()
        }


class Theirs:
    """Torch-Pruning on the twin."""

    def __init__(self, model: keras.Model) -> None:
        import torch
        from torch_twin import TorchTwin

        torch.set_num_threads(1)
        self.twin = TorchTwin(model).eval()
        self.images = torch.zeros(1, 3, *model.input_shape[1:3])

    def groups(self) -> set[Group]:
        """Finds the groups."""
        return their_groups(self.find(), self.twin)

    def find(self) -> Any:
        """Finds the groups, for the clock."""
        import torch_pruning

        graph = torch_pruning.DependencyGraph().build_dependency(self.twin, self.images)
        return list(graph.get_all_groups(ignored_layers=[self.twin.parts["predictions"]]))

    def prune(self, twin: Any) -> Any:
        """Half of each group of the model given, which is changed."""
        import torch_pruning

        importance = torch_pruning.importance.GroupMagnitudeImportance(p=2)
        ignored = [twin.parts["predictions"]]
        torch_pruning.pruner.MagnitudePruner(
            twin, self.images, importance, pruning_ratio=0.5, ignored_layers=ignored
        ).step()
        return twin

    def copy(self) -> Any:
        """A model to prune."""
        return copy.deepcopy(self.twin)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the kernels after pruning."""
        parts = self.prune(self.copy()).parts.items()
        weights = {name: getattr(part, "weight", None) for name, part in parts}
        return {name: tuple(weight.shape) for name, weight in weights.items() if weight is not None and weight.ndim > 1}


def seconds(call: Callable[..., Any], *arguments: Any) -> float:
    """CPU seconds of a call."""
    start = time.process_time()
    call(*arguments)
    return time.process_time() - start


def compare(name: str, rounds: int) -> bool:
    """Prints one network's comparison; whether groups and shapes agree."""
    model = getattr(keras.applications, name)(weights=None, classifier_activation=None)
    ours, theirs = Ours(model), Theirs(model)
    left, right = ours.groups(), theirs.groups()
    same_shapes = ours.shapes() == theirs.shapes()
    print(f"\n{name}: {len(left)} groups here, {len(right)} there, {len(left & right)} the same")
    print(f"kernels after pruning half of each group: {'same shapes' if same_shapes else 'shapes differ'}")
    for label, group in [("only here", each) for each in left - right] + [
        ("only there", each) for each in right - left
    ]:
        print(f"  {label}: {group[0]} channels, {sorted(group[1])}")
    print_times(ours, theirs, rounds)
    return same_shapes and left == right


def print_times(ours: Ours, theirs: Theirs, rounds: int) -> None:
    """Times both sides in turn."""
    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        times.setdefault(("groups", "here"), []).append(seconds(ours.find))
        times.setdefault(("groups", "there"), []).append(seconds(theirs.find))
        times.setdefault(("prune", "here"), []).append(seconds(ours.prune))
        times.setdefault(("prune", "there"), []).append(seconds(theirs.prune, theirs.copy()))
        times.setdefault(("copy", "here"), []).append(seconds(keras.models.clone_model, ours.model))
        times.setdefault(("copy", "there"), []).append(seconds(theirs.copy))
    print(f"{'CPU seconds, median of ' + str(rounds):<28}{'tfprune':>10}{'Torch-Pruning':>15}")
    for task in ("groups", "prune", "copy"):
        here, there = (statistics.median(times[task, side]) for side in ("here", "there"))
        print(f"{task:<28}{here:>10.3f}{there:>15.3f}", flush=True)


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--models", nargs="+", default=["ResNet50", "MobileNetV2"])
    parser.add_argument("--rounds", type=int, default=5)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Compares the networks that the command line names."""
    options = make_parser().parse_args(arguments)
    if missing("graph.py compares with Torch-Pruning", "torch", "torch-pruning"):
        return 2
    use_threads(1)
    warnings.simplefilter("ignore")  # of PyTorch's tracing
    agree = [compare(name, options.rounds) for name in options.models]
    return 0 if all(agree) else 1


if __name__ == "__main__":
    sys.exit(main())
