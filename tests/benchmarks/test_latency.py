import keras
import latency
import pytest


def test_shares(capsys):
    latency.print_shares({"original": 10.0, "half": 6.25}, {"original": 200, "half": 100})
    half = capsys.readouterr().out.splitlines()[-1]
    assert half.split() == ["half", "6.2", "1.60x", "2.00x", "80%"]


def test_calls_take_turns():
    order, now = [], [0.0]

    def call(name, seconds):
        order.append(name)
        now[0] += seconds

    calls = {"a": lambda: call("a", 0.002), "b": lambda: call("b", 0.001)}
    received = latency.measure(calls, runs=2, clock=lambda: now[0], warm_up=1)
    assert received == pytest.approx({"a": 2.0, "b": 1.0})
    assert order == ["a", "b"] * 3


def test_whole_script(tiny_application, monkeypatch, capsys):
    monkeypatch.setattr(keras.applications, "Tiny", lambda weights: tiny_application(weights, None, (16, 16, 3)))
    choices = ["--round_to", "1", "4", "--scope", "global", "local", "--batch_size", "2", "--runs", "1"]
    latency.main(["--model", "Tiny", *choices, "--frozen", "--profile"])
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("local, round_to=4") for line in lines) == 2
    assert sum(line.startswith("Tiny, weights as constants, batch of 2") for line in lines) == 1
    times = [float(line.split()[-2]) for line in lines if line.startswith("all ")]
    assert len(times) == 2
    assert min(times) > 0
