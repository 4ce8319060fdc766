"""Pictures of numbers and of images: schedules, AOSA's weight, and rows of input | restored | clean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rddm.schedules import Schedule
    from rddm.selection import Decision

_GAP_PX = 4
_CAPTION_PX = 18


def plot_schedule(schedule: Schedule, *, title: str = "Schedule") -> Figure:
    """Both coefficients over the grid t = 0..T."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(schedule.alphas_cumsum.tolist(), label=r"$\bar\alpha_t$ (residual)")
    axes.plot(schedule.betas2_cumsum.sqrt().tolist(), label=r"$\bar\beta_t$ (noise, standard deviation)")
    axes.set(xlabel="t", title=title, ylim=(0, None))
    axes.legend()
    return figure


def plot_decision(decision: Decision, threshold: float) -> Figure:
    """AOSA's learned weight from its first step to its decision, or what the trials reached round by round."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for search in decision.searches:
        axes.plot(search.curve, label=f"seed {search.seed}: {search.objective} at step {search.step}")
    for name in dict.fromkeys(name for rung in decision.rungs for name in rung.scores):
        scores = [rung.scores[name] for rung in decision.rungs if name in rung.scores]
        axes.plot(range(1, len(scores) + 1), scores, marker="o", label=name)
    if decision.searches:
        axes.axhspan(0.5 - threshold, 0.5 + threshold, alpha=0.15, label="undecided")
        axes.set(xlabel="step", ylabel="weight of the residual")
    else:
        axes.set(xlabel="round", ylabel="validation PSNR (dB)", xticks=range(1, len(decision.rungs) + 1))
    axes.set_title(f"{decision.method}: {decision.objective}")
    axes.legend()
    return figure


def comparison_grid(
    rows: Sequence[tuple[str, Sequence[NDArray[np.uint8]]]], headings: Sequence[str]
) -> NDArray[np.uint8]:
    """Pictures side by side, one row an image, under headings such as input | restored | clean.

    Args:
        rows: A caption and equally many uint8 images (height, width, 3) for each row.
        headings: One for each column.

    Returns:
        uint8 of shape (height, width, 3).
    """
    width = max(sum(image.shape[1] for image in images) for _, images in rows) + _GAP_PX * (len(headings) + 1)
    height = sum(images[0].shape[0] + _CAPTION_PX + _GAP_PX for _, images in rows) + _CAPTION_PX
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    top = 0
    for row, (caption, images) in enumerate(rows):
        left = _GAP_PX
        if row == 0:
            for heading, image in zip(headings, images, strict=True):
                draw.text((left, 3), heading, fill="black")
                left += image.shape[1] + _GAP_PX
            top, left = _CAPTION_PX, _GAP_PX
        for image in images:
            sheet.paste(Image.fromarray(image), (left, top))
            left += image.shape[1] + _GAP_PX
        draw.text((_GAP_PX, top + images[0].shape[0] + 2), caption, fill="black")
        top += images[0].shape[0] + _CAPTION_PX + _GAP_PX
    return np.asarray(sheet)


def thumbnail(pixels: NDArray[np.uint8], width_px: int) -> NDArray[np.uint8]:
    """A picture scaled down to a width, its aspect ratio kept; a narrower one stays as it is.

    Args:
        pixels: uint8 (height, width, 3).
        width_px: Largest width.
    """
    height, width = pixels.shape[:2]
    if width <= width_px:
        return pixels
    size = (width_px, round(height * width_px / width))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
