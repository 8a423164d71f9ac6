import pytest

from tfprune.errors import ConfigError
from tfprune.training.compilation import uses_xla

CPU, GPU = "/job:localhost/replica:0/task:0/device:CPU:0", "/device:GPU:0"


@pytest.mark.parametrize(
    ("setting", "devices", "expected"),
    [("on", (CPU,), True), ("off", (GPU,), False), ("auto", (GPU, GPU), True), ("auto", (GPU, CPU), False)],
)
def test_auto_means_gpus(setting, devices, expected):
    assert uses_xla(setting, devices) is expected


def test_nothing_else():
    with pytest.raises(ConfigError, match="auto, on or off"):
        uses_xla(True, (CPU,))
