"""Where XLA pays."""

from typing import Literal, TypeAlias

import tensorflow as tf

from tfprune.errors import ConfigError

Compile: TypeAlias = Literal["auto", "on", "off"]


def uses_xla(setting: Compile, devices: tuple[str, ...]) -> bool:
    """Whether a function for these devices is to be compiled by XLA.

    On CPUs XLA makes the training of convolutions two to four times slower, on GPUs it is the point.

    Args:
        setting: `"on"`, `"off"`, or `"auto"`: on where all devices are GPUs.
        devices: TensorFlow device names.

    Raises:
        ConfigError: If the setting is none of the three.
    """
    if setting not in ("auto", "on", "off"):
        raise ConfigError(f"compile: expected auto, on or off, received {setting!r}")
    if setting != "auto":
        return setting == "on"
    return bool(devices) and all("gpu" in device.lower() for device in devices)


def default_devices() -> tuple[str, ...]:
    """The device that TensorFlow picks when nobody asks for one."""
    return ("GPU:0",) if tf.config.list_logical_devices("GPU") else ("CPU:0",)
