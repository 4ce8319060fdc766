"""The default network: a UNet of convolutions whose cost grows with the number of pixels and with nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from rddm.nets.base import NETWORKS, Inputs, Network, Outputs
from rddm.nets.layers import Blocks, GlobalContext, ResidualBlock, TimeEmbedding, zeroed

_LEVELS_MAX = 5


@NETWORKS.register("unet")
class UNet(Network):
    """Residual blocks at halving resolutions; the way up adds what the way down saw.

    No normalisation or attention over space: a network trained on patches works on whole images of any size, and
    `GlobalContext` at the lowest resolution tells every pixel what kind of image it is in.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        channels: Width at full resolution.
        multipliers: Width at each level, in units of `channels`; one level a number.
        num_blocks: Residual blocks at each level, on either way.
        patch_px: Side of the squares of pixels that become channels on the way in and pixels again on the way out; 2
            makes the network about four times as fast, at some loss of fine detail.

    Raises:
        ValueError: There are no levels, or more than five, or `patch_px` is not positive.
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
    ) -> None:
        """Build the layers; the output starts at 0."""
        super().__init__()
        if not 1 <= len(multipliers) <= _LEVELS_MAX:
            raise ValueError(f"multipliers has {len(multipliers)} levels; expected 1 to {_LEVELS_MAX}")
        if patch_px < 1:
            raise ValueError(f"patch_px is {patch_px}; expected 1 or more")
        widths = [channels * multiplier for multiplier in multipliers]
        time_width = 4 * channels

        def blocks(width: int) -> Blocks:
            return Blocks(ResidualBlock(width, time_width) for _ in range(num_blocks))

        self.size_multiple = patch_px * 2 ** (len(widths) - 1)
        self.time = TimeEmbedding(time_width)
        self.fold = nn.PixelUnshuffle(patch_px)
        self.stem = nn.Conv2d(in_channels * patch_px**2, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(blocks(width) for width in widths)
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.context = GlobalContext(widths[-1])
        self.middle = ResidualBlock(widths[-1], time_width)
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(b, 4 * a, 1), nn.PixelShuffle(2)) for a, b in reversed(list(pairwise(widths)))
        )
        self.up_blocks = nn.ModuleList(blocks(width) for width in reversed(widths[:-1]))
        self.head = zeroed(nn.Conv2d(widths[0], out_channels * patch_px**2, 3, padding=1))
        self.unfold = nn.PixelShuffle(patch_px)

    def forward(self, x: Inputs, time: Float[Tensor, " batch"]) -> Outputs:
        """Outputs for every image; `time` is t / T."""
        embedded = self.time(time)
        hidden = self.stem(self.fold(x))
        seen: list[Tensor] = []
        for level, level_blocks in enumerate(self.down_blocks):
            hidden = level_blocks(hidden, embedded)
            if level < len(self.downs):
                seen.append(hidden)
                hidden = self.downs[level](hidden)
        hidden = self.middle(self.context(hidden), embedded)
        for up, level_blocks in zip(self.ups, self.up_blocks, strict=True):
            hidden = up(hidden) + seen.pop()
            hidden = level_blocks(hidden, embedded)
        return self.unfold(self.head(hidden))  # type: ignore[no-any-return]
