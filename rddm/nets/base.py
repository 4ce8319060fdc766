"""What every network keeps to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rddm.registry import Registry

Time = Float[Tensor, " batch *outputs"]
"""The time as a network is told it: one number for each image, or one for each of its outputs."""

Channels = Float[Tensor, "batch channels height width"]
Inputs = Float[Tensor, "batch in_channels height width"]
Outputs = Float[Tensor, "batch out_channels height width"]


class Network(nn.Module, ABC):
    """A denoiser's network.

    Attributes:
        size_multiple: Height and width must be multiples of this; `Restorer` pads and crops.
        starts_at_zero: Whether an untrained network gives 0 everywhere.
    """

    size_multiple: int = 1
    starts_at_zero: bool = True

    @abstractmethod
    def forward(self, x: Inputs, time: Time) -> Outputs:
        """Outputs for every image.

        Args:
            x: Noisy image, degraded image and what else is given, channels after channels.
            time: What `rddm.times.TIME_SIGNALS` makes of t: by default t / T, in [0, 1]. Networks with an output of
                their own for residual and noise also take two columns, the time of each.
        """


NETWORKS: Registry[Callable[..., Network]] = Registry("network")
"""Name -> a constructor that takes `in_channels`, `out_channels` and the network's own options."""


class SeparateNetworks(Network):
    """A network of its own for each output, which may be told different times.

    Args:
        nets: The networks, the residual's first; kept as `unet0`, `unet1`, ...
    """

    def __init__(self, *nets: Network) -> None:
        """Keep the networks."""
        super().__init__()
        self.size_multiple = nets[0].size_multiple
        self.starts_at_zero = nets[0].starts_at_zero
        self._count = len(nets)
        for index, net in enumerate(nets):
            self.add_module(f"unet{index}", net)

    def forward(self, x: Inputs, time: Time) -> Outputs:
        """Outputs for every image, channels after channels.

        Args:
            x: As every network.
            time: One time for all networks, or a column for each.

        Raises:
            ValueError: There is another number of columns.
        """
        if time.ndim > 1 and time.shape[1] != self._count:
            raise ValueError(f"time has shape {tuple(time.shape)}; expected (batch,) or (batch, {self._count})")
        times = [time] * self._count if time.ndim == 1 else time.unbind(1)
        return torch.cat([net(x, own) for net, own in zip(self.children(), times, strict=True)], dim=1)
