"""What a model costs: parameters, FLOPs (multiply-adds), memory traffic and measured latency, in tables.

`summary` prints a model layer by layer, before and after pruning; `measure_latency` and `compare_latency` time models;
`model_report` returns the numbers without measuring or printing anything.
"""

from tfprune.console import report_console
from tfprune.report.latency import Latency, compare_latency, measure_latency
from tfprune.report.layer_latency import compare_layer_latency
from tfprune.report.model_report import (
    LayerReport,
    ModelReport,
    comparison_table,
    has_unknown_sizes,
    memory_traffic,
    model_report,
    sized_model,
)
from tfprune.report.summary import Summary, summarize, summary

__all__ = [
    "Latency",
    "LayerReport",
    "ModelReport",
    "Summary",
    "compare_latency",
    "compare_layer_latency",
    "comparison_table",
    "has_unknown_sizes",
    "measure_latency",
    "memory_traffic",
    "model_report",
    "report_console",
    "sized_model",
    "summarize",
    "summary",
]
