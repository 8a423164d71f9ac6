"""Telling users which layers were not reweighted."""

from collections.abc import Mapping


class ReweightingWarning(UserWarning):
    """Some layers that read fewer channels than before keep their weights as they were.

    Args:
        reasons: Why, by the layer's name.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        named = "; ".join(f"{name} ({reason})" for name, reason in reasons.items())
        super().__init__(f"not reweighted: {named}; train these a little, or leave the channels that they read alone")
        self.reasons = dict(reasons)
