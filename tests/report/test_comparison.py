import io

from rich.console import Console

from tfprune.report import comparison_table

BEFORE = {"accuracy": 0.9, "flops": 2e6, "params": 1000, "file_bytes": 3e6, "latency_ms": 5.0}
AFTER = {"accuracy": 0.88, "flops": 1e6, "params": 1000, "file_bytes": 1.5e6, "latency_ms": 6.0}


def shown(before, after):
    screen = io.StringIO()
    comparison_table({"before": before, "after": after}, Console(file=screen, width=100))
    rows = [line.strip(" │┃\n") for line in screen.getvalue().splitlines()]
    return [[cell.strip() for cell in row.replace("┃", "│").split("│")] for row in rows if "│" in row or "┃" in row]


def test_table():
    assert shown(BEFORE, AFTER) == [
        ["before", "after", "change"],
        ["accuracy", "90.00%", "88.00%", "-2.00 points"],
        ["FLOPs (multiply-adds)", "2.00 M", "1.00 M", "2.00 times less"],
        ["parameters", "1,000", "1,000", "same"],
        ["file size", "3.00 MB", "1.50 MB", "2.00 times less"],
        ["latency, 1 image", "5.00 ms", "6.00 ms", "1.20 times more"],
    ]


def test_better_accuracy_has_a_plus():
    assert shown(AFTER, BEFORE)[1][-1] == "+2.00 points"
