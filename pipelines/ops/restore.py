"""One picture through a restorer: bit depth, greyness and alpha are kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pipelines.ops.codec import DecodedImage

if TYPE_CHECKING:
    from numpy.typing import NDArray

PixelRestorer = Callable[["NDArray[np.float32]", int], "NDArray[np.float32]"]
"""(float32 RGB in [0, 1] of shape (height, width, 3), seed) -> the same shape and range."""


def restore_image(image: DecodedImage, restorer: PixelRestorer, *, seed: int) -> DecodedImage:
    """Restore the colours of a picture.

    A grey picture is restored as RGB and averaged back to grey; alpha passes through.

    Args:
        image: What came in.
        restorer: The model.
        seed: Of the noise.
    """
    peak = np.float32(65535 if image.bit_depth == 16 else 255)
    restored = restorer(image.pixels.astype(np.float32) / peak, seed)
    if image.grey:
        restored = np.repeat(restored.mean(axis=2, keepdims=True), 3, axis=2)
    pixels = np.rint(np.clip(restored, 0, 1) * peak).astype(image.pixels.dtype)
    return replace(image, pixels=np.ascontiguousarray(pixels))
