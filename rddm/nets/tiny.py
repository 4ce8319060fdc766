"""A few convolutions: small enough for tests to train it in seconds."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rddm.nets.base import NETWORKS, Inputs, Network, Outputs
from rddm.nets.layers import zeroed


@NETWORKS.register("tiny")
class TinyNet(Network):
    """Three convolutions; the time is one more input channel.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        channels: Width.
    """

    def __init__(self, in_channels: int, out_channels: int, *, channels: int = 16) -> None:
        """Build the layers; the output starts at 0."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels + 1, channels, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.SiLU(),
            zeroed(nn.Conv2d(channels, out_channels, 3, padding=1)),
        )

    def forward(self, x: Inputs, time: Float[Tensor, " batch"]) -> Outputs:
        """Outputs for every image; `time` is t / T."""
        plane = time.to(x.dtype)[:, None, None, None].expand(-1, 1, *x.shape[2:])
        return self.layers(torch.cat([x, plane], dim=1))  # type: ignore[no-any-return]
