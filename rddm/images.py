"""The ranges of images, and padding: the only place where they convert.

pixels   uint8 0..255 or uint16 0..65535, (height, width, channels)   files, shards
unit     float32 [0, 1], (channels, height, width)                     metrics, the restorer's door
signed   float32 [-1, 1]                                               inside the method
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from rddm.shapes import Images

_PEAKS = {torch.uint8: 255, torch.uint16: 65535}


def from_pixels(pixels: Tensor) -> Tensor:
    """Pixels -> unit.

    Args:
        pixels: uint8 or uint16 of shape (height, width, channels), or a batch of such.

    Returns:
        float32 in [0, 1] of shape (channels, height, width), a batch of them for a batch.

    Raises:
        ValueError: Another type or number of dimensions.
    """
    if pixels.dtype not in _PEAKS or pixels.ndim not in {3, 4}:
        raise ValueError(
            f"pixels are {pixels.dtype} of shape {tuple(pixels.shape)}; expected uint8 or uint16 (H, W, C)"
        )
    return pixels.movedim(-1, -3).to(torch.float32) / _PEAKS[pixels.dtype]


def to_pixels(image: Tensor, *, bit_depth: int) -> Tensor:
    """Unit -> pixels, rounded to the nearest; what lies outside [0, 1] is clamped.

    Args:
        image: float of shape (channels, height, width).
        bit_depth: 8 or 16.

    Raises:
        ValueError: Another depth.
    """
    dtype = {8: torch.uint8, 16: torch.uint16}.get(bit_depth)
    if dtype is None:
        raise ValueError(f"bit_depth is {bit_depth}; expected 8 or 16")
    return (image.clamp(0, 1) * _PEAKS[dtype]).round().to(dtype).permute(1, 2, 0).contiguous()


def to_signed(image: Tensor) -> Tensor:
    """[0, 1] -> [-1, 1]."""
    return image * 2 - 1


def to_unit(image: Tensor) -> Tensor:
    """[-1, 1] -> [0, 1]; what lies outside is clamped."""
    return ((image + 1) / 2).clamp(0, 1)


def equalise(images: Images) -> Images:
    """Equalise each channel's histogram over 256 levels, as OpenCV's `equalizeHist` does; both in [0, 1].

    The official code does so with LOL's inputs before the network sees them. The darkest level becomes 0, the
    brightest 1; a channel of one level stays as it is.
    """
    levels = (images * 255).round().long().flatten(2)
    counts = torch.zeros(*levels.shape[:2], 256, dtype=torch.float64, device=images.device)
    counts.scatter_add_(2, levels, torch.ones_like(levels, dtype=torch.float64))
    cumulative = counts.cumsum(dim=2)
    darkest = counts.gather(2, (counts > 0).double().argmax(dim=2, keepdim=True))
    rest = levels.shape[2] - darkest
    mapped = ((cumulative - darkest).clamp(min=0) / rest.clamp(min=1) * 255).round() / 255
    equalised = mapped.gather(2, levels).reshape(images.shape).to(images.dtype)
    return torch.where((rest > 0)[..., None], equalised, images)


def pad_to_multiple(images: Images, multiple: int) -> Float[Tensor, "batch channels down right"]:
    """Grow height and width at the far edges to multiples of a number.

    By reflection where the image is large enough, else by repeating its edge.
    """
    height, width = images.shape[-2:]
    down, right = -height % multiple, -width % multiple
    mode = "reflect" if down < height and right < width else "replicate"
    return F.pad(images, (0, right, 0, down), mode=mode)


def crop_to(images: Images, height: int, width: int) -> Float[Tensor, "batch channels down right"]:
    """Take the padding away again."""
    return images[..., :height, :width]
