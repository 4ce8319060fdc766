"""One picture through a restorer: bit depth, greyness and alpha are kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pipelines.ops.codec import DecodedImage
from rddm.errors import DataError

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

    Raises:
        DataError: The model's answer is no picture.
    """
    peak = np.float32(65535 if image.bit_depth == 16 else 255)
    restored = restorer(image.pixels.astype(np.float32) / peak, seed)
    if restored.shape != image.pixels.shape or not np.isfinite(restored).all():
        raise DataError(
            f"the model answered with shape {restored.shape}, or with values that are not finite; "
            f"expected finite values of shape {image.pixels.shape}"
        )
    if image.grey:
        restored = np.repeat(restored.mean(axis=2, keepdims=True), 3, axis=2)
    pixels = np.rint(np.clip(restored, 0, 1) * peak).astype(image.pixels.dtype)
    return replace(image, pixels=np.ascontiguousarray(pixels))
