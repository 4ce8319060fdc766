"""What a file and a pair look like, in plain values: nothing is judged here, and nothing is thrown at hostile bytes."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import imagehash
import numpy as np
from PIL import Image, ImageCms

from pipelines.ops import likeness
from pipelines.ops.codec import DecodedImage, as_8_bit, decode_image, half_of
from pipelines.ops.damage import (
    Fault,
    Header,
    fault_before_decoding,
    fault_of_undecodable,
    read_header,
)
from pipelines.ops.facts import FileFacts, MaskFacts, PairFacts
from rddm.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipelines.config import Part

THUMB_PX = 16
_GREY_TOLERANCE = 1
_TRUSTED_CORRELATION = 0.3
_LEAST_PX = 4


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Picture:
    """A file's facts; where it could be decoded, its upright RGB pixels, its brightness, and that of its middle."""

    facts: FileFacts
    pixels: NDArray[Any] | None = None
    grey: NDArray[np.float32] | None = None
    middle: NDArray[np.float32] | None = None


def inspect_file(data: bytes, name: str, *, part: Part = "whole", max_pixels: int = 64_000_000) -> FileFacts:
    """What a file looks like. Its pixels are unpacked only if its header promises few enough.

    Args:
        data: The file.
        name: Its name.
        part: Which half of it is meant.
        max_pixels: Largest height x width that is unpacked.
    """
    return look(data, name, part=part, max_pixels=max_pixels).facts


def look(data: bytes, name: str, *, part: Part = "whole", max_pixels: int = 64_000_000) -> Picture:
    """What a file looks like, and its pixels, for `inspect_pair`; the arguments are those of `inspect_file`."""
    about: dict[str, Any] = {
        "path": name,
        "part": part,
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    header = read_header(data)
    if header is None:
        return _faulty(about, fault_before_decoding(data, None, max_pixels=max_pixels))
    about |= _of_header(header)
    if fault := fault_before_decoding(data, header, max_pixels=max_pixels):
        return _faulty(about, fault)
    try:
        return _seen(decode_image(data, name=name, max_pixels=max_pixels), part, about)
    except (DataError, MemoryError, ValueError, cv2.error):
        return _faulty(about, fault_of_undecodable(data, header))


def unreadable(name: str, error: DataError, *, part: Part = "whole", size_bytes: int = 0) -> Picture:
    """A file whose bytes cannot be had: a pipe, a link that leads out, one that is too large or that nobody may read.

    Args:
        name: Its name.
        error: Why.
        part: Which half of it is meant.
        size_bytes: What the listing says.
    """
    told = str(error)
    kind = "too_many_bytes" if "the most that a file may have" in told else "unreadable"
    kind = "irregular_file" if "a folder, a pipe or a device" in told else kind
    return Picture(facts=FileFacts(path=name, part=part, size_bytes=size_bytes, fault=kind, found=told))


def inspect_pair(
    key: str,
    split: str,
    *,
    clean: Picture,
    degraded: Picture | None,
    mask: Picture | None = None,
    scale: int = 1,
    unpaired: bool = False,
) -> PairFacts:
    """What a pair looks like.

    Args:
        key: The pair's.
        split: The pair's.
        clean: The clean picture.
        degraded: The degraded one; None where the degradation is made.
        mask: The mask, or None.
        scale: How many times smaller the degraded picture is meant to be.
        unpaired: Whether the two sides have nothing to do with each other; they are not compared then.
    """
    facts: dict[str, Any] = {"key": key, "split": split, "clean": clean.facts}
    if degraded is not None:
        facts |= {"degraded": degraded.facts, **({} if unpaired else _compared(degraded, clean, scale))}
    if mask is not None:
        facts |= {"mask": mask.facts, "mask_facts": None if mask.pixels is None else _of_mask(mask.pixels)}
    return PairFacts(**facts)


def _of_header(header: Header) -> dict[str, Any]:
    return {
        "format": header.format,
        "mode": header.mode,
        "stored_height_px": header.height_px,
        "stored_width_px": header.width_px,
        "orientation": header.orientation,
        "icc_name": _icc_name(header.icc_profile),
        "jpeg_quality": header.jpeg_quality,
        "palette": header.palette,
    }


def _icc_name(profile: bytes) -> str:
    if not profile:
        return ""
    with contextlib.suppress(Exception):  # a damaged profile has no name, and costs nobody the picture
        return str(ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))).strip()[:100]
    return "unknown profile"


def _faulty(about: dict[str, Any], fault: Fault | None) -> Picture:
    kind, found = fault or Fault("damaged", "its data are damaged")
    return Picture(facts=FileFacts(**about, fault=kind, found=found))


def _seen(decoded: DecodedImage, part: Part, about: dict[str, Any]) -> Picture:
    pixels = half_of(decoded.pixels, part)
    if min(pixels.shape[:2]) == 0:
        return _faulty(about, Fault("damaged", f"it has no {part} half"))
    luma = likeness.brightness(pixels)
    small = cv2.resize(as_8_bit(pixels), (64, 64), interpolation=cv2.INTER_AREA)
    facts = FileFacts(
        **about,
        height_px=pixels.shape[0],
        width_px=pixels.shape[1],
        bit_depth=decoded.bit_depth,
        effective_bits=_effective_bits(pixels),
        alpha=_alpha(decoded.alpha),
        grey=_is_grey(pixels, small),
        flat_rows_share=_flat_rows(pixels),
        pixels_sha256=_pixel_hash(pixels),
        phash=str(imagehash.phash(Image.fromarray(small))),
        thumb=_thumb(small),
        **_brightness(luma),
    )
    return Picture(facts=facts, pixels=pixels, grey=likeness.bounded(luma), middle=likeness.middle(luma))


def _brightness(luma: NDArray[Any]) -> dict[str, Any]:
    unit = 1 / np.iinfo(luma.dtype).max
    step = 257 if luma.dtype == np.uint16 else 1
    mean, std = (float(value[0, 0]) * unit for value in cv2.meanStdDev(luma))
    darkest, brightest, _, _ = cv2.minMaxLoc(luma)
    return {
        "mean": mean,
        "std": std,
        "darkest": darkest * unit,
        "brightest": brightest * unit,
        "black_share": float(np.count_nonzero(luma < step)) / luma.size,
        "white_share": float(np.count_nonzero(luma >= 255 * step)) / luma.size,
    }


def _effective_bits(pixels: NDArray[Any]) -> int:
    if pixels.dtype == np.uint8:
        return 8
    used = int(np.bitwise_or.reduce(pixels, axis=None))
    if used == 0 or not np.any(pixels % 257):
        return 8 if used else 0  # 8-bit values, each byte twice
    lowest = (used & -used).bit_length() - 1
    return used.bit_length() - lowest


def _alpha(alpha: NDArray[Any] | None) -> str:
    if alpha is None:
        return "none"
    return "opaque" if int(alpha.min()) == np.iinfo(alpha.dtype).max else "used"


def _is_grey(pixels: NDArray[Any], small: NDArray[Any]) -> bool:
    """Whether all channels are equal, up to a JPEG's rounding; the small picture rules most colour pictures out."""
    if int(np.ptp(small.astype(np.int16), axis=2).max()) > _GREY_TOLERANCE:
        return False
    low, high = pixels.min(axis=2), pixels.max(axis=2)
    return int((high - low).max()) <= _GREY_TOLERANCE * (257 if pixels.dtype == np.uint16 else 1)


def _flat_rows(pixels: NDArray[Any]) -> float:
    """Share of the height, from below, that has the colour of the last pixel."""
    height, last = int(pixels.shape[0]), pixels[-1, -1]
    flat = 0
    while flat < height and bool((pixels[height - 1 - flat] == last).all()):
        flat += 1
    return flat / height


def _pixel_hash(pixels: NDArray[Any]) -> str:
    digest = hashlib.sha256(f"{pixels.shape} {pixels.dtype}".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def _thumb(small: NDArray[Any]) -> str:
    grey = cv2.cvtColor(cv2.resize(small, (THUMB_PX, THUMB_PX), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    return base64.b64encode(np.ascontiguousarray(grey).tobytes()).decode()


def _of_mask(pixels: NDArray[Any]) -> MaskFacts:
    mask = as_8_bit(pixels).max(axis=2)
    largest = int(mask.max())
    unit = mask.astype(np.float32) / max(1, largest)
    between = float(((unit > 0.1) & (unit < 0.9)).mean())
    return MaskFacts(largest=largest, set_share=float((unit > 0.5).mean()), between_share=between)


def _compared(degraded: Picture, clean: Picture, scale: int) -> dict[str, Any]:
    if degraded.pixels is None or clean.pixels is None or degraded.grey is None or clean.grey is None:
        return {}
    same = degraded.facts.pixels_sha256 == clean.facts.pixels_sha256
    comparable = degraded.pixels.shape == clean.pixels.shape and degraded.pixels.dtype == clean.pixels.dtype
    peak = float(np.iinfo(clean.pixels.dtype).max)
    psnr = float(cv2.PSNR(degraded.pixels, clean.pixels, peak)) if comparable and not same else None
    symmetry = likeness.symmetry_between(degraded.grey, clean.grey)
    facts = {
        "identical": same,
        "psnr_db": psnr,
        "symmetry": symmetry.name,
        "symmetry_correlation": symmetry.correlation,
        "upright_correlation": symmetry.upright_correlation,
    }
    return facts if same else facts | _aligned(degraded, clean, scale)


def _aligned(degraded: Picture, clean: Picture, scale: int) -> dict[str, Any]:
    """Structures are compared where the sides have the sizes that they are meant to have."""
    height, width = clean.facts.height_px, clean.facts.width_px
    meant = (degraded.facts.height_px * scale, degraded.facts.width_px * scale) == (height, width)
    if not meant or min(height, width) < _LEAST_PX or degraded.grey is None or clean.grey is None:
        return {}
    a, b = likeness.structure(degraded.grey), likeness.structure(clean.grey)
    if a.shape != b.shape:
        a = likeness.structure(_resized(degraded.grey, clean.grey.shape))
    correlation = likeness.correlation(a, b)
    shift = likeness.shift_between(a, b, scale=height / a.shape[0])
    leaning = likeness.Leaning(0, "")
    if scale == 1 and degraded.middle is not None and clean.middle is not None:
        leaning = likeness.leaning(degraded.middle, clean.middle)
    return {
        "correlation": correlation,
        "shift_y_px": shift.y_px,
        "shift_x_px": shift.x_px,
        "shift_response": shift.response,
        "shifted_correlation": shift.correlation,
        "reliability": likeness.reliability(degraded.grey) if correlation < _TRUSTED_CORRELATION else 1.0,
        "leaning": leaning.sign,
        "leaning_reason": leaning.reason,
    }


def _resized(grey: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(grey, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32)
