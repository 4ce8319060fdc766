"""Folders of real picture pairs for benchmarks: crops of photographs, and what a sensor in the dark makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from pipelines.config import PreprocessConfig, SourceConfig
from pipelines.ops.codec import as_8_bit, decode_image
from pipelines.ops.degrade import Degrade
from pipelines.sources import find_pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray


def photographs(folder: Path | None) -> list[NDArray[np.uint8]]:
    """Every picture below a folder, or the photographs inside scikit-image and scikit-learn; uint8 RGB."""
    if folder is not None:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".png", ".jpg", ".jpeg"})
    else:
        config = PreprocessConfig(source=SourceConfig(kind="sample_photographs"))
        found = find_pairs(config, scratch_uri="").pairs
        paths = [Path(pair.root) / pair.clean.path for pair in found]
    return [as_8_bit(decode_image(path.read_bytes(), name=str(path)).pixels) for path in paths]


def crops(
    pictures: list[NDArray[np.uint8]], count: int, *, height: int, width: int, seed: int = 0
) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.uint8]]]:
    """(key, degraded, clean) of random crops, from pictures that are large enough."""
    large = [picture for picture in pictures if picture.shape[0] >= height and picture.shape[1] >= width]
    generator, degrade = np.random.default_rng(seed), Degrade("low_light", seed=seed)
    for number in range(count):
        picture = large[number % len(large)]
        y, x = (
            int(generator.integers(0, extent - side + 1))
            for extent, side in zip(picture.shape[:2], (height, width), strict=True)
        )
        clean = np.ascontiguousarray(picture[y : y + height, x : x + width])
        key = f"{number:06d}"
        yield key, degrade(clean, key=key), clean


def write_folder(root: Path, pairs: Iterator[tuple[str, NDArray[Any], NDArray[Any]]]) -> None:
    """PNG files in the layout train/low|high/{key}.png."""
    for side in ("low", "high"):
        (root / "train" / side).mkdir(parents=True)
    for key, degraded, clean in pairs:
        for side, pixels in (("low", degraded), ("high", clean)):
            cv2.imwrite(str(root / "train" / side / f"{key}.png"), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
