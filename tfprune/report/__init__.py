"""Tables and measurements for people."""

from tfprune.report.comparison import comparison_table
from tfprune.report.latency import Latency, compare_latency, measure_latency

__all__ = ["Latency", "compare_latency", "comparison_table", "measure_latency"]
