"""Synthetic degradations: seeded albumentations pipelines, by name."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from rddm.registry import Registry

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the package index for news at import
import albumentations as A

if TYPE_CHECKING:
    from numpy.typing import NDArray

Pipeline = Callable[[float], list[A.BasicTransform]]
DEGRADATIONS: Registry[Pipeline] = Registry("degradation")
"""Name -> strength in (0, 1] -> transforms on uint8 RGB images."""


@DEGRADATIONS.register("low_light")
def low_light(strength: float) -> list[A.BasicTransform]:
    """Too little light: 35 to 45 % of the exposure at full strength, and noise that brightening will show."""
    exposure = (-0.65 * strength, -0.55 * strength)
    noise = (0.005 * strength, 0.015 * strength)
    return [
        A.RandomBrightnessContrast(brightness_limit=(0, 0), contrast_limit=exposure, p=1.0),
        A.GaussNoise(std_range=noise, p=1.0),
    ]


@DEGRADATIONS.register("gaussian_noise")
def gaussian_noise(strength: float) -> list[A.BasicTransform]:
    """White noise with a standard deviation of 10 % of the range at full strength."""
    return [A.GaussNoise(std_range=(0.1 * strength, 0.1 * strength), p=1.0)]


@DEGRADATIONS.register("blur")
def blur(strength: float) -> list[A.BasicTransform]:
    """A lens out of focus: Gaussian blur with sigma up to 2 pixels."""
    return [A.GaussianBlur(sigma_limit=(2 * strength, 2 * strength), blur_limit=0, p=1.0)]


@DEGRADATIONS.register("jpeg")
def jpeg(strength: float) -> list[A.BasicTransform]:
    """Blocks and ringing of a JPEG of quality 15 at full strength."""
    quality = round(100 - 85 * strength)
    return [A.ImageCompression(quality_range=(quality, quality), p=1.0)]


class Degrade:
    """A degradation at one strength; what it does to an image is a function of the seed and the image's key.

    Args:
        name: A name in `DEGRADATIONS`.
        strength: In [0, 1]; 0 leaves every image as it is.
        seed: The run's seed.

    Raises:
        ConfigError: The name is unknown.
        ValueError: The strength is outside its range.
    """

    def __init__(self, name: str, *, strength: float = 1.0, seed: int = 0) -> None:
        """Build the pipeline once."""
        if not 0 <= strength <= 1:
            raise ValueError(f"strength is {strength}; expected a number in [0, 1]")
        transforms = DEGRADATIONS[name](strength) if strength > 0 else []
        self._pipeline: Any = A.Compose(transforms, seed=seed)
        self._seed = seed

    def __call__(self, clean: NDArray[np.uint8], *, key: str) -> NDArray[np.uint8]:
        """Degrade one image, uint8 of shape (height, width, 3)."""
        self._pipeline.set_random_seed(zlib.crc32(f"{self._seed}/{key}".encode()))
        return np.ascontiguousarray(self._pipeline(image=clean)["image"])
