"""The default network: a UNet whose cost grows with the number of pixels and with nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rddm.nets.base import NETWORKS, Channels, Inputs, Network, Outputs, SeparateNetworks, Time
from rddm.nets.layers import Blocks, GlobalAttention, GlobalContext, ResidualBlock, TimeEmbedding, zeroed

_LEVELS_MAX = 5
ARRANGEMENTS = ("one", "shared_encoder", "two")


@NETWORKS.register("unet")
def unet(in_channels: int, out_channels: int, *, arrangement: str = "one", **options: object) -> Network:
    """Our UNet, alone or twice.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output; of two outputs, those of the residual and then those of the noise.
        arrangement: `one` network for everything, a `shared_encoder` with a decoder for each of two outputs, or `two`
            networks, which may be told different times.
        options: As `UNet`.

    Raises:
        ValueError: The arrangement is unknown, or two outputs cannot share the channels.
    """
    if arrangement not in ARRANGEMENTS:
        raise ValueError(f"arrangement is {arrangement!r}; expected one of {', '.join(ARRANGEMENTS)}")
    if arrangement == "two":
        half = half_of(out_channels)
        return SeparateNetworks(*(UNet(in_channels, half, **options) for _ in range(2)))  # type: ignore[arg-type]
    return UNet(in_channels, out_channels, num_decoders=1 + (arrangement == "shared_encoder"), **options)  # type: ignore[arg-type]


class UNet(Network):
    """Residual blocks at halving resolutions; the way up adds what the way down saw.

    No statistics over space at full resolution, and none that change with the image's size: a network trained on
    patches works on whole images. At the lowest resolution `GlobalContext` and `GlobalAttention` tell every pixel what
    kind of image it is in; their memory grows with the number of pixels, not with its square.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        channels: Width at full resolution.
        multipliers: Width at each level, in units of `channels`; one level a number.
        num_blocks: Residual blocks at each level, on either way.
        patch_px: Side of the squares of pixels that become channels on the way in and pixels again on the way out; 2
            makes the network about four times as fast, at some loss of fine detail.
        attention_heads: Heads of the attention at the lowest resolution; 0 for none.
        num_decoders: Ways up from one way down; each gives its share of the output.

    Raises:
        ValueError: There are no levels, or more than five, or a number is impossible.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        channels: int = 32,
        multipliers: Sequence[int] = (1, 2, 4),
        num_blocks: int = 1,
        patch_px: int = 1,
        attention_heads: int = 4,
        num_decoders: int = 1,
    ) -> None:
        """Build the layers; the output starts at 0."""
        super().__init__()
        _check(multipliers, patch_px, out_channels, num_decoders)
        widths = [channels * multiplier for multiplier in multipliers]
        time_width = 4 * channels
        self.size_multiple = patch_px * 2 ** (len(widths) - 1)
        self.time = TimeEmbedding(time_width)
        self.fold = nn.PixelUnshuffle(patch_px)
        self.stem = nn.Conv2d(in_channels * patch_px**2, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(_blocks(width, time_width, num_blocks) for width in widths)
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.context = GlobalContext(widths[-1])
        self.attention = GlobalAttention(widths[-1], attention_heads) if attention_heads else nn.Identity()
        self.decoders = nn.ModuleList(
            Decoder(widths, out_channels // num_decoders, time_width, num_blocks, patch_px) for _ in range(num_decoders)
        )

    def forward(self, x: Inputs, time: Time) -> Outputs:
        """Outputs for every image; `time` is t / T, one for each image."""
        embedded = self.time(time)
        hidden = self.stem(self.fold(x))
        seen: list[Tensor] = []
        for level, level_blocks in enumerate(self.down_blocks):
            hidden = level_blocks(hidden, embedded)
            if level < len(self.downs):
                seen.append(hidden)
                hidden = self.downs[level](hidden)
        hidden = self.attention(self.context(hidden))
        return torch.cat([decoder(hidden, seen, embedded) for decoder in self.decoders], dim=1)


class Decoder(nn.Module):
    """The way up, from the lowest resolution to an output.

    Args:
        widths: Channels of each level, from full resolution down.
        out_channels: Channels of the output.
        time_width: Size of the time embedding.
        num_blocks: Residual blocks at each level.
        patch_px: As `UNet`.
    """

    def __init__(
        self, widths: Sequence[int], out_channels: int, time_width: int, num_blocks: int, patch_px: int
    ) -> None:
        """Build the layers; the output starts at 0."""
        super().__init__()
        self.middle = ResidualBlock(widths[-1], time_width)
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(b, a, 1), nn.Upsample(scale_factor=2, mode="bilinear"))
            for a, b in reversed(list(pairwise(widths)))
        )
        self.blocks = nn.ModuleList(_blocks(width, time_width, num_blocks) for width in reversed(widths[:-1]))
        self.head = zeroed(nn.Conv2d(widths[0], out_channels * patch_px**2, 3, padding=1))
        self.unfold = nn.PixelShuffle(patch_px)

    def forward(
        self, lowest: Channels, seen: Sequence[Tensor], time: Float[Tensor, "batch time_width"]
    ) -> Float[Tensor, "batch out_channels out_height out_width"]:
        """An output, given what the way down saw at each level, full resolution first."""
        hidden = self.middle(lowest, time)
        for up, blocks, skip in zip(self.ups, self.blocks, reversed(seen), strict=True):
            hidden = blocks(up(hidden) + skip, time)
        return self.unfold(self.head(hidden))  # type: ignore[no-any-return]


def half_of(out_channels: int) -> int:
    """Channels of each of two outputs.

    Raises:
        ValueError: They cannot be equally many.
    """
    if out_channels % 2:
        raise ValueError(f"out_channels is {out_channels}; expected an even number: residual and noise, equally many")
    return out_channels // 2


def _blocks(width: int, time_width: int, count: int) -> Blocks:
    return Blocks(ResidualBlock(width, time_width) for _ in range(count))


def _check(multipliers: Sequence[int], patch_px: int, out_channels: int, num_decoders: int) -> None:
    if not 1 <= len(multipliers) <= _LEVELS_MAX:
        raise ValueError(f"multipliers has {len(multipliers)} levels; expected 1 to {_LEVELS_MAX}")
    if patch_px < 1:
        raise ValueError(f"patch_px is {patch_px}; expected 1 or more")
    if num_decoders < 1 or out_channels % num_decoders:
        raise ValueError(f"{num_decoders} decoders cannot share {out_channels} channels of output equally")
