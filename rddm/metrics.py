"""How near a restored image is to the clean one: torchmetrics' functions by name, a number for each image.

The protocol is `native`: RGB, the image's own resolution, nothing resized or cropped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from rddm.registry import Registry
from rddm.shapes import Images, PerImage

_WINDOW_PX = 11


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A measure of likeness.

    Attributes:
        measure: (restored, clean), both in [0, 1] -> a number for each image.
        higher_is_better: Its direction.
        best: What identical images give.
        unit: Its unit, or an empty string.
    """

    measure: Callable[[Images, Images], PerImage]
    higher_is_better: bool
    best: float
    unit: str = ""

    def __call__(self, restored: Images, clean: Images) -> PerImage:
        """Measure each image of a batch; both in [0, 1].

        Raises:
            ValueError: The shapes differ.
        """
        if restored.shape != clean.shape:
            raise ValueError(f"images of shape {tuple(restored.shape)} and {tuple(clean.shape)}; expected the same")
        return self.measure(restored, clean)


METRICS: Registry[Metric] = Registry("metric")


def _psnr_db(restored: Images, clean: Images) -> PerImage:
    scores: PerImage = peak_signal_noise_ratio(restored, clean, data_range=1.0, reduction="none", dim=(1, 2, 3))
    return scores


def _ssim(restored: Images, clean: Images) -> PerImage:
    """Wang et al. 2004: Gaussian window of 11 x 11 with sigma 1.5, where it lies inside the image, mean over RGB.

    A picture smaller than the window is first grown by repeating its edge.
    """
    # Variances are differences of nearly equal numbers: float32 would show.
    grown = [F.pad(images.double(), _growth(images), mode="replicate") for images in (restored, clean)]
    _, similarity = structural_similarity_index_measure(
        *grown, sigma=1.5, data_range=1.0, reduction="none", return_full_image=True
    )
    inside = slice(_WINDOW_PX // 2, -(_WINDOW_PX // 2))
    scores: PerImage = similarity[..., inside, inside].mean(dim=(1, 2, 3)).to(restored.dtype)
    return scores


def _growth(images: Images) -> tuple[int, int, int, int]:
    height, width = images.shape[-2:]
    return (0, max(0, _WINDOW_PX - width), 0, max(0, _WINDOW_PX - height))


def _mae(restored: Images, clean: Images) -> PerImage:
    return (restored - clean).abs().mean(dim=(1, 2, 3))


METRICS.register("psnr_db")(Metric(measure=_psnr_db, higher_is_better=True, best=float("inf"), unit="dB"))
METRICS.register("ssim")(Metric(measure=_ssim, higher_is_better=True, best=1.0))
METRICS.register("mae")(Metric(measure=_mae, higher_is_better=False, best=0.0))
