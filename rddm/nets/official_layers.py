"""Parts of the official architecture, under the names that its checkpoints use.

Every part is arranged so that a tensor whose channels come last in memory is never copied to another order; that is the
faster order for training and for inference (benchmarks/results/network.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from rddm.nets.base import Channels

EPS = 1e-5
"""Added to every variance: of weights, of groups and of channels."""

GROUPS = 8
"""Groups of channels that are normalised together; every width is a multiple of it."""

HEADS = 4
HEAD_WIDTH = 32

ATTENTION_SCALES = ("area", "none")
"""What linear attention divides its values by: the number of pixels, as official checkpoints need, or nothing."""

Tokens = Float[Tensor, "batch pixels channels"]
TimeFeatures = Float[Tensor, "batch time_width"]


class Sinusoids(nn.Module):
    """Sines, then cosines, of the time at frequencies from 1 down to 1 / 10000.

    Args:
        width: Sines and cosines together; even.
    """

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        """Compute the frequencies; they are no part of the state."""
        super().__init__()
        half = width // 2
        exponents = torch.arange(half) * (-math.log(10_000) / (half - 1))
        self.register_buffer("frequencies", exponents.exp(), persistent=False)

    def forward(self, time: Float[Tensor, " batch"]) -> Float[Tensor, "batch width"]:
        """Embed a time of any range; official checkpoints know indices up to 999."""
        angles = time[:, None] * self.frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class ChannelLayerNorm(nn.Module):
    """Layer normalisation over the channels of each pixel, with a gain `g` and no shift.

    Args:
        channels: Channels that are normalised together.
    """

    def __init__(self, channels: int) -> None:
        """Start with gain 1."""
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Channels) -> Channels:
        """Normalise each pixel."""
        pixels = x.permute(0, 2, 3, 1)
        return F.layer_norm(pixels, pixels.shape[-1:], self.g.flatten(), None, EPS).permute(0, 3, 1, 2)


def standardised(weight: Float[Tensor, "out inner height width"]) -> Float[Tensor, "out inner height width"]:
    """The weight with mean 0 and variance 1 for each output channel (Qiao et al. 2019, arXiv 1903.10520).

    One fused layer normalisation over the weight as it lies in memory; the order inside a filter does not matter.
    """
    if weight.is_contiguous():
        return F.layer_norm(weight, weight.shape[1:], eps=EPS)
    channels_last = weight.permute(0, 2, 3, 1)
    return F.layer_norm(channels_last, channels_last.shape[1:], eps=EPS).permute(0, 3, 1, 2)


class StandardisedConv2d(nn.Conv2d):
    """A 3x3 convolution whose weight is standardised on every call; `rddm.nets.folding` does it once and for all.

    Args:
        inner: Channels in.
        outer: Channels out.
    """

    def __init__(self, inner: int, outer: int) -> None:
        """Build the layer."""
        super().__init__(inner, outer, 3, padding=1)

    def forward(self, x: Channels) -> Float[Tensor, "batch out height width"]:
        """Convolve with the standardised weight."""
        return F.conv2d(x, standardised(self.weight), self.bias, padding=1)


class Block(nn.Module):
    """Standardised 3x3 convolution, group normalisation, scale and shift, SiLU.

    Args:
        inner: Channels in.
        outer: Channels out.
    """

    def __init__(self, inner: int, outer: int) -> None:
        """Build the layers."""
        super().__init__()
        self.proj = StandardisedConv2d(inner, outer)
        self.norm = nn.GroupNorm(GROUPS, outer, eps=EPS)

    def forward(self, x: Channels, modulation: TimeFeatures | None = None) -> Float[Tensor, "batch out height width"]:
        """Scale by 1 + the first half of `modulation` and shift by the second; without it, do neither."""
        hidden = self.proj(x)
        hidden = self.norm(hidden) if modulation is None else self._modulated(hidden, modulation)
        # In place is faster, except where the gradient needs what would be overwritten: that costs a copy.
        return F.silu(hidden, inplace=not torch.is_grad_enabled())

    def _modulated(self, hidden: Channels, modulation: TimeFeatures) -> Channels:
        scale, shift = modulation.chunk(2, dim=1)
        if hidden.shape[0] == 1:
            # One image: its scale and shift join the norm's own, which saves two passes over memory.
            gain = 1 + scale[0]
            return F.group_norm(hidden, GROUPS, self.norm.weight * gain, self.norm.bias * gain + shift[0], EPS)
        return torch.addcmul(shift[:, :, None, None], self.norm(hidden), 1 + scale[:, :, None, None])


class ResidualBlock(nn.Module):
    """Two blocks, the first one told the time; added to what came in.

    Args:
        inner: Channels in.
        outer: Channels out.
        time_width: Size of the time embedding.
    """

    def __init__(self, inner: int, outer: int, time_width: int) -> None:
        """Build the layers; a 1x1 convolution carries x past them where the widths differ."""
        super().__init__()
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(time_width, 2 * outer))
        self.block1 = Block(inner, outer)
        self.block2 = Block(outer, outer)
        self.res_conv = nn.Identity() if inner == outer else nn.Conv2d(inner, outer, 1)

    def forward(self, x: Channels, time: TimeFeatures) -> Float[Tensor, "batch out height width"]:
        """Refine x, knowing the time."""
        refined = self.block2(self.block1(x, self.mlp(time)))
        return refined + self.res_conv(x)  # type: ignore[no-any-return]


class LinearAttention(nn.Module):
    r"""Attention whose cost and memory grow with the number of pixels N, not with its square (Shen et al. 2021).

    $o = W_o\, (\mathrm{softmax}_N(K) V^\top)^\top \mathrm{softmax}_d(Q)\, d^{-1/2} / s$ for each head, with s = N
    (`scale="area"`) or 1. The products are taken from the small side: first $\mathrm{softmax}_N(K) X^\top$, then $W_v$
    and $W_o$, small matrices all; neither the values nor what the heads attend to is stored for each pixel.

    Args:
        channels: Channels in and out.
        scale: `area` makes the part fade as images grow, a quirk that official checkpoints were trained with.
    """

    def __init__(self, channels: int, scale: str) -> None:
        """Build the layers."""
        super().__init__()
        width = HEADS * HEAD_WIDTH
        self.scale = scale
        self.to_qkv = nn.Conv2d(channels, 3 * width, 1, bias=False)
        self.to_out = nn.Sequential(nn.Conv2d(width, channels, 1), ChannelLayerNorm(channels))

    def forward(self, x: Channels) -> Channels:
        """Let every pixel read what all pixels say."""
        w_q, w_k, w_v = self.to_qkv.weight.chunk(3)
        queries, keys = as_tokens(F.conv2d(x, w_q)), as_tokens(F.conv2d(x, w_k))
        said = _heads((as_tokens(x).mT @ keys.softmax(dim=1)).mT) @ _heads(w_v.flatten(1)).mT
        read = self._read(_softmax_in_heads(queries), said * self._factor(keys.shape[1]))
        return self.to_out[1](as_image(read, x))  # type: ignore[no-any-return]

    def _factor(self, pixels: int) -> float:
        return 1 / (math.sqrt(HEAD_WIDTH) * (pixels if self.scale == "area" else 1))

    def _read(self, queries: Tokens, said: Float[Tensor, "batch heads key value"]) -> Float[Tensor, "batch pixels out"]:
        """What each pixel asks for of what was said, already through the output's convolution."""
        conv = cast(nn.Conv2d, self.to_out[0])
        w_out = conv.weight.reshape(-1, HEADS, HEAD_WIDTH).transpose(0, 1)
        return torch.baddbmm(cast(Tensor, conv.bias), queries, (said @ w_out.mT).flatten(1, 2))


class Attention(nn.Module):
    """Softmax attention of all pixels to all pixels; for the lowest resolution only.

    Args:
        channels: Channels in and out.
    """

    def __init__(self, channels: int) -> None:
        """Build the layers."""
        super().__init__()
        width = HEADS * HEAD_WIDTH
        self.to_qkv = nn.Conv2d(channels, 3 * width, 1, bias=False)
        self.to_out = nn.Conv2d(width, channels, 1)

    def forward(self, x: Channels) -> Channels:
        """Let every pixel read what all pixels say."""
        qkv = as_tokens(self.to_qkv(x))
        queries, keys, values = qkv.view(*qkv.shape[:2], 3, HEADS, HEAD_WIDTH).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(queries, keys, values)
        return self.to_out(as_image(attended.transpose(1, 2).flatten(2), x))  # type: ignore[no-any-return]


def as_tokens(x: Channels) -> Tokens:
    """The pixels of an image, one after the other; no copy where channels come last in memory."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def as_image(
    tokens: Tokens, like: Float[Tensor, "batch other height width"]
) -> Float[Tensor, "batch channels height width"]:
    """The pixels in an image again, of the height and width of another one."""
    height, width = like.shape[2:]
    return tokens.view(tokens.shape[0], height, width, -1).permute(0, 3, 1, 2)


def _heads(x: Tensor) -> Tensor:
    """Split the features, the last but one axis, into heads."""
    return x.view(*x.shape[:-2], HEADS, HEAD_WIDTH, x.shape[-1])


def _softmax_in_heads(tokens: Tokens) -> Tokens:
    return tokens.view(*tokens.shape[:2], HEADS, HEAD_WIDTH).softmax(dim=-1).flatten(2)


class PreNorm(nn.Module):
    """Normalise, then attend.

    Args:
        channels: Channels in and out.
        fn: The attention.
    """

    def __init__(self, channels: int, fn: nn.Module) -> None:
        """Keep the attention and build the norm."""
        super().__init__()
        self.fn = fn
        self.norm = ChannelLayerNorm(channels)

    def forward(self, x: Channels) -> Channels:
        """What the attention makes of the normalised image."""
        return self.fn(self.norm(x))  # type: ignore[no-any-return]


class Residual(nn.Module):
    """Adds what attention makes of an image to the image.

    Args:
        fn: The normalised attention.
    """

    def __init__(self, fn: PreNorm) -> None:
        """Keep the attention."""
        super().__init__()
        self.fn = fn

    def forward(self, x: Channels) -> Channels:
        """Refine x."""
        return x + self.fn(x)  # type: ignore[no-any-return]


class Level(nn.ModuleList):
    """Two residual blocks, linear attention, and the way to the next resolution.

    Args:
        inner: Channels in.
        outer: Channels after the blocks.
        time_width: Size of the time embedding.
        scale: See `LinearAttention`.
        resize: What leads to the next resolution.
        skip: Channels that each block is given beside its input.
    """

    def __init__(
        self, inner: int, outer: int, time_width: int, scale: str, resize: nn.Module, *, skip: int = 0
    ) -> None:
        """Build the layers."""
        super().__init__(
            [
                ResidualBlock(inner + skip, outer, time_width),
                ResidualBlock(outer + skip, outer, time_width),
                Residual(PreNorm(outer, LinearAttention(outer, scale))),
                resize,
            ]
        )

    def forward(self, x: Tensor, time: TimeFeatures, skips: Sequence[Tensor] = ()) -> tuple[Tensor, Tensor, Tensor]:
        """What the first block gives, what the attention gives, and that at the next resolution.

        Args:
            x: Features.
            time: The embedded time.
            skips: What the blocks are given beside their inputs, the last one first; none, or one a block.
        """
        first, second, attention, resize = self
        hidden = first(joined(x, *skips[1:]), time)
        attended = attention(second(joined(hidden, *skips[:1]), time))
        return hidden, attended, resize(attended)


def joined(*parts: Tensor) -> Tensor:
    """Channels after channels."""
    return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]


class Upsample(nn.Sequential):
    """Nearest-neighbour doubling and a 3x3 convolution, computed as one transposed convolution.

    A pixel of the doubled image sees only 2x2 different pixels, so that the 3x3 filter shrinks to four 2x2 filters, one
    for each corner: the 4x4 filter of a transposed convolution with stride 2, and 4 products in place of 9.

    Args:
        inner: Channels in.
        outer: Channels out.
    """

    def __init__(self, inner: int, outer: int) -> None:
        """Build the layers; the first one only keeps the official place of the second."""
        super().__init__(nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(inner, outer, 3, padding=1))

    def forward(self, x: Channels) -> Float[Tensor, "batch out height2 width2"]:
        """Twice the height and width."""
        return F.conv_transpose2d(x, doubling_filter(self.conv.weight), self.conv.bias, stride=2, padding=1)

    @property
    def conv(self) -> nn.Conv2d:
        """The convolution that follows the doubling."""
        return cast(nn.Conv2d, self[1])


def doubling_filter(weight: Float[Tensor, "out inner 3 3"]) -> Float[Tensor, "inner out 4 4"]:
    """The transposed 4x4 filter that equals nearest-neighbour doubling and then `weight`."""
    transposed = weight.transpose(0, 1).contiguous(memory_format=torch.channels_last)
    return _doubled_taps(_doubled_taps(transposed, 2), 3)


def _doubled_taps(weight: Tensor, axis: int) -> Tensor:
    """Along one axis, add the taps that fall on the same pixel: (w2, w1 + w2, w0 + w1, w0)."""
    first, second, third = weight.chunk(3, dim=axis)
    return torch.cat([third, second + third, first + second, first], dim=axis)
