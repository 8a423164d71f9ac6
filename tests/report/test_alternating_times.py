import numpy as np
import pytest

from tfprune.report import alternating_times as module
from tfprune.report.alternating_times import alternating_times


def test_calls_take_turns_and_the_order_turns_round(monkeypatch):
    now, order = [0.0], []
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])

    def call(name, seconds):
        def run():
            order.append(name)
            now[0] += seconds * len(order)  # slower and slower

        return run

    received = alternating_times({"a": call("a", 0.001), "b": call("b", 0.01)}, runs=2, warm_up=1)
    assert order == ["a", "b", "b", "a", "a", "b"]
    np.testing.assert_allclose(received["a"], [4, 5])
    np.testing.assert_allclose(received["b"], [30, 60])


@pytest.mark.parametrize(("description", "shown"), [("timing", True), (None, False)])
def test_a_bar_where_it_has_a_name_and_there_is_a_screen(capsys, monkeypatch, description, shown):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    alternating_times({"a": lambda: None}, runs=2, warm_up=0, description=description)
    assert ("timing" in capsys.readouterr().err) == shown
