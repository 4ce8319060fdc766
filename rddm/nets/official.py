"""The official architecture: a UNet of weight-standardised residual blocks and linear attention, in arrangements.

Its state dicts carry the official names, so that official checkpoints load as they are. Like those, it takes the time
as the official code gives it: the index t - 1 (time signal `official_index`), or a continuous time of that scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from rddm.nets.base import NETWORKS, Channels, Inputs, Network, Outputs, SeparateNetworks, Time
from rddm.nets.official_layers import (
    ATTENTION_SCALES,
    GROUPS,
    Attention,
    Level,
    PreNorm,
    Residual,
    ResidualBlock,
    Sinusoids,
    TimeFeatures,
    Upsample,
    joined,
)
from rddm.nets.unet import half_of
from rddm.registry import Registry

ARRANGEMENTS: Registry[Callable[..., Network]] = Registry("arrangement")
"""Name -> a constructor that takes `in_channels`, `out_channels`, `channels`, `multipliers` and `attention_scale`."""


@NETWORKS.register("official_unet")
def official_unet(
    in_channels: int,
    out_channels: int,
    *,
    channels: int = 64,
    multipliers: Sequence[int] = (1, 2, 4, 8),
    arrangement: str = "one",
    attention_scale: str = "area",
) -> Network:
    """The official network.

    Args:
        in_channels: Channels of the input: 3 for x_t, 6 with the degraded image, 9 with a mask or a third image too.
        out_channels: Channels of the output; for two outputs, those of the residual and then those of the noise.
        channels: Width at full resolution, a multiple of 8 (official: `dim`).
        multipliers: Width at each level, in units of `channels` (official: `dim_mults`).
        arrangement: An entry of `ARRANGEMENTS`: `one` network for everything, `wrapped` (the same under the name
            `unet0`, official: share_encoder=-1), `shared_encoder` (1) or `two` networks (0).
        attention_scale: `area` divides the values of linear attention by the number of pixels, so that what a network
            gives depends on the resolution: official checkpoints need it. `none` does not, and suits new trainings.

    Raises:
        ConfigError: There is no such arrangement.
        ValueError: A width, the levels, the scale or the number of outputs is impossible.
    """
    if channels < GROUPS or channels % GROUPS:
        raise ValueError(f"channels is {channels}; expected a multiple of {GROUPS}")
    if not multipliers or min(multipliers) < 1:
        raise ValueError(f"multipliers is {tuple(multipliers)}; expected one positive number or more, one a level")
    if attention_scale not in ATTENTION_SCALES:
        raise ValueError(f"attention_scale is {attention_scale!r}; expected one of {', '.join(ATTENTION_SCALES)}")
    build = ARRANGEMENTS[arrangement]
    return build(in_channels, out_channels, channels, tuple(multipliers), attention_scale)


class _Trunk(Network):
    """What the official networks with an encoder of their own share: stem, time, the way down.

    Sub-classes register their parts in the official order, because a checkpoint's parameters are numbered by it.
    """

    starts_at_zero = False

    def __init__(self, in_channels: int, channels: int, multipliers: Sequence[int], scale: str) -> None:
        """Build the stem, the time's layers and the way down."""
        super().__init__()
        self._widths = list(pairwise([channels, *(channels * multiplier for multiplier in multipliers)]))
        self._time_width = 4 * channels
        self._scale = scale
        self.size_multiple = 2 ** (len(multipliers) - 1)
        self.init_conv = nn.Conv2d(in_channels, channels, 7, padding=3)
        self.time_mlp = nn.Sequential(
            Sinusoids(channels),
            nn.Linear(channels, self._time_width),
            nn.GELU(),
            nn.Linear(self._time_width, self._time_width),
        )
        self.downs = nn.ModuleList(self._down(index) for index in range(len(multipliers)))

    def _down(self, index: int) -> Level:
        inner, outer = self._widths[index]
        last = index == len(self._widths) - 1
        smaller = nn.Conv2d(inner, outer, 3, padding=1) if last else nn.Conv2d(inner, outer, 4, stride=2, padding=1)
        return Level(inner, inner, self._time_width, self._scale, smaller)

    def _up(self, index: int, *, skips: bool) -> Level:
        inner, outer = self._widths[index]
        larger = Upsample(outer, inner) if index else nn.Conv2d(outer, inner, 3, padding=1)
        return Level(outer, outer, self._time_width, self._scale, larger, skip=inner if skips else 0)

    def _ups(self, *, skips: bool) -> nn.ModuleList:
        """The way up, from the lowest resolution; with skips, each block sees what the way down saw."""
        return nn.ModuleList(self._up(index, skips=skips) for index in reversed(range(len(self._widths))))

    def _block(self, inner: int, outer: int) -> ResidualBlock:
        return ResidualBlock(inner, outer, self._time_width)

    def _build_middle(self) -> None:
        width = self._widths[-1][1]
        self.mid_block1 = self._block(width, width)
        self.mid_attn = Residual(PreNorm(width, Attention(width)))
        self.mid_block2 = self._block(width, width)

    def _encode(self, x: Inputs, time: Time) -> tuple[Tensor, list[Tensor], Tensor]:
        """The lowest resolution's features, what was seen on the way (the stem's output first), the embedded time."""
        embedded = self.time_mlp(_one_time(time))
        hidden = self.init_conv(x)
        seen = [hidden]
        for level in self.downs:
            first, second, hidden = level(hidden, embedded)
            seen += [first, second]
        hidden = self.mid_attn(self.mid_block1(hidden, embedded))
        return self.mid_block2(hidden, embedded), seen, embedded


@ARRANGEMENTS.register("one")
class OfficialUNet(_Trunk):
    """One network for all output channels (official: `Unet`).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        channels: Width at full resolution.
        multipliers: Width at each level, in units of `channels`.
        scale: See `official_unet`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, channels: int, multipliers: Sequence[int], scale: str
    ) -> None:
        """Build the layers."""
        super().__init__(in_channels, channels, multipliers, scale)
        self.ups = self._ups(skips=True)
        self._build_middle()
        self.final_res_block = self._block(2 * channels, channels)
        self.final_conv = nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Inputs, time: Time) -> Outputs:
        """Outputs for every image; `time` is the official index, one for each image."""
        hidden, seen, embedded = self._encode(x, time)
        hidden = joined(_climb(self.ups, hidden, embedded, seen[1:]), seen[0])
        return self.final_conv(self.final_res_block(hidden, embedded))  # type: ignore[no-any-return]


@ARRANGEMENTS.register("shared_encoder")
class SharedEncoderUNet(_Trunk):
    """One encoder; a decoder without skips for the residual, one with skips for the noise (official: share_encoder=1).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of both outputs together; even.
        channels: Width at full resolution.
        multipliers: Width at each level, in units of `channels`.
        scale: See `official_unet`.

    Raises:
        ValueError: `out_channels` is odd.
    """

    def __init__(
        self, in_channels: int, out_channels: int, channels: int, multipliers: Sequence[int], scale: str
    ) -> None:
        """Build the layers."""
        super().__init__(in_channels, channels, multipliers, scale)
        image_channels = half_of(out_channels)
        self.ups = self._ups(skips=True)
        self.ups_no_skip = self._ups(skips=False)
        self._build_middle()
        self.final_res_block_1 = self._block(channels, channels)
        self.final_conv_1 = nn.Conv2d(channels, image_channels, 1)
        self.final_res_block_2 = self._block(2 * channels, channels)
        self.final_conv_2 = nn.Conv2d(channels, image_channels, 1)

    def forward(self, x: Inputs, time: Time) -> Outputs:
        """Residual, then noise, for every image; `time` is the official index, one for each image."""
        hidden, seen, embedded = self._encode(x, time)
        res = _climb(self.ups_no_skip, hidden, embedded)
        noise = joined(_climb(self.ups, hidden, embedded, seen[1:]), seen[0])
        res = self.final_conv_1(self.final_res_block_1(res, embedded))
        return joined(res, self.final_conv_2(self.final_res_block_2(noise, embedded)))


@ARRANGEMENTS.register("wrapped")
def wrapped(
    in_channels: int, out_channels: int, channels: int, multipliers: Sequence[int], scale: str
) -> SeparateNetworks:
    """One network under the name `unet0` (official: share_encoder=-1)."""
    return SeparateNetworks(OfficialUNet(in_channels, out_channels, channels, multipliers, scale))


@ARRANGEMENTS.register("two")
def two(in_channels: int, out_channels: int, channels: int, multipliers: Sequence[int], scale: str) -> SeparateNetworks:
    """One network for the residual and one for the noise (official: share_encoder=0).

    Raises:
        ValueError: `out_channels` is odd.
    """
    image_channels = half_of(out_channels)
    return SeparateNetworks(
        *(OfficialUNet(in_channels, image_channels, channels, multipliers, scale) for _ in range(2))
    )


def _climb(
    ups: nn.ModuleList, lowest: Channels, embedded: TimeFeatures, seen: Sequence[Tensor] = ()
) -> Float[Tensor, "batch out up_height up_width"]:
    """The way up; every block is also given what the way down saw, the latest first."""
    hidden, skips = lowest, list(seen)
    for level in ups:
        *_, hidden = level(hidden, embedded, skips[-2:])
        del skips[-2:]
    return hidden


def _one_time(time: Time) -> Float[Tensor, " batch"]:
    if time.ndim > 1 and time.shape[1] != 1:
        raise ValueError(f"time has shape {tuple(time.shape)}; expected (batch,): one encoder knows one time")
    return time.reshape(-1)
