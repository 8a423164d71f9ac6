"""CPU of drawing 100 masks of 50 items from 6 kernels of 500 items: ours, DPPy's.

Both get the same float64 kernels and start from them. `student` are the edge kernels of a random student of 6 nodes on
20,000 examples, which are nearly diagonal: no eigendecomposition is needed. `alike` are RBF kernels of random points,
whose items repel each other strongly: each is decomposed once, as DPPy does. `student by eigenvectors` is what the
first would cost without the shortcut. The ways take turns. Inclusion frequencies are held against the exact
probabilities.

    OMP_NUM_THREADS=1 python benchmarks/kdpp.py --out benchmarks/results/kdpp.json
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from dppy.finite_dpps import FiniteDPP
from program import new_parser, use_threads

from tfprune.dpp import KDPP, Spectrum, edge_kernels, gram
from tfprune.files import as_file, write_text


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--masks", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--nodes", type=int, default=6, help="kernels")
    parser.add_argument("--items", type=int, default=500, help="of a kernel")
    parser.add_argument("--examples", type=int, default=20_000, help="of the student")
    parser.add_argument("--compile", action="store_true", help="let XLA compile our draws")
    parser.add_argument("--out", type=as_file)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints and writes."""
    given = make_parser().parse_args(arguments)
    use_threads(1)
    student = student_kernels(given.nodes, given.items, given.examples)
    alike = alike_kernels(given.nodes, given.items)
    result = {
        "k": given.k,
        "masks": given.masks,
        "compile": given.compile,
        "machine": platform.processor() or platform.machine(),
        "versions": {name: version(name) for name in ("tensorflow", "dppy", "numpy")},
        "student": measured(student, given, lambda: KDPP(student, given.k, compile=given.compile)),
        "student by eigenvectors": measured(
            student, given, lambda: KDPP(Spectrum.from_kernels(student), given.k, compile=given.compile)
        ),
        "alike": measured(alike, given, lambda: KDPP(alike, given.k, compile=given.compile)),
    }
    print(json.dumps(result, indent=1))
    if given.out:
        write_text(given.out, json.dumps(result, indent=1) + "\n")


def student_kernels(nodes: int, items: int, examples: int) -> np.ndarray:
    """Kernels of the edges of each node of a random student."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((nodes, items))
    return edge_kernels(weights, gram(rng.standard_normal((examples, items))))


def alike_kernels(nodes: int, items: int) -> np.ndarray:
    """RBF kernels of points in ten dimensions, with 0.01 on the diagonal as those of the image experiments."""
    points = np.random.default_rng(1).random((nodes, items, 10))
    squares = (points**2).sum(axis=2)
    distances = squares[:, :, None] + squares[:, None, :] - 2 * points @ points.transpose(0, 2, 1)
    return np.exp(-distances) + 0.01 * np.eye(items)


def measured(kernels: np.ndarray, given: argparse.Namespace, make: Callable[[], KDPP]) -> dict[str, object]:
    """CPU seconds of both, of what they have in common, and how the draws agree with the law."""
    state = np.random.RandomState(0)

    def ours() -> np.ndarray:
        return make().sample(given.masks, seed=1)

    def theirs() -> np.ndarray:
        found = []
        for kernel in kernels:
            dpp = FiniteDPP("likelihood", L=kernel)
            for _ in range(given.masks):
                dpp.sample_exact_k_dpp(size=given.k, random_state=state)
            found.append(dpp.list_of_samples)
        return np.array(found)

    first = cpu(ours)
    our_times, their_times, decompositions = [], [], []
    for _ in range(given.repeats):
        our_times.append(cpu(ours))
        their_times.append(cpu(theirs))
        decompositions.append(cpu(lambda: [np.linalg.eigh(kernel) for kernel in kernels]))
    mean, other, shared = (float(np.median(times)) for times in (our_times, their_times, decompositions))
    kdpp = make()
    decomposed = "spectrum" in vars(kdpp)
    return {
        "first_call_with_tracing_s": first,
        "ours_s": our_times,
        "dppy_s": their_times,
        "decomposition_s": decompositions,
        "ours_decomposes": decomposed,
        "ratio": other / mean,
        "ratio_of_draws_alone": (other - shared) / (mean - shared * decomposed),
        "deviations": {"ours": deviation(ours(), kernels), "dppy": deviation(theirs(), kernels)},
    }


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of a piece of work."""
    start = time.process_time()
    work()
    return time.process_time() - start


def deviation(drawn: np.ndarray, kernels: np.ndarray) -> float:
    """Mean squared deviation of inclusion frequencies from the exact probabilities, in variances: about 1 if right."""
    exact = KDPP(kernels, drawn.shape[2]).inclusion()
    found = np.stack([np.bincount(each.ravel(), minlength=exact.shape[1]) for each in drawn]) / drawn.shape[1]
    variance = exact * (1 - exact) / drawn.shape[1]
    return float(np.sum((found - exact) ** 2) / np.sum(variance))


if __name__ == "__main__":
    main()
