"""What every architecture's plan can do."""

from collections.abc import Mapping
from typing import Protocol

import keras

from tfprune.models.network_options import NetworkOptions, Start


class Plan(Protocol):
    """The plan of an architecture: the widths of its layers, and the network itself."""

    @property
    def start(self) -> Start:
        """How the weights begin unless asked otherwise."""
        ...

    @property
    def classifier_like_layers(self) -> bool:
        """Whether the classifier is initialised as the other layers are."""
        ...

    def default_widths(self) -> dict[str, int]:
        """Output channels of every convolution and hidden dense layer, by layer name."""
        ...

    def build(
        self,
        *,
        name: str,
        num_classes: int,
        input_shape: tuple[int, int, int],
        widths: Mapping[str, int],
        options: NetworkOptions,
    ) -> keras.Model:
        """The network; see `build_model`."""
        ...
