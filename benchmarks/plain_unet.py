"""The official architecture as its equations read, operation after operation; `rddm.nets.official` is measured by it.

The parts have the names and the parameters of `rddm.nets.official_layers`, so that `plain_form` can put them in their
places in a copy of any official network.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rddm.nets import official_layers as ours

EPS = 1e-5
HEADS = 4


def plain_form(net: nn.Module) -> nn.Module:
    """A copy of an official network, with the same weights, whose every part computes as its equation reads."""
    return _plain(copy.deepcopy(net))


def _plain(part: nn.Module) -> nn.Module:
    """Children first, because a plain part takes over the children of the part that it replaces."""
    for name, child in part.named_children():
        setattr(part, name, _plain(child))
    return PLAIN[type(part)](part) if type(part) in PLAIN else part


class StandardisedConv2d(nn.Module):
    """(w - mean) / sqrt(variance + eps), then the convolution."""

    def __init__(self, part: ours.StandardisedConv2d) -> None:
        super().__init__()
        self.weight, self.bias = part.weight, part.bias

    def forward(self, x: Tensor) -> Tensor:
        """Standardise, then convolve."""
        mean = self.weight.mean(dim=(1, 2, 3), keepdim=True)
        variance = self.weight.var(dim=(1, 2, 3), unbiased=False, keepdim=True)
        return F.conv2d(x, (self.weight - mean) * (variance + EPS).rsqrt(), self.bias, padding=1)


class ChannelLayerNorm(nn.Module):
    """(x - mean) / sqrt(variance + eps) * g over the channels."""

    def __init__(self, part: ours.ChannelLayerNorm) -> None:
        super().__init__()
        self.g = part.g

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each pixel."""
        mean = x.mean(dim=1, keepdim=True)
        variance = x.var(dim=1, unbiased=False, keepdim=True)
        return (x - mean) * (variance + EPS).rsqrt() * self.g


class Block(nn.Module):
    """Convolution, group normalisation, scale and shift, SiLU."""

    def __init__(self, part: ours.Block) -> None:
        super().__init__()
        self.proj, self.norm = part.proj, part.norm

    def forward(self, x: Tensor, modulation: Tensor | None = None) -> Tensor:
        """Scale by 1 + the first half of `modulation`, shift by the second."""
        x = self.norm(self.proj(x))
        if modulation is not None:
            scale, shift = modulation[:, :, None, None].chunk(2, dim=1)
            x = x * (scale + 1) + shift
        return F.silu(x)


class LinearAttention(nn.Module):
    """softmax over the features of q, over the pixels of k; the context k v; what q reads of it."""

    def __init__(self, part: ours.LinearAttention) -> None:
        super().__init__()
        self.to_qkv, self.to_out, self.scale = part.to_qkv, part.to_out, part.scale

    def forward(self, x: Tensor) -> Tensor:
        """Let every pixel read what all pixels say."""
        batch, _, height, width = x.shape
        q, k, v = (part.reshape(batch, HEADS, -1, height * width) for part in self.to_qkv(x).chunk(3, dim=1))
        q = q.softmax(dim=-2) * q.shape[2] ** -0.5
        k = k.softmax(dim=-1)
        if self.scale == "area":
            v = v / (height * width)
        context = torch.einsum("bhdn,bhen->bhde", k, v)
        out = torch.einsum("bhde,bhdn->bhen", context, q)
        return self.to_out(out.reshape(batch, -1, height, width))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """softmax(q k) v over all pairs of pixels."""

    def __init__(self, part: ours.Attention) -> None:
        super().__init__()
        self.to_qkv, self.to_out = part.to_qkv, part.to_out

    def forward(self, x: Tensor) -> Tensor:
        """Let every pixel read what all pixels say."""
        batch, _, height, width = x.shape
        q, k, v = (part.reshape(batch, HEADS, -1, height * width) for part in self.to_qkv(x).chunk(3, dim=1))
        similarity = torch.einsum("bhdi,bhdj->bhij", q * q.shape[2] ** -0.5, k)
        out = torch.einsum("bhij,bhdj->bhid", similarity.softmax(dim=-1), v)
        return self.to_out(out.permute(0, 1, 3, 2).reshape(batch, -1, height, width))  # type: ignore[no-any-return]


class PreNorm(nn.Module):
    """f(norm(x))."""

    def __init__(self, part: ours.PreNorm) -> None:
        super().__init__()
        self.fn, self.norm = part.fn, part.norm

    def forward(self, x: Tensor) -> Tensor:
        """What the attention makes of the normalised image."""
        return self.fn(self.norm(x))  # type: ignore[no-any-return]


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, part: ours.Residual) -> None:
        super().__init__()
        self.fn = part.fn

    def forward(self, x: Tensor) -> Tensor:
        """Refine x."""
        return self.fn(x) + x  # type: ignore[no-any-return]


class Upsample(nn.Sequential):
    """Double the size, then convolve."""

    def __init__(self, part: ours.Upsample) -> None:
        super().__init__(*part)


PLAIN: dict[type[nn.Module], Callable[..., nn.Module]] = {
    ours.StandardisedConv2d: StandardisedConv2d,
    ours.ChannelLayerNorm: ChannelLayerNorm,
    ours.Block: Block,
    ours.LinearAttention: LinearAttention,
    ours.Attention: Attention,
    ours.PreNorm: PreNorm,
    ours.Residual: Residual,
    ours.Upsample: Upsample,
}
