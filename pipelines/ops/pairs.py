"""One pair from files to rows: decode, check, degrade, cut, encode."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from pipelines.containers import Limits, SourceFile, read_file, source_uri
from pipelines.manifest import Quarantined, sha256
from pipelines.ops.codec import as_8_bit, decode_image, half_of
from pipelines.ops.compare import brightness, psnr_db, ssim
from pipelines.ops.lossless import encode
from pipelines.schema import TRAIN
from pipelines.sources.pairing import SourcePair
from rddm.errors import DataError, StorageUnreachableError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipelines.config import PreprocessConfig
    from pipelines.ops.degrade import Degrade


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkItem:
    """One pair, or one degraded variant of a clean picture."""

    pair: SourcePair
    variant: int | None = None

    @property
    def key(self) -> str:
        """Unique among the items of a data set."""
        return self.pair.key if self.variant is None else f"{self.pair.key}#{self.variant}"

    def to_list(self) -> list[Any]:
        """Plain values, as JSON can carry them; short, because a plan may hold a million."""
        pair = self.pair
        return [pair.key, pair.split, pair.root, pair.degraded, pair.clean, pair.mask, pair.tags, self.variant]

    @classmethod
    def from_list(cls, values: list[Any]) -> WorkItem:
        """What `to_list` gave."""
        key, split, root, *files, tags, variant = values
        degraded, clean, mask = (file and SourceFile(*file) for file in files)
        pair = SourcePair(key=key, split=split, root=root, degraded=degraded, clean=clean, mask=mask, tags=tags)
        return cls(pair=pair, variant=variant)


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureStatistics:
    """One picture pair in figures; PSNR and SSIM are of the degraded side, brightness lies in [0, 1]."""

    image_key: str
    split: str
    height_px: int
    width_px: int
    bit_depth: int
    psnr_db: float | None
    ssim: float | None
    degraded_brightness: float
    clean_brightness: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LoadedPair:
    """Decoded pixels, uint8 or uint16 (height, width, 3); the mask as uint8 (height, width); hashes of files."""

    degraded: NDArray[Any]
    clean: NDArray[Any]
    mask: NDArray[np.uint8] | None
    degraded_sha256: str
    clean_sha256: str
    mask_sha256: str | None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CheckedPair:
    """A pair that is fit for the table."""

    item: WorkItem
    pictures: LoadedPair
    config: PreprocessConfig

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows that it becomes, as `schema.PAIRS` has them."""
        return _rows(self.item, self.pictures, self.config)

    def statistics(self) -> PictureStatistics:
        """Its figures."""
        degraded, clean = self.pictures.degraded, self.pictures.clean
        comparable = not self.config.source.unpaired
        return PictureStatistics(
            image_key=self.item.key,
            split=self.item.pair.split,
            height_px=clean.shape[0],
            width_px=clean.shape[1],
            bit_depth=_bit_depth(clean),
            psnr_db=psnr_db(degraded, clean) if comparable else None,
            ssim=ssim(degraded, clean) if comparable else None,
            degraded_brightness=brightness(degraded),
            clean_brightness=brightness(clean),
        )


def checked(item: WorkItem, config: PreprocessConfig, degrade: Degrade) -> CheckedPair | Quarantined:
    """The pair, decoded, degraded if it must be, and prepared; or why it is set aside.

    Raises:
        StorageUnreachableError: The storage does not answer.
    """
    try:
        loaded = load(item, config, degrade)
    except StorageUnreachableError:
        raise  # no fault of the pair: the run must not set a million of them aside
    except DataError as error:
        return Quarantined(name=item.key, found=str(error))
    bad = check(item, loaded, config)
    return bad if bad is not None else CheckedPair(item=item, pictures=prepared(loaded, config), config=config)


def prepared(loaded: LoadedPair, config: PreprocessConfig) -> LoadedPair:
    """The pair as the paper's protocols want it: resized to a square, the degraded side's histogram equalised."""
    degraded, clean, mask = loaded.degraded, loaded.clean, loaded.mask
    if config.equalise_input:
        planes = [cv2.equalizeHist(np.ascontiguousarray(plane)) for plane in np.moveaxis(as_8_bit(degraded), 2, 0)]
        degraded, clean = np.stack(planes, axis=2), as_8_bit(clean)
    if config.resize_px:
        side = (config.resize_px, config.resize_px)
        degraded, clean = (cv2.resize(image, side, interpolation=cv2.INTER_CUBIC) for image in (degraded, clean))
        mask = None if mask is None else cv2.resize(mask, side, interpolation=cv2.INTER_NEAREST_EXACT)  # type: ignore[assignment]
    return replace(loaded, degraded=degraded, clean=clean, mask=mask)


def load(item: WorkItem, config: PreprocessConfig, degrade: Degrade) -> LoadedPair:
    """Read and decode all of a pair; make the degraded side where the source has none.

    Raises:
        DataError: A file cannot be read or decoded.
    """
    pair = item.pair
    clean, clean_sha256 = _picture(pair, pair.clean, config)
    mask, mask_sha256 = _mask(pair, config)
    if pair.degraded is None:
        clean = as_8_bit(clean)  # synthetic degradations are defined on 8 bits
        degraded = degrade(clean, key=item.key)
        degraded_sha256 = sha256(degraded.tobytes())
    else:
        degraded, degraded_sha256 = _picture(pair, pair.degraded, config)
        degraded = _enlarged(degraded, config, name=pair.degraded.path)
    return LoadedPair(
        degraded=degraded,
        clean=clean,
        mask=mask,
        degraded_sha256=degraded_sha256,
        clean_sha256=clean_sha256,
        mask_sha256=mask_sha256,
    )


def check(item: WorkItem, loaded: LoadedPair, config: PreprocessConfig) -> Quarantined | None:
    """What is wrong with a pair, or None."""
    degraded, clean, mask = loaded.degraded, loaded.clean, loaded.mask
    if degraded.shape != clean.shape and not config.source.unpaired:
        sizes = " and ".join(f"{image.shape[1]} x {image.shape[0]}" for image in (degraded, clean))
        return _bad(item, f"its pictures have {sizes} pixels", "the same size")
    if mask is not None and mask.shape != clean.shape[:2]:
        return _bad(
            item, f"its mask has {mask.shape[1]} x {mask.shape[0]} pixels", f"{clean.shape[1]} x {clean.shape[0]}"
        )
    if degraded.dtype != clean.dtype:
        return _bad(item, f"its pictures are {degraded.dtype} and {clean.dtype}", "the same bit depth")
    if min(*clean.shape[:2], *degraded.shape[:2]) < config.min_side_px:
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


def _picture(pair: SourcePair, file: SourceFile, config: PreprocessConfig) -> tuple[NDArray[Any], str]:
    data = read_file(pair.root, file, Limits.of(config))
    pixels = decode_image(data, name=file.path, max_pixels=config.max_pixels).pixels
    return half_of(pixels, file.part), sha256(data)


def _mask(pair: SourcePair, config: PreprocessConfig) -> tuple[NDArray[np.uint8] | None, str | None]:
    if pair.mask is None:
        return None, None
    colours, digest = _picture(pair, pair.mask, config)
    return np.ascontiguousarray(as_8_bit(colours).max(axis=2)), digest


def _enlarged(pixels: NDArray[Any], config: PreprocessConfig, *, name: str) -> NDArray[Any]:
    scale = config.source.degraded_scale
    if scale == 1:
        return pixels
    size = (pixels.shape[1] * scale, pixels.shape[0] * scale)
    if size[0] * size[1] > config.max_pixels:
        raise DataError(
            f"{name}: enlarged it has {size[0]} x {size[1]} pixels; expected at most {config.max_pixels} (max_pixels); "
            "leave it out"
        )
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC))


def _rows(item: WorkItem, loaded: LoadedPair, config: PreprocessConfig) -> Iterator[dict[str, Any]]:
    pair, patch = item.pair, config.patch
    height, width = loaded.clean.shape[:2]
    cut = patch.size_px > 0 and pair.split == TRAIN
    size_y, size_x = (min(patch.size_px, height), min(patch.size_px, width)) if cut else (height, width)
    stride = patch.stride_px or patch.size_px
    root = config.source.root or pair.root  # not the scratch copy of an unpacked archive
    shared = {
        "split": pair.split,
        "image_key": item.key,
        "degraded_uri": pair.degraded and source_uri(root, pair.degraded),
        "clean_uri": source_uri(root, pair.clean),
        "mask_uri": pair.mask and source_uri(root, pair.mask),
        "degraded_sha256": loaded.degraded_sha256,
        "clean_sha256": loaded.clean_sha256,
        "mask_sha256": loaded.mask_sha256,
        "tags": sorted(pair.tags.items()),
        "height_px": size_y,
        "width_px": size_x,
        "degraded_height_px": size_y if cut else loaded.degraded.shape[0],
        "degraded_width_px": size_x if cut else loaded.degraded.shape[1],
        "bit_depth": _bit_depth(loaded.clean),
        "encoding": config.encoding,
    }
    for y in corners(height, size_y, stride) if cut else [0]:
        for x in corners(width, size_x, stride) if cut else [0]:
            window = np.s_[y : y + size_y, x : x + size_x] if cut else np.s_[:, :]
            yield {
                **shared,
                "key": f"{item.key}@{y},{x}" if cut else item.key,
                "y_px": y,
                "x_px": x,
                "degraded": encode(np.ascontiguousarray(loaded.degraded[window]), config.encoding),
                "clean": encode(np.ascontiguousarray(loaded.clean[window]), config.encoding),
                "mask": None
                if loaded.mask is None
                else encode(np.ascontiguousarray(loaded.mask[window]), config.encoding),
            }


def _bit_depth(pixels: NDArray[Any]) -> int:
    return 16 if pixels.dtype == np.uint16 else 8


def _bad(item: WorkItem, found: str, expected: str) -> Quarantined:
    return Quarantined(name=item.key, found=found, expected=expected, remedy="correct the pair or leave it out")
