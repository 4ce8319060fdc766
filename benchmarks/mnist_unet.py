"""The network of the pretrained MNIST DDPM in ../shared/weights, as its README describes it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

WIDTHS = (32, 64, 128)
TIME_WIDTH = 32


def stage(inner: int, outer: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution, normalised in 8 groups, SiLU."""
    return nn.Sequential(nn.Conv2d(inner, outer, 3, stride=stride, padding=1), nn.GroupNorm(8, outer), nn.SiLU())


def doubling(inner: int, outer: int) -> nn.ConvTranspose2d:
    """Transposed 3x3 convolution to twice the size."""
    return nn.ConvTranspose2d(inner, outer, 3, stride=2, padding=1, output_padding=1)


class MnistUNet(nn.Module):
    """(x (batch, 1, 28, 28), diffusers' time step (batch,)) -> noise; every stage's output has the time added."""

    size_multiple = 4

    def __init__(self) -> None:
        """Build the layers, under the names of the weights."""
        super().__init__()
        low, middle, high = WIDTHS
        self.init_conv = stage(1, low)
        self.down1 = stage(low, middle, stride=2)
        self.down2 = stage(middle, high, stride=2)
        self.bottleneck = stage(high, high)
        self.up1_transpose = doubling(high, middle)
        self.up1_conv = stage(2 * middle, middle)
        self.up2_transpose = doubling(middle, low)
        self.up2_conv = stage(2 * low, low)
        self.output_head = nn.Conv2d(low, 1, 1)
        places = {"init": low, "down1": middle, "down2": high, "btn": high, "up1": middle, "up2": low}
        for place, width in places.items():
            setattr(self, f"time_proj_{place}", nn.Linear(TIME_WIDTH, width))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """The noise in x, at a time from 0 to 999."""
        embedded = _embedded(time).to(x.dtype)

        def told(features: Tensor, place: str) -> Tensor:
            shift: Tensor = getattr(self, f"time_proj_{place}")(embedded)
            return features + shift[:, :, None, None]

        first = told(self.init_conv(x), "init")
        second = told(self.down1(first), "down1")
        lowest = told(self.bottleneck(told(self.down2(second), "down2")), "btn")
        hidden = told(self.up1_transpose(lowest), "up1")
        hidden = self.up1_conv(torch.cat([hidden, second], dim=1))
        hidden = told(self.up2_transpose(hidden), "up2")
        noise: Tensor = self.output_head(self.up2_conv(torch.cat([hidden, first], dim=1)))
        return noise


def _embedded(time: Tensor) -> Tensor:
    """Sines, then cosines, of 16 frequencies from 1 down to 1 / 10000, in float64."""
    half = TIME_WIDTH // 2
    frequencies = torch.exp(-math.log(10_000) / (half - 1) * torch.arange(half, dtype=torch.float64))
    angles = time.to(torch.float64)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)
