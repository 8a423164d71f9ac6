"""What a run ran on."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import tensorflow as tf

import tfprune


def describe_environment() -> dict[str, Any]:
    """Versions, devices and command line, as plain values for `environment.json`."""
    return {
        "tfprune": tfprune.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in ("tensorflow", "keras", "numpy", "tensorflow-datasets")},
        "devices": [_describe(device) for device in tf.config.get_visible_devices()],
        "argv": sys.argv,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _describe(device: Any) -> str:
    details = tf.config.experimental.get_device_details(device) if device.device_type == "GPU" else {}
    return " ".join([device.name, *([details["device_name"]] if "device_name" in details else [])])
