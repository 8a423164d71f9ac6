"""The memory that planning and pruning a large transformer takes, as a multiple of the size of its weights.

    python benchmarks/plan_memory.py                                       # a billion parameters in bfloat16
    python benchmarks/plan_memory.py --layers 2 --hidden 64 --mlp 128 --heads 4 --key_value_heads 2 --vocabulary 100

The model is a Llama of KerasHub with random weights; a fraction of its MLPs is pruned by magnitude. Given are the most
gigabytes (10^9 bytes) of resident memory of the process: after the model was made, after the plan, and after the small
model was made, while the whole one is still there; less what TensorFlow takes without a model. Then seconds of the
processor.
"""

import argparse
import os
import resource
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from program import missing, new_parser, processor_name

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def gigabytes(*, most: bool = True) -> float:
    """The most memory that this process has taken so far, or what it takes now."""
    if most:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * resource.getpagesize() / 1e9


def measure(options: argparse.Namespace) -> None:
    """Makes a model, plans and prunes it, and prints what that took."""
    import keras
    import keras_hub

    import tfprune
    from tfprune.graph.model_class import ModelClassWarning

    keras.utils.set_random_seed(0)
    keras.layers.Dense(1)(keras.ops.zeros((1, 1)))  # TensorFlow's own memory
    nothing, started = gigabytes(most=False), time.process_time()
    model = keras_hub.models.LlamaBackbone(
        vocabulary_size=options.vocabulary,
        num_layers=options.layers,
        num_query_heads=options.heads,
        num_key_value_heads=options.key_value_heads,
        hidden_dim=options.hidden,
        intermediate_dim=options.mlp,
        dtype=options.dtype,
    )
    size = sum(weight.value.dtype.size * weight.value.shape.num_elements() for weight in model.weights) / 1e9
    rows = [("model", gigabytes() - nothing, time.process_time() - started)]
    plan = tfprune.plan_channels(model, options.criterion, params=options.params, scope="local")
    rows.append(("plan", gigabytes() - nothing, time.process_time() - started))
    with warnings.catch_warnings(action="ignore", category=ModelClassWarning):
        small = plan.apply()
    rows.append(("pruned model", gigabytes() - nothing, time.process_time() - started))
    counts = [each.count_params() / 1e6 for each in (model, small)]
    print(f"{counts[0]:,.1f} M parameters of {size:.3f} GB, pruned to {counts[1]:,.1f} M")
    print(f"{'':<14}{'most GB':>9}{'of size':>9}{'CPU s':>9}")
    for name, most, seconds in rows:
        print(f"{name:<14}{most:>9.2f}{most / size:>9.2f}{seconds:>9.0f}")
    print(processor_name())


def make_parser() -> argparse.ArgumentParser:
    """The flags."""
    flags = new_parser(__doc__)
    flags.add_argument("--layers", type=int, default=16)
    flags.add_argument("--hidden", type=int, default=2048)
    flags.add_argument("--mlp", type=int, default=8192)
    flags.add_argument("--heads", type=int, default=32)
    flags.add_argument("--key_value_heads", type=int, default=8)
    flags.add_argument("--vocabulary", type=int, default=32_000)
    flags.add_argument("--dtype", default="bfloat16")
    flags.add_argument("--criterion", default="l2")
    flags.add_argument("--params", type=float, default=0.6)
    return flags


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the flags, and measures."""
    options = make_parser().parse_args(arguments)
    if missing("this benchmark makes models of KerasHub", "keras-hub"):
        return 2
    measure(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
