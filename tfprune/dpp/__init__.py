"""Determinantal point processes for pruning, and the theory of pruned teacher-student networks."""

from tfprune.dpp.activations import Nonlinearity, activation, expected_products
from tfprune.dpp.alignment import Alignment
from tfprune.dpp.committee import Committee
from tfprune.dpp.dppy_draws import dppy_draws
from tfprune.dpp.generalization_error import generalization_error, random_edges_error
from tfprune.dpp.kdpp import KDPP
from tfprune.dpp.kernels import edge_kernels, gram, node_kernel, rbf_edge_kernel, rbf_node_kernel
from tfprune.dpp.order_parameters import OrderParameters
from tfprune.dpp.reweighting import least_squares, reweighted_edges, reweighted_readers, transfer
from tfprune.dpp.spectrum import Spectrum

__all__ = [
    "KDPP",
    "Alignment",
    "Committee",
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
