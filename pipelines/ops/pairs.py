"""One pair from files to rows: decode, check, degrade, cut."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from pipelines import storage
from pipelines.manifest import Quarantined, sha256
from pipelines.ops.codec import as_8_bit, decode_image, encode_lossless
from pipelines.ops.degrade import Degrade
from pipelines.schema import TRAIN
from rddm.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipelines.config import PatchConfig, PreprocessConfig
    from pipelines.sources import SourcePair


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkItem:
    """One pair, or one degraded variant of a clean picture."""

    pair: SourcePair
    variant: int | None = None

    @property
    def key(self) -> str:
        """Unique among the items of a data set."""
        return self.pair.key if self.variant is None else f"{self.pair.key}#{self.variant}"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LoadedPair:
    """Decoded pixels of equal shape and type, uint8 or uint16 (height, width, 3), and the hashes of their sources."""

    degraded: NDArray[Any]
    clean: NDArray[Any]
    degraded_sha256: str
    clean_sha256: str


def rows_of(item: WorkItem, config: PreprocessConfig, degrade: Degrade) -> list[dict[str, Any]] | Quarantined:
    """The rows that an item becomes, or why it becomes none."""
    try:
        loaded = load(item, config, degrade)
    except DataError as error:
        return Quarantined(name=item.key, found=str(error))
    bad = check(item, loaded, config)
    return bad if bad is not None else list(_rows(item, prepared(loaded, config), config.patch))


def prepared(loaded: LoadedPair, config: PreprocessConfig) -> LoadedPair:
    """The pair as the paper's protocols want it: resized to a square, the degraded side's histogram equalised."""
    degraded, clean = loaded.degraded, loaded.clean
    if config.equalise_input:
        planes = [cv2.equalizeHist(np.ascontiguousarray(plane)) for plane in np.moveaxis(as_8_bit(degraded), 2, 0)]
        degraded, clean = np.stack(planes, axis=2), as_8_bit(clean)
    if config.resize_px:
        side = (config.resize_px, config.resize_px)
        degraded, clean = (cv2.resize(image, side, interpolation=cv2.INTER_CUBIC) for image in (degraded, clean))
    return replace(loaded, degraded=degraded, clean=clean)


def load(item: WorkItem, config: PreprocessConfig, degrade: Degrade) -> LoadedPair:
    """Read and decode both sides; make the degraded one where the source has none.

    Raises:
        DataError: A file cannot be read or decoded.
    """
    clean_file = storage.read_bytes(storage.join(item.pair.root, item.pair.clean))
    clean = decode_image(clean_file, name=item.pair.clean, max_pixels=config.max_pixels).pixels
    if item.pair.degraded is None:
        clean = as_8_bit(clean)  # synthetic degradations are defined on 8 bits
        degraded = degrade(clean, key=item.key)
        return LoadedPair(
            degraded=degraded,
            clean=clean,
            degraded_sha256=sha256(degraded.tobytes()),
            clean_sha256=sha256(clean_file),
        )
    degraded_file = storage.read_bytes(storage.join(item.pair.root, item.pair.degraded))
    degraded = decode_image(degraded_file, name=item.pair.degraded, max_pixels=config.max_pixels).pixels
    return LoadedPair(
        degraded=degraded, clean=clean, degraded_sha256=sha256(degraded_file), clean_sha256=sha256(clean_file)
    )


def check(item: WorkItem, loaded: LoadedPair, config: PreprocessConfig) -> Quarantined | None:
    """What is wrong with a pair, or None."""
    degraded, clean = loaded.degraded, loaded.clean
    if degraded.shape != clean.shape:
        sizes = " and ".join(f"{image.shape[1]} x {image.shape[0]}" for image in (degraded, clean))
        return _bad(item, f"its pictures have {sizes} pixels", "the same size")
    if degraded.dtype != clean.dtype:
        return _bad(item, f"its pictures are {degraded.dtype} and {clean.dtype}", "the same bit depth")
    if min(clean.shape[:2]) < config.min_side_px:
        return _bad(
            item,
            f"it has {clean.shape[1]} x {clean.shape[0]} pixels",
            f"{config.min_side_px} or more a side (min_side_px)",
        )
    if item.pair.degraded is not None and np.array_equal(degraded, clean):
        return _bad(item, "both pictures are the same", "a degraded one and a clean one")
    return None


def corners(length: int, size: int, stride: int) -> list[int]:
    """Where patches of a side start: every stride, the last one moved inwards to end with the picture."""
    if length <= size:
        return [0]
    return [*range(0, length - size, stride), length - size]


def _rows(item: WorkItem, loaded: LoadedPair, patch: PatchConfig) -> Iterator[dict[str, Any]]:
    height, width = loaded.clean.shape[:2]
    cut = patch.size_px > 0 and item.pair.split == TRAIN
    size_y, size_x = (min(patch.size_px, height), min(patch.size_px, width)) if cut else (height, width)
    stride = patch.stride_px or patch.size_px
    for y in corners(height, size_y, stride) if cut else [0]:
        for x in corners(width, size_x, stride) if cut else [0]:
            window = np.s_[y : y + size_y, x : x + size_x]
            yield {
                "key": f"{item.key}@{y},{x}" if cut else item.key,
                "split": item.pair.split,
                "image_key": item.pair.key,
                "degraded_source": item.pair.degraded or f"{item.pair.clean} (degraded here)",
                "clean_source": item.pair.clean,
                "degraded_sha256": loaded.degraded_sha256,
                "clean_sha256": loaded.clean_sha256,
                "y_px": y,
                "x_px": x,
                "height_px": size_y,
                "width_px": size_x,
                "bit_depth": 16 if loaded.clean.dtype == np.uint16 else 8,
                "degraded": encode_lossless(np.ascontiguousarray(loaded.degraded[window])),
                "clean": encode_lossless(np.ascontiguousarray(loaded.clean[window])),
            }


def _bad(item: WorkItem, found: str, expected: str) -> Quarantined:
    return Quarantined(name=item.key, found=found, expected=expected, remedy="correct the pair or leave it out")
