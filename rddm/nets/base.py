"""What every network keeps to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from rddm.registry import Registry

Channels = Float[Tensor, "batch channels height width"]
Inputs = Float[Tensor, "batch in_channels height width"]
Outputs = Float[Tensor, "batch out_channels height width"]


class Network(nn.Module, ABC):
    """A denoiser's network.

    Attributes:
        size_multiple: Height and width must be multiples of this; `Restorer` pads and crops.
    """

    size_multiple: int = 1

    @abstractmethod
    def forward(self, x: Inputs, time: Float[Tensor, " batch"]) -> Outputs:
        """Outputs for every image.

        Args:
            x: Noisy image, degraded image and what else is given, channels after channels.
            time: t / T, in [0, 1].
        """


NETWORKS: Registry[Callable[..., Network]] = Registry("network")
"""Name -> a constructor that takes `in_channels`, `out_channels` and the network's own options."""
