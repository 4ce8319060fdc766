"""Pictures that tests make."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image


def photograph(height: int = 40, width: int = 56, *, dtype: Any = np.uint8, seed: int = 0) -> NDArray[Any]:
    """A smooth, colourful RGB picture without symmetry."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    generator = np.random.default_rng(seed)
    waves = [np.sin(generator.uniform(0.05, 0.3, 2) @ np.stack([y.ravel(), x.ravel()])) for _ in range(3)]
    unit = (np.stack(waves, axis=1).reshape(height, width, 3) + 1) / 2
    unit[: height // 4, : width // 4] = (1.0, 0.1, 0.1)  # a red corner shows which side is up
    return (unit * np.iinfo(dtype).max).astype(dtype)


def encoded(pixels: NDArray[Any], image_format: str = "PNG", **options: Any) -> bytes:
    """An 8-bit picture as a file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, image_format, **options)
    return buffer.getvalue()


def encoded_16(pixels: NDArray[np.uint16], extension: str = ".png") -> bytes:
    """A 16-bit picture (grey, RGB or RGBA planes) as a file."""
    turned = pixels[..., [2, 1, 0, *range(3, pixels.shape[2])]] if pixels.ndim == 3 else pixels
    done, data = cv2.imencode(extension, turned)
    assert done
    return bytes(data)


def write_pairs(root: Path, keys: list[str], *, split: str = "train", size: tuple[int, int] = (40, 56)) -> None:
    """Darkened and clean PNGs in the layout {split}/low|high/{key}.png."""
    for number, key in enumerate(keys):
        clean = photograph(*size, seed=number)
        for side, pixels in (("low", clean // 3), ("high", clean)):
            path = root / split / side / f"{key}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(pixels))
