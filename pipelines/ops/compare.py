"""What a degraded picture is beside its clean one, in figures: PSNR, SSIM, brightness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Wang et al. 2004: an 11 x 11 Gaussian window with a standard deviation of 1.5 pixels, K1 = 0.01, K2 = 0.03.
_WINDOW_PX, _SIGMA_PX = 11, 1.5
_HALF_PX = _WINDOW_PX // 2
_C1, _C2 = 0.01**2, 0.03**2
_STRIP_PX = 256  # rows at a time: what it needs in memory does not grow with the height


def psnr_db(degraded: NDArray[Any], clean: NDArray[Any]) -> float | None:
    """Peak signal-to-noise ratio in dB, over all channels; none for equal pictures.

    Args:
        degraded: uint8 or uint16, (height, width, 3).
        clean: The same shape and type.
    """
    if np.array_equal(degraded, clean):
        return None
    return float(cv2.PSNR(degraded, clean, _peak(clean)))


def ssim(degraded: NDArray[Any], clean: NDArray[Any]) -> float | None:
    """Structural similarity (Wang et al. 2004), the mean over channels of what lies a window's half inside the edges.

    Args:
        degraded: uint8 or uint16, (height, width, 3).
        clean: The same shape and type.

    Returns:
        At most 1; none for pictures smaller than the window.
    """
    if min(clean.shape[:2]) < _WINDOW_PX:
        return None
    total = 0.0
    for top in range(_HALF_PX, clean.shape[0] - _HALF_PX, _STRIP_PX):
        bottom = min(top + _STRIP_PX, clean.shape[0] - _HALF_PX)
        strip = slice(top - _HALF_PX, bottom + _HALF_PX)
        total += _similarities(degraded[strip], clean[strip]).sum(dtype=np.float64)
    inside = (clean.shape[0] - 2 * _HALF_PX) * (clean.shape[1] - 2 * _HALF_PX) * clean.shape[2]
    return float(total / inside)


def _similarities(degraded: NDArray[Any], clean: NDArray[Any]) -> NDArray[np.float32]:
    """The similarity at each pixel that lies a window's half inside the edges."""
    # Single precision with the range moved to [-0.5, 0.5]: variances are differences of moments, and lose less there.
    x, y = (image.astype(np.float32) / np.float32(_peak(image)) - np.float32(0.5) for image in (degraded, clean))
    mean_x, mean_y = _blurred(x), _blurred(y)
    variances = _blurred(x * x) + _blurred(y * y) - mean_x * mean_x - mean_y * mean_y
    covariance = _blurred(x * y) - mean_x * mean_y
    light_x, light_y = mean_x + 0.5, mean_y + 0.5
    luminance = (2 * light_x * light_y + _C1) / (light_x * light_x + light_y * light_y + _C1)
    structure = (2 * covariance + _C2) / (variances + _C2)
    inside = slice(_HALF_PX, -_HALF_PX)
    return np.asarray((luminance * structure)[inside, inside])


def brightness(image: NDArray[Any]) -> float:
    """Mean over pixels and channels, in [0, 1]."""
    return float(image.mean(dtype=np.float64) / _peak(image))


def _peak(image: NDArray[Any]) -> float:
    return float(np.iinfo(image.dtype).max)


def _blurred(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(image, (_WINDOW_PX, _WINDOW_PX), _SIGMA_PX, borderType=cv2.BORDER_REFLECT_101))
