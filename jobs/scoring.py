"""One picture's figures, and the picture of them: input, restored and clean side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from jobs import figures
from pipelines.ops.codec import as_8_bit
from rddm.images import from_pixels, to_pixels, to_signed, to_unit
from rddm.keyed import keyed_generator, keyed_seed
from rddm.metrics import METRICS
from rddm.tasks import Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipelines.shards import Pictures
    from rddm.restorer import Restorer

_COLUMN_PX = 320


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """One picture's name, its figures, and input, restored and clean as uint8 (height, width, 3)."""

    key: str
    figures: dict[str, float]
    pictures: tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]


def score(key: str, x_input: NDArray[Any], restored: NDArray[Any], clean: NDArray[Any]) -> Scored:
    """Measure what a person gets, in 8 or 16 bits, at its native resolution, against the clean picture.

    Args:
        key: The picture's name.
        x_input: uint8 or uint16 RGB of shape (height, width, 3).
        restored: The same shape and type.
        clean: The same shape and type.

    Returns:
        Every metric by its name, and the unrestored input's as `input_...`.
    """
    unit = [from_pixels(torch.from_numpy(np.array(pixels)))[None] for pixels in (x_input, restored, clean)]
    after = {name: float(metric(unit[1], unit[2])) for name, metric in METRICS.items()}
    before = {f"input_{name}": float(metric(unit[0], unit[2])) for name, metric in METRICS.items()}
    return Scored(key=key, figures=after | before, pictures=(as_8_bit(x_input), as_8_bit(restored), as_8_bit(clean)))


def restore_and_score(
    restorer: Restorer,
    key: str,
    pictures: Pictures,
    *,
    seed: int,
    device: torch.device | None = None,
) -> Scored:
    """Restore a picture as the model's task has it, and measure it; its draws are functions of (seed, key).

    Where the task has no truth to compare with, such as generation, there are pictures and no figures.
    """
    degraded, clean = pictures.degraded, pictures.clean
    pair = [to_signed(from_pixels(torch.from_numpy(np.array(pixels)))) for pixels in (clean, degraded)]
    given = (
        None
        if pictures.mask is None
        else from_pixels(torch.from_numpy(np.array(pictures.mask))[..., None]).expand_as(pair[0])
    )
    sample = restorer.task.sample(Sample(pair[0], pair[1], given), keyed_generator(seed, "scored", key))
    x_input = to_unit(sample.x_input)
    mask = None if sample.mask is None else sample.mask[None].to(device)
    restored = restorer.restore(x_input[None].to(device), seeds=[keyed_seed(seed, key)], mask=mask)[0].cpu()
    bit_depth = 16 if degraded.dtype == np.uint16 else 8
    seen, drawn = (to_pixels(image, bit_depth=bit_depth).numpy() for image in (x_input, restored))
    if restorer.task.has_truth:
        return score(key, seen, drawn, clean)
    return Scored(key=key, figures={}, pictures=(as_8_bit(seen), as_8_bit(drawn), as_8_bit(clean)))


def mean_figures(scored: Sequence[Scored]) -> dict[str, float]:
    """Mean of every figure over the pictures; nothing for no picture."""
    names = scored[0].figures if scored else {}
    return {name: float(np.mean([picture.figures[name] for picture in scored])) for name in names}


def before_and_after(scored: Sequence[Scored]) -> NDArray[np.uint8]:
    """Rows of input | restored | clean with their PSNR, uint8 (height, width, 3)."""
    rows = [
        (_caption(picture), [figures.thumbnail(image, _COLUMN_PX) for image in picture.pictures]) for picture in scored
    ]
    return figures.comparison_grid(rows, ["input", "restored", "clean"])


def _caption(picture: Scored) -> str:
    if not picture.figures:
        return picture.key
    return f"{picture.key}: {picture.figures['input_psnr_db']:.2f} -> {picture.figures['psnr_db']:.2f} dB"
