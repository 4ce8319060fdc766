"""Parts that networks share."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from rddm.nets.base import Channels

_MAX_PERIOD = 10_000.0
_TIME_SCALE = 1000.0
_PLACES = 16


class TimeEmbedding(nn.Module):
    """Sinusoids of the time, then two linear layers (Vaswani et al. 2017, as diffusion models use it).

    Args:
        width: Size of the embedding; even.
    """

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        """Build the layers."""
        super().__init__()
        exponents = torch.arange(width // 2, dtype=torch.float32) / (width // 2)
        self.register_buffer(
            "frequencies", _TIME_SCALE * torch.exp(-math.log(_MAX_PERIOD) * exponents), persistent=False
        )
        self.layers = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, time: Float[Tensor, " batch"]) -> Float[Tensor, "batch time_width"]:
        """Embed t / T in [0, 1]."""
        angles = time[:, None] * self.frequencies
        return self.layers(torch.cat([angles.sin(), angles.cos()], dim=1))  # type: ignore[no-any-return]


class ChannelNorm(nn.Module):
    """RMS normalisation over the channels of each pixel: no statistics over space, so the image's size does not matter.

    Args:
        channels: Channels that are normalised together.
    """

    def __init__(self, channels: int) -> None:
        """Start with gain 1."""
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))

    def forward(self, x: Channels) -> Channels:
        """Normalise."""
        scale = torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-6)
        return x * scale * self.gain[:, None, None]


class ResidualBlock(nn.Module):
    """Norm, convolution, scale and shift by the time, SiLU, convolution; added to what came in.

    Args:
        channels: Channels in and out.
        time_width: Size of the time embedding.
    """

    def __init__(self, channels: int, time_width: int) -> None:
        """Build the layers; the block starts as the identity."""
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.conv_in = nn.Conv2d(channels, channels, 3, padding=1)
        self.time = nn.Linear(time_width, 2 * channels)
        self.conv_out = zeroed(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Channels, time: Float[Tensor, "batch time_width"]) -> Channels:
        """Refine x, knowing the time."""
        scale, shift = self.time(time)[:, :, None, None].chunk(2, dim=1)
        hidden = self.conv_in(self.norm(x)) * (1 + scale) + shift
        refined: Tensor = x + self.conv_out(F.silu(hidden))
        return refined


class Blocks(nn.ModuleList):
    """Residual blocks, one after the other."""

    def forward(self, x: Channels, time: Float[Tensor, "batch time_width"]) -> Channels:
        """Refine x in every block."""
        for block in self:
            x = block(x, time)
        return x


class GlobalContext(nn.Module):
    """Lets every pixel know the image's mean features, such as how dark it is; works at any size.

    Args:
        channels: Channels in and out.
    """

    def __init__(self, channels: int) -> None:
        """Build the layers; the part starts as the identity."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * channels, channels), nn.SiLU(), zeroed(nn.Linear(channels, 2 * channels))
        )

    def forward(self, x: Channels) -> Channels:
        """Scale and shift the channels by a function of their means and standard deviations."""
        mean = x.mean(dim=(2, 3))
        deviation = (x - mean[:, :, None, None]).square().mean(dim=(2, 3)).add(1e-6).sqrt()
        scale, shift = self.layers(torch.cat([mean, deviation], dim=1))[:, :, None, None].chunk(2, dim=1)
        told: Tensor = x * (1 + scale) + shift
        return told


class GlobalAttention(nn.Module):
    """Every pixel attends to a fixed grid of places, so that cost and memory grow with the number of pixels only.

    Queries come from all pixels, keys and values from 16 x 16 places spread over the image, whatever its size: how
    attention is shared out does not change with the resolution.

    Args:
        channels: Channels in and out; a multiple of `heads`.
        heads: Attention heads.

    Raises:
        ValueError: The heads cannot share the channels equally.
    """

    def __init__(self, channels: int, heads: int) -> None:
        """Build the layers; the part starts as the identity."""
        super().__init__()
        if channels % heads:
            raise ValueError(f"{heads} attention heads cannot share {channels} channels equally")
        self._heads = heads
        self.norm = ChannelNorm(channels)
        self.to_query = nn.Conv2d(channels, channels, 1)
        self.to_key_value = nn.Conv2d(channels, 2 * channels, 1)
        self.to_out = zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Channels) -> Channels:
        """Add what each pixel attends to."""
        normed = self.norm(x)
        places = F.interpolate(normed, size=(_PLACES, _PLACES), mode="bilinear", align_corners=False)
        key, value = self._split(self.to_key_value(places)).chunk(2, dim=-1)
        attended = F.scaled_dot_product_attention(self._split(self.to_query(normed)), key, value)
        out: Tensor = x + self.to_out(attended.transpose(2, 3).reshape(x.shape))
        return out

    def _split(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, heads, pixels, channels of a head)."""
        batch, channels = x.shape[:2]
        return x.reshape(batch, self._heads, channels // self._heads, -1).transpose(2, 3)


def zeroed(layer: nn.Conv2d | nn.Linear) -> nn.Conv2d | nn.Linear:
    """A layer that starts by giving nothing."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
