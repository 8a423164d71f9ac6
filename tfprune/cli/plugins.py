"""The setting `plugin`: modules that are imported before a model is read."""

from typing import Any

from tfprune.settings import setting


def plugin_setting(group: str, further: str = "") -> Any:
    """Declares `plugin`, for commands that read a model file; they give it to `load_plugins` before they read one.

    Args:
        group: Title of the section of the help that lists it.
        further: What else a module may register, such as ` and criteria`.
    """
    return setting(
        (),
        "Python modules, in the current folder or installed, that register the layers, activations and other classes "
        f"that the model has of your own{further}.",
        group=group,
    )
