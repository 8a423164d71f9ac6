"""What a ViT of KerasHub gains in latency and memory where it keeps half of its MLPs and heads.

    OMP_NUM_THREADS=1 python benchmarks/transformer_latency.py --litert --clock cpu
    python benchmarks/transformer_latency.py --hidden 192 --heads 4 --layers 12 --density 0.75 --batch_size 8

The network has random weights. Every block keeps the same fraction of its heads and of its MLP, chosen at random; heads
keep their width. The original and the pruned network take turns, call by call. A ratio of latencies as large as that of
FLOPs is 100 %. The memory of a LiteRT file is that of a process that only loads it and calls it once: resident
megabytes (10^6 bytes) before it loads, and at most.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from latency import measure, print_shares, traced
from program import missing, new_parser, processor_name, use_threads

import tfprune
from tfprune.criteria import Random
from tfprune.exporting.tflite_file import TFLiteFile
from tfprune.graph import ModelClassWarning, complexity
from tfprune.pruning import plan_channels

CALL_ONCE = """
import re, sys
from pathlib import Path
import numpy as np
from ai_edge_litert.interpreter import Interpreter

def most():
    return int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024 / 1e6

before = most()
interpreter = Interpreter(sys.argv[1])
(taken,) = interpreter.get_input_details()
images = np.zeros([int(sys.argv[2]), *taken["shape"][1:]], np.float32)
interpreter.resize_tensor_input(taken["index"], images.shape)
interpreter.allocate_tensors()
interpreter.set_tensor(taken["index"], images)
interpreter.invoke()
print(before, most())
"""
"""A process without TensorFlow that prints its largest resident megabytes before it loads a file, and after a call."""


def vit(options: argparse.Namespace) -> keras.Model:
    """A ViT backbone for images of 16 x 16 pixels a patch."""
    import keras_hub

    return keras_hub.models.ViTBackbone(
        image_shape=(options.image_size, options.image_size, 3),
        patch_size=16,
        num_layers=options.layers,
        num_heads=options.heads,
        hidden_dim=options.hidden,
        mlp_dim=4 * options.hidden,
    )


def call_of(file: Path, batch_size: int) -> Callable[[], Any]:
    """A call of the network that a file holds, on a batch of images."""
    if file.suffix == ".tflite":
        return TFLiteFile(file).caller(batch_size)
    return traced(keras.saving.load_model(file, compile=False), batch_size, frozen=False)


def print_memory(files: dict[str, Path], batch_size: int) -> None:
    """A row per file, each measured in a process of its own."""
    print(f"{'':<24}{'MB before':>12}{'MB at most':>12}{'file':>9}")
    for name, file in files.items():
        command = [sys.executable, "-c", CALL_ONCE, file, str(batch_size)]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        before, most = map(float, printed.splitlines()[-1].split())
        print(f"{name:<24}{before:>12.0f}{most:>12.0f}{file.stat().st_size / 1e6:>9.1f}", flush=True)


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--density", type=float, default=0.5, help="fraction of heads and MLPs to keep")
    parser.add_argument("--batch_size", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--runs", type=int, default=10, help="timed calls of each network")
    parser.add_argument("--warm_up", type=int, default=2, help="calls before them")
    parser.add_argument("--threads", type=int, default=1, help="of TensorFlow; LiteRT takes all cores")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: CPU time, for a busy machine")
    parser.add_argument("--litert", action="store_true", help="also as LiteRT files, with their memory")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table for each runtime and batch size, and the memory of LiteRT files."""
    options = make_parser().parse_args(arguments)
    if missing("transformer_latency.py prunes networks of KerasHub", "keras-hub"):
        return 2
    use_threads(options.threads)
    model = vit(options)
    ignore = ("*.keys", "*.values")
    warnings.simplefilter("ignore", ModelClassWarning)  # files of both networks hold plain models
    plan = plan_channels(model, Random(0), density=options.density, scope="local", ignore=ignore)
    models = {"original": model, "pruned": plan.apply()}
    flops = {name: complexity(each).flops for name, each in models.items()}
    clock = {"wall": time.perf_counter, "cpu": time.process_time}[options.clock]
    print(f"{options.layers} blocks of {options.hidden}, {options.heads} heads, {processor_name()}")
    with tempfile.TemporaryDirectory() as folder:
        for runtime, suffix in (("TensorFlow", ".keras"), ("LiteRT", ".tflite"))[: 1 + options.litert]:
            files = {name: Path(folder) / f"{name}{suffix}" for name in models}
            for name, file in files.items():
                tfprune.export(models[name], file)
            for batch_size in options.batch_size:
                calls = {name: call_of(file, batch_size) for name, file in files.items()}
                load = f"load {os.getloadavg()[0]:.1f}"
                print(f"\n{runtime}, batch of {batch_size}, {options.clock} time, {load}")
                print_shares(measure(calls, options.runs, clock, options.warm_up), flops)
                if suffix == ".tflite":
                    print_memory(files, batch_size)
    return 0


if __name__ == "__main__":
    sys.exit(main())
