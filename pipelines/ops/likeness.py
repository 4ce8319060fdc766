"""What two pictures have in common: structure, shift, symmetry, and which of them looks degraded.

Structure is local contrast, normalised: brightness, contrast and colour drop out, so a dark and noisy picture has
nearly the structure of its bright original. On real pairs (low light, camera noise, raindrops) its correlation is 0.4
to 1; on pictures of different scenes it is within 0.13 of zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORKING_PX = 256
_THUMB_PX = 64
_CROP_PX = 512
_BOUNDED_PX, _STRIP_ROWS = 1024, 64
_BLOCK_PX = 16
_DARK, _DARKER = 0.25, 0.6
_NOISE = 2.5 / 255
_STREAK = 12 / 255

SYMMETRIES = (
    "upright",
    "mirrored left to right",
    "upside down",
    "mirrored top to bottom",
    "turned left",
    "turned right",
    "transposed",
    "transposed along the other diagonal",
)


class Shift(NamedTuple):
    """How far the first picture lies from the second.

    Attributes:
        y_px: Downwards, in pixels of the source.
        x_px: To the right.
        response: Share of the phase's energy in the peak; 1 is a perfect match.
        correlation: Of the structures, once the shift is undone.
    """

    y_px: float
    x_px: float
    response: float
    correlation: float


class Symmetry(NamedTuple):
    """The way of mirroring or turning the first picture that fits the second best."""

    name: str
    correlation: float
    upright_correlation: float


class Leaning(NamedTuple):
    """Which of two pictures of one scene looks degraded.

    Attributes:
        sign: -1 for the first, 1 for the second, 0 where nothing tells.
        reason: `dark`, `streaked`, `noisy`, `blurred` or nothing.
    """

    sign: int
    reason: str


def brightness(pixels: NDArray[Any]) -> NDArray[Any]:
    """Luma of a picture, in its own type.

    Args:
        pixels: uint8 or uint16 RGB of shape (height, width, 3).
    """
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))


def bounded(grey: NDArray[Any]) -> NDArray[np.float32]:
    """Brightness in [0, 1], a large picture made smaller by a whole number, strip by strip: at most 2047 pixels a side.

    Args:
        grey: uint8 or uint16, (height, width).
    """
    height, width = grey.shape
    factor = max(1, max(height, width) // _BOUNDED_PX)
    unit = np.float32(1 / np.iinfo(grey.dtype).max)
    if factor == 1 or min(height, width) < factor:
        return grey.astype(np.float32) * unit
    rows, columns = height // factor, width // factor
    small = np.empty((rows, columns), np.float32)
    for top in range(0, rows, _STRIP_ROWS):
        strip = grey[top * factor : (top + _STRIP_ROWS) * factor][: (rows - top) * factor, : columns * factor]
        part = cv2.resize(strip.astype(np.float32), (columns, strip.shape[0] // factor), interpolation=cv2.INTER_AREA)
        small[top : top + _STRIP_ROWS] = part
    return small * unit


def middle(grey: NDArray[Any]) -> NDArray[np.float32]:
    """Brightness in [0, 1] of a picture's middle, at its own resolution, of at most 512 pixels a side.

    Args:
        grey: uint8 or uint16, (height, width).
    """
    top, left = (max(0, (side - _CROP_PX) // 2) for side in grey.shape)
    crop = grey[top : top + _CROP_PX, left : left + _CROP_PX]
    return crop.astype(np.float32) * np.float32(1 / np.iinfo(grey.dtype).max)


def structure(grey: NDArray[np.float32], side_px: int = WORKING_PX, *, square: bool = False) -> NDArray[np.float32]:
    """Local contrast, normalised, of a picture brought to a bounded size.

    Args:
        grey: Brightness in [0, 1], (height, width).
        side_px: The longer side of the result; smaller pictures are not enlarged.
        square: Whether both sides become `side_px`, the aspect ratio lost.
    """
    height, width = grey.shape
    scale = min(1.0, side_px / max(height, width))
    size = (side_px, side_px) if square else (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.sqrt(np.clip(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), 0, 1))
    smooth = cv2.GaussianBlur(small, (0, 0), 1.0)
    wide = side_px / 32
    contrast = smooth - cv2.GaussianBlur(smooth, (0, 0), wide)
    spread = np.sqrt(cv2.GaussianBlur(contrast * contrast, (0, 0), wide))
    return np.asarray(contrast / (spread + np.float32(0.01)), np.float32)


def correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Pearson's, in [-1, 1]; 0 where one of them is constant."""
    x, y = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((x * x).sum(dtype=np.float64) * (y * y).sum(dtype=np.float64)))
    return float((x * y).sum(dtype=np.float64)) / norm if norm > 1e-9 else 0.0


def shift_between(a: NDArray[np.float32], b: NDArray[np.float32], *, scale: float) -> Shift:
    """The shift of structure `a` against structure `b`, by phase correlation.

    Args:
        a: What `structure` gave.
        b: The same shape.
        scale: Pixels of the source that make one of the structures'.
    """
    height, width = a.shape
    if min(height, width) < 2:  # OpenCV cannot correlate a single line
        return Shift(0.0, 0.0, 0.0, 0.0)
    window = cv2.createHanningWindow((width, height), cv2.CV_32F) if min(height, width) > 1 else None
    (x, y), response = cv2.phaseCorrelate(b, a, window)
    matrix = np.array([[1, 0, x], [0, 1, y]], np.float32)
    moved = cv2.warpAffine(a, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    top, left = (min(side // 4, int(np.ceil(abs(by)))) for side, by in ((height, y), (width, x)))
    inside = np.s_[top : height - top, left : width - left]
    return Shift(y * scale, x * scale, float(response), correlation(moved[inside], b[inside]))


def symmetry_between(grey_a: NDArray[np.float32], grey_b: NDArray[np.float32]) -> Symmetry:
    """Which of the eight symmetries of a square, applied to `a`, fits `b` best."""
    a, b = (structure(grey, _THUMB_PX, square=True) for grey in (grey_a, grey_b))
    fits = [correlation(turned, b) for turned in _turns(a)]
    best = int(np.argmax(fits))
    return Symmetry(SYMMETRIES[best], fits[best], fits[0])


def reliability(grey: NDArray[np.float32]) -> float:
    """How far a picture's structure is more than noise: the correlation of its even and its odd pixels' structures."""
    if min(grey.shape) < 32:
        return 0.0
    height, width = grey.shape[0] // 2 * 2, grey.shape[1] // 2 * 2
    even, odd = grey[0:height:2, 0:width:2], grey[1:height:2, 1:width:2]
    return correlation(structure(np.ascontiguousarray(even)), structure(np.ascontiguousarray(odd)))


def leaning(a: NDArray[np.float32], b: NDArray[np.float32]) -> Leaning:
    """Which of two aligned pictures of a scene looks degraded, and by what.

    Args:
        a: What `middle` gave.
        b: The same shape.
    """
    if min(a.shape) < 4 * _BLOCK_PX:
        return Leaning(0, "")
    for reason, holds in (("dark", _is_dark), ("streaked", _has_streaks)):
        for sign, x, y in ((-1, a, b), (1, b, a)):
            if holds(x, y):
                return Leaning(sign, reason)
    return _leaning_of_detail(a, b)


def _turns(a: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    """In the order of `SYMMETRIES`."""
    return (a, a[:, ::-1], a[::-1, ::-1], a[::-1], np.rot90(a), np.rot90(a, 3), a.T, a[::-1, ::-1].T)


def _block_means(values: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = (side // _BLOCK_PX * _BLOCK_PX for side in values.shape)
    size = (width // _BLOCK_PX, height // _BLOCK_PX)
    return np.asarray(cv2.resize(values[:height, :width], size, interpolation=cv2.INTER_AREA))


def _is_dark(x: NDArray[np.float32], y: NDArray[np.float32]) -> bool:
    return float(x.mean()) < min(_DARK, _DARKER * float(y.mean()))


def _has_streaks(x: NDArray[np.float32], y: NDArray[np.float32]) -> bool:
    """Whether `x` is `y` with something bright and thin over it, as rain is; a lifted shadow is wide."""
    rest = x - y
    bright, dark = (rest > _STREAK).astype(np.uint8), float((rest < -_STREAK).mean())
    share = float(bright.mean())
    if not 0.02 < share < 0.4 or dark > 0.1 * share:
        return False
    wide = cv2.morphologyEx(bright, cv2.MORPH_OPEN, np.ones((7, 7), np.uint8))
    return float(wide.mean()) < 0.3 * share


def _leaning_of_detail(a: NDArray[np.float32], b: NDArray[np.float32]) -> Leaning:
    """Noise or blur, told apart by where the finest detail of the two differs and by how it goes together.

    What noise adds is everywhere and independent of the picture: the regression of the noisy picture's detail on the
    other's has slope 1. What blur takes away was at the edges, and shrinks detail: the slope is above 1.
    """
    fine_a, fine_b = (x - cv2.GaussianBlur(x, (0, 0), 1.0) for x in (a, b))
    energy_a, energy_b = (float((x * x).mean()) + 1e-12 for x in (fine_a, fine_b))
    least, uniformity = _spread(a, b, fine_a - fine_b)
    rough, smooth = (-1, 1) if energy_a > energy_b else (1, -1)
    slope = float((fine_a * fine_b).mean()) / min(energy_a, energy_b)
    ratio = min(energy_a, energy_b) / max(energy_a, energy_b)
    if uniformity > 0.5 and least > _NOISE and ratio < 0.92 and slope > 0.8:
        return Leaning(rough, "noisy")
    if uniformity < 0.4 and (slope > 1.1 if ratio > 0.15 else slope > 0.7) and ratio < 0.35:
        return Leaning(smooth, "blurred")
    return Leaning(0, "")


def _spread(a: NDArray[np.float32], b: NDArray[np.float32], rest: NDArray[np.float32]) -> tuple[float, float]:
    """Deviation of a difference in the blocks that differ least, and its ratio to that in those that differ most."""
    means_a, means_b = _block_means(a), _block_means(b)
    inside = (np.minimum(means_a, means_b) > 0.03) & (np.maximum(means_a, means_b) < 0.97)
    spread = np.sqrt(_block_means(rest * rest))
    low, high = np.percentile(spread[inside] if inside.sum() >= 8 else spread, (10, 90))
    return float(low), float(low / (high + 1e-9))
