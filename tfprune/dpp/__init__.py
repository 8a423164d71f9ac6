"""Determinantal point processes for pruning, and the theory of pruned teacher-student networks.

`kernels` has kernels of nodes and edges, and reweighting; `KDPP` samples subsets of a fixed size, `LEnsemble` of a
random one; `theory` has the generalization error of two-layer networks. Nothing here depends on Keras.
"""

from tfprune.dpp.kdpp import KDPP, dppy_draws
from tfprune.dpp.kernels import (
    edge_kernels,
    gram,
    least_squares,
    node_kernel,
    rbf_edge_kernel,
    rbf_node_kernel,
    reweighted_edges,
    reweighted_readers,
    transfer,
)
from tfprune.dpp.l_ensemble import LEnsemble
from tfprune.dpp.spectrum import Spectrum
from tfprune.dpp.theory import (
    Alignment,
    Committee,
    Nonlinearity,
    OrderParameters,
    activation,
    expected_products,
    generalization_error,
    random_edges_error,
)

__all__ = [
    "KDPP",
    "Alignment",
    "Committee",
    "LEnsemble",
    "Nonlinearity",
    "OrderParameters",
    "Spectrum",
    "activation",
    "dppy_draws",
    "edge_kernels",
    "expected_products",
    "generalization_error",
    "gram",
    "least_squares",
    "node_kernel",
    "random_edges_error",
    "rbf_edge_kernel",
    "rbf_node_kernel",
    "reweighted_edges",
    "reweighted_readers",
    "transfer",
]
