"""Pictures with as much in them as photographs have, each from its name."""

from __future__ import annotations

import hashlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]
SIZE = (120, 168)


def scene(name: str, size: tuple[int, int] = SIZE) -> Pixels:
    """A colourful picture with sky, shapes, edges and grain, another one for each name; no part of it is clipped."""
    generator = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))
    height, width = size
    coarse = generator.uniform(60, 190, (3, 4, 3)).astype(np.float32)
    canvas = np.ascontiguousarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))
    noise = generator.normal(0, 1, (height, width, 1)).astype(np.float32)
    for number in range(14):
        colour = [float(value) for value in generator.uniform(40, 215, 3)]
        shape = np.zeros((height, width), np.uint8)
        if number % 2:
            centre = (int(generator.integers(width)), int(generator.integers(height)))
            axes = (int(generator.integers(6, width // 5)), int(generator.integers(6, 7 + height // 4)))
            cv2.ellipse(shape, centre, axes, float(generator.uniform(0, 180)), 0, 360, 255, -1, cv2.LINE_AA)
        else:
            corners = generator.uniform(0, 1, (4, 2)) * [width, height] * 0.5 + generator.uniform(0, 0.5, 2) * [
                width,
                height,
            ]
            cv2.fillPoly(shape, [corners.astype(np.int32)], 255, cv2.LINE_AA)
        grain = noise * np.float32(generator.uniform(0, 9))
        share = shape[..., None] * np.float32(0.85 / 255)
        canvas = canvas * (1 - share) + (np.array(colour, np.float32) + grain) * share
    return np.clip(canvas, 8, 247).astype(np.uint8)


def darkened(clean: Pixels, name: str) -> Pixels:
    """What a short exposure would have shown: a fifth of the light, and noise."""
    generator = np.random.default_rng(len(name) + int(clean[0, 0, 0]))
    return np.clip(clean * 0.2 + 4 + generator.normal(0, 2.0, clean.shape), 0, 255).astype(np.uint8)


def mask_of(size: tuple[int, int] = SIZE) -> Pixels:
    mask = np.zeros(size, np.uint8)
    cv2.ellipse(mask, (size[1] // 2, size[0] // 3), (size[1] // 4, size[0] // 6), 20, 0, 360, 255, -1)
    return mask
