import pytest

from tfprune.training import StageTimes


def test_adds_up_over_processes_and_interruptions(tmp_path, monkeypatch):
    clock = iter([0.0, 2.0, 10.0, 15.0, 20.0, 21.0])
    monkeypatch.setattr("tfprune.training.stage_times.time.monotonic", lambda: next(clock))
    path = tmp_path / "seconds.json"
    times = StageTimes(path)
    with times.stage("search"):
        pass
    with pytest.raises(KeyboardInterrupt), times.stage("bank"):
        raise KeyboardInterrupt
    again = StageTimes(path)
    with again.stage("bank"):
        pass
    assert again.seconds == StageTimes(path).seconds == {"search": 2.0, "bank": 6.0}
