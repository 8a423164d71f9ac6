"""Weak scaling: the same images per device on one device, on two devices of one process, and on two processes.

    python benchmarks/scaling.py --rounds 8 --output benchmarks/results/scaling.jsonl

Each device has one thread. The processes are started together and take turns step by step (the two workers of the last
variant step together), so that whatever else the machine does hits all variants alike. Given are medians of

    wall  seconds of a step
    cpu   CPU seconds of a step, of all processes of the variant

and, against one device: the efficiency (wall of one / wall of the variant; 1 is ideal and needs as many free cores as
there are devices) and the CPU seconds per image, which tell the cost of communication where cores are not free.
Gradients are summed after each step in all variants; batch norm takes statistics over all devices (synchronized) or of
each device (local).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from program import new_parser
from worker_environments import worker_environments

from tfprune.files import as_file, write_text

VARIANTS = {"one device": (1, 1), "two devices": (2, 1), "two processes": (1, 2)}  # devices of a process, processes
BATCH_NORM = ("synchronized", "local")


def serve(arch: str, images: int, kinds: Sequence[str], devices: int, workers: int) -> None:
    """A process of a variant: for each line on standard input that names a kind of batch norm, a step and its times."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(devices)
    steps = {kind: make_step(kind, arch, images * devices * workers, devices, workers) for kind in kinds}
    for step in steps.values():
        step()
        step()
    print("ready", flush=True)
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        steps[line.strip()]()
        print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]), flush=True)


def make_step(kind: str, arch: str, batch_size: int, devices: int, workers: int) -> Callable[[], object]:
    """A step of `training.Loop` on this process's share of a batch."""
    import numpy as np
    import tensorflow as tf

    from tfprune.graph import convert
    from tfprune.optimizers import SGD
    from tfprune.recipes.models import build_model
    from tfprune.recipes.training import CrossEntropy, Loop

    strategy = strategy_of(devices, workers)
    model = build_model(arch, num_classes=10, input_shape=(32, 32, 3), seed=0)
    with strategy.scope():
        network = convert(model, "fused", options={"synchronized": kind == "synchronized" and devices * workers > 1})
        optimizer = SGD(0.01, momentum=0.9)
    loop = Loop(network, optimizer, CrossEntropy(), global_batch_size=batch_size, strategy=strategy)
    rng = np.random.default_rng(0)
    rows = batch_size // workers
    batch = {"images": tf.constant(rng.normal(size=(rows, 32, 32, 3)), tf.float32), "labels": rng.integers(0, 10, rows)}
    return lambda: loop.train_step(batch)


STRATEGIES: dict[tuple[int, int], Any] = {}


def strategy_of(devices: int, workers: int) -> Any:
    """The strategy of a variant, one for the whole process."""
    import tensorflow as tf

    from tfprune.recipes.training import make_strategy

    if (devices, workers) not in STRATEGIES:
        if workers > 1:
            sys.stdout, kept = sys.stderr, sys.stdout
            STRATEGIES[devices, workers] = make_strategy((0,), "multi_worker")
            sys.stdout = kept
        elif devices > 1:
            cpu = tf.config.list_physical_devices("CPU")[0]
            tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
            names = [f"CPU:{index}" for index in range(devices)]
            STRATEGIES[devices, workers] = tf.distribute.MirroredStrategy(names)
        else:
            STRATEGIES[devices, workers] = tf.distribute.get_strategy()
    return STRATEGIES[devices, workers]


def start(variant: str, arch: str, images: int, kinds: Sequence[str]) -> list[subprocess.Popen]:
    """Starts the processes of a variant."""
    devices, workers = VARIANTS[variant]
    command = [sys.executable, __file__, "--serve", str(devices), str(workers)]
    command += ["--arch", arch, "--images", str(images), "--batch_norm", *kinds]
    processes = []
    for environment in worker_environments(workers):
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        processes.append(subprocess.Popen(command, env=environment, text=True, **pipes))
    return processes


def step(processes: list[subprocess.Popen], kind: str) -> tuple[float, float]:
    """One step of a variant: wall and CPU seconds."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(f"{kind}\n")
        process.stdin.flush()
    times = [json.loads(read(process)) for process in processes]
    return max(wall for wall, _ in times), sum(cpu for _, cpu in times)


def read(process: subprocess.Popen) -> str:
    """The next line of a process."""
    assert process.stdout is not None
    if not (line := process.stdout.readline()):
        raise SystemExit(f"a process ended with exit code {process.wait()}")
    return line


def measure(
    arch: str, images: int, rounds: int, kinds: Sequence[str]
) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """Wall and CPU seconds of each variant and kind of batch norm, in each round."""
    running = {variant: start(variant, arch, images, kinds) for variant in VARIANTS}
    try:
        for processes in running.values():
            for process in processes:
                read(process)
        times: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for _ in range(rounds):
            for variant, processes in running.items():
                for kind in kinds:
                    times.setdefault((variant, kind), []).append(step(processes, kind))
        return times
    finally:
        for process in (process for processes in running.values() for process in processes):
            process.kill()
            process.communicate()


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--arch", default="ResNet-20")
    parser.add_argument("--images", type=int, default=64, help="per device")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--batch_norm", nargs="+", choices=BATCH_NORM, default=BATCH_NORM)
    parser.add_argument("--output", type=as_file, help="file for the rows, as JSON lines")
    parser.add_argument("--serve", type=int, nargs=2, help=argparse.SUPPRESS)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints a table."""
    options = make_parser().parse_args(arguments)
    if options.serve:
        serve(options.arch, options.images, options.batch_norm, *options.serve)
        return
    load = os.getloadavg()[0]
    times = measure(options.arch, options.images, options.rounds, options.batch_norm)
    rows = table(times)
    print(
        f"{options.arch}, {options.images} images per device, {options.rounds} rounds, {os.cpu_count()} cores, ", end=""
    )
    print(f"load {load:.1f} before the run")
    for row in rows:
        print("  ".join(f"{value:>14.3f}" if isinstance(value, float) else f"{value:<14}" for value in row.values()))
    if options.output:
        facts = {"arch": options.arch, "images_per_device": options.images, "rounds": options.rounds}
        facts |= {"cores": os.cpu_count(), "load_before": round(load, 1)}
        write_text(options.output, "".join(json.dumps({**row, **facts}) + "\n" for row in rows))


def table(times: dict[tuple[str, str], list[tuple[float, float]]]) -> list[dict[str, Any]]:
    """Medians, and ratios to one device in the same run."""
    rows = []
    for (variant, kind), pairs in times.items():
        wall, cpu = (statistics.median(values) for values in zip(*pairs, strict=True))
        one_wall, one_cpu = (statistics.median(values) for values in zip(*times["one device", kind], strict=True))
        devices = VARIANTS[variant][0] * VARIANTS[variant][1]
        rows.append(
            {
                "variant": variant,
                "batch_norm": kind,
                "wall_ms": 1000 * wall,
                "cpu_ms": 1000 * cpu,
                "efficiency": one_wall / wall,
                "cpu_per_image": cpu / devices / one_cpu,
            }
        )
    return rows


if __name__ == "__main__":
    main()
