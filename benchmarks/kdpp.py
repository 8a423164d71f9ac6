"""CPU of drawing 100 edge masks for 6 nodes of a student (500 inputs, 50 edges a node): ours, DPPy's.

Both get the same float64 kernels; each decomposes every kernel once. The kernels are those of a random student on
20,000 examples. Inclusion probabilities of both are held against the exact ones.

    OMP_NUM_THREADS=1 python benchmarks/kdpp.py --out benchmarks/results/kdpp.json
"""

import argparse
import json
import os
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from dppy.finite_dpps import FiniteDPP

from tfprune.dpp import KDPP, Spectrum, edge_kernels, gram

NODES, INPUTS, EXAMPLES = 6, 500, 20_000


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--masks", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="let XLA compile our draws")
    parser.add_argument("--out")
    given = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((NODES, INPUTS))
    kernels = edge_kernels(weights, gram(rng.standard_normal((EXAMPLES, INPUTS))))

    def theirs() -> np.ndarray:
        found = []
        for kernel in kernels:
            dpp = FiniteDPP("likelihood", L=kernel)
            for _ in range(given.masks):
                dpp.sample_exact_k_dpp(size=given.k, random_state=state)
            found.append(dpp.list_of_samples)
        return np.array(found)

    def ours() -> np.ndarray:
        return KDPP(kernels, given.k, compile=given.compile).sample(given.masks, seed=1)

    state = np.random.RandomState(0)
    first = cpu(ours)
    decomposition = min(cpu(lambda: Spectrum.of(kernels)) for _ in range(given.repeats))
    our_times, their_times = [], []
    for _ in range(given.repeats):
        our_times.append(cpu(ours))
        their_times.append(cpu(theirs))
    mean, other = float(np.median(our_times)), float(np.median(their_times))
    result = {
        "k": given.k,
        "masks": given.masks,
        "compile": given.compile,
        "first_call_with_tracing_s": first,
        "ours_s": our_times,
        "dppy_s": their_times,
        "decomposition_of_all_kernels_s": decomposition,
        "ratio": other / mean,
        "ratio_without_decomposition": (other - decomposition) / (mean - decomposition),
        "deviations": {"ours": deviation(ours(), kernels), "dppy": deviation(theirs(), kernels)},
    }
    print(json.dumps(result, indent=1))
    if given.out:
        with open(given.out, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)


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
