"""What a data set's pictures are like, in figures by split and in one plot."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

import matplotlib
import matplotlib.style
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipelines.dataset.text import one_line
from pipelines.schema import SPLITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_DECIMALS = {"psnr_db": 2, "ssim": 4, "degraded_brightness": 4, "clean_brightness": 4}
_SIZES = ("height_px", "width_px")

_SIZE_INCHES, _DPI = (12.0, 7.2), 100
_COLOURS = {"train": "#0072b2", "val": "#009e73", "test": "#d55e00"}  # told apart by colour-blind people too
_STYLE = {
    "font.family": ["DejaVu Sans"],  # it comes with matplotlib, so the plot is the same everywhere
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": "#e4e4e4",
}
_BINS, _MOST_DOTS, _TITLE_LENGTH = 25, 4000, 80


def summarise(table: pa.Table) -> dict[str, dict[str, float]]:
    """Mean, median and range of PSNR, SSIM and brightness, and the range of sizes, of each split that has pictures.

    Args:
        table: As `schema.STATISTICS`; nulls are left out.

    Returns:
        By split, then by name such as `psnr_db_mean`, `ssim_median`, `clean_brightness_max` or `height_px_min`; a
        figure that no picture has is left out, and all are finite.
    """
    summary = {}
    for split, rows in _by_split(table).items():
        figures: dict[str, float] = {}
        for name, decimals in _DECIMALS.items():
            values = _values(rows, name)
            if len(values):
                parts = {"mean": values.mean(), "median": np.median(values), "min": values.min(), "max": values.max()}
                figures |= {f"{name}_{part}": round(float(value), decimals) for part, value in parts.items()}
        for name in _SIZES:
            values = _values(rows, name)
            figures |= {f"{name}_min": float(values.min()), f"{name}_max": float(values.max())}
        summary[split] = figures
    return summary


def plot(table: pa.Table, *, title: str) -> bytes:
    """A PNG, 1200 x 720 pixels: distributions of PSNR, SSIM and brightness, and the sizes, by split.

    Args:
        table: As `schema.STATISTICS`; an empty one gives empty panels.
        title: What stands above it.

    Returns:
        The same bytes for the same table, title and matplotlib.
    """
    splits = _by_split(table)
    with matplotlib.style.context(["default", _STYLE]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a title in a script that the font does not have is shown as boxes
        figure = Figure(figsize=_SIZE_INCHES, dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        psnr, ssim, sizes, degraded, clean, both = figure.subplots(2, 3).flat
        _histogram(psnr, splits, "psnr_db", "PSNR of degraded against clean", "dB")
        _histogram(ssim, splits, "ssim", "SSIM of degraded against clean", "SSIM")
        _scatter_sizes(sizes, splits)
        _histogram(degraded, splits, "degraded_brightness", "Brightness, degraded", "mean pixel, 0 to 1", (0, 1))
        _histogram(clean, splits, "clean_brightness", "Brightness, clean", "mean pixel, 0 to 1", (0, 1))
        _scatter_brightness(both, splits)
        _head(figure, splits, title)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=_DPI, metadata={"Software": None})
    return picture.getvalue()


def _by_split(table: pa.Table) -> dict[str, pa.Table]:
    """The rows of each split that has any, in the order of splits."""
    parts = {split: table.filter(pc.equal(table["split"], split)) for split in SPLITS}
    return {split: rows for split, rows in parts.items() if len(rows)}


def _values(rows: pa.Table, name: str) -> NDArray[np.float64]:
    values = rows[name].drop_null().to_numpy().astype(np.float64)
    return np.asarray(values[np.isfinite(values)])


def _some(rows: pa.Table) -> pa.Table:
    """As many as can be told apart as dots, evenly spread."""
    return rows.take(np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MOST_DOTS)).round().astype(np.int64)))


def _histogram(
    axes: Axes,
    splits: Mapping[str, pa.Table],
    name: str,
    title: str,
    label: str,
    limits: tuple[float, float] | None = None,
) -> None:
    """Shares of pictures rather than numbers, so that a small split can be seen beside a large one."""
    axes.set(title=title, xlabel=label, ylabel="share of pictures")
    values = {split: _values(rows, name) for split, rows in splits.items()}
    known = np.concatenate([np.empty(0), *values.values()])
    if not len(known):
        _say(axes, "nothing to compare")
        return
    edges = np.linspace(*(limits or _limits(known)), _BINS + 1)
    for split, own in values.items():
        if len(own):
            shares = np.histogram(own, edges)[0] / len(own)
            axes.stairs(shares, edges, color=_COLOURS[split], fill=True, alpha=0.25)
            axes.stairs(shares, edges, color=_COLOURS[split], linewidth=1.6)
            axes.axvline(float(own.mean()), color=_COLOURS[split], linewidth=1.2, linestyle="--")
    axes.set(xlim=(edges[0], edges[-1]))
    axes.spines["bottom"].set_zorder(10)
    axes.yaxis.set_major_formatter(_percent)


def _limits(values: NDArray[np.float64]) -> tuple[float, float]:
    """What a histogram's axis spans; equal values get some room."""
    low, high = float(values.min()), float(values.max())
    room = (high - low) * 0.02 or max(abs(high), 1.0) * 0.05
    return low - room, high + room


def _percent(share: float, _: float) -> str:
    return f"{100 * share:g}%"


def _scatter_sizes(axes: Axes, splits: Mapping[str, pa.Table]) -> None:
    """One dot a size; the more pictures have it, the larger."""
    axes.set(title="Sizes", xlabel="width (px)", ylabel="height (px)")
    for split, rows in splits.items():
        sizes = np.stack([_values(_some(rows), name) for name in ("width_px", "height_px")], axis=1)
        distinct, counts = np.unique(sizes, axis=0, return_counts=True)
        areas = 25 + 275 * counts / counts.sum()
        axes.scatter(
            distinct[:, 0],
            distinct[:, 1],
            s=areas,
            color=_COLOURS[split],
            alpha=0.5,
            edgecolors="white",
            linewidths=0.6,
        )
        if len(distinct) == 1:
            width, height = distinct[0]
            axes.annotate(f"{width:g} x {height:g}", distinct[0], (-12, -16), textcoords="offset points", ha="right")
    _from_zero(axes, splits)


def _from_zero(axes: Axes, splits: Mapping[str, pa.Table]) -> None:
    if not splits:
        _say(axes, "no pictures")
        return
    widest, highest = (max(_values(rows, name).max() for rows in splits.values()) for name in ("width_px", "height_px"))
    axes.set(xlim=(0, widest * 1.1), ylim=(0, highest * 1.1))


def _scatter_brightness(axes: Axes, splits: Mapping[str, pa.Table]) -> None:
    axes.set(title="Brightness, degraded against clean", xlabel="clean", ylabel="degraded", xlim=(0, 1), ylim=(0, 1))
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle=":")
    for split, rows in splits.items():
        some = _some(rows)
        x, y = (some[name].to_numpy() for name in ("clean_brightness", "degraded_brightness"))
        axes.scatter(x, y, s=14, color=_COLOURS[split], alpha=0.5, edgecolors="none")


def _head(figure: Figure, splits: Mapping[str, pa.Table], title: str) -> None:
    shown = one_line(title, _TITLE_LENGTH)
    figure.suptitle(shown, fontsize=14, fontweight="bold", x=0.01, ha="left", parse_math=False)
    handles: list[Any] = [
        figure.axes[0].plot([], [], color=_COLOURS[split], linewidth=6, label=f"{split}: {len(rows):,} pictures")[0]
        for split, rows in splits.items()
    ]
    if handles:
        mean = figure.axes[0].plot([], [], color="#555555", linewidth=1.2, linestyle="--", label="mean")[0]
        figure.legend(handles=[*handles, mean], loc="outside lower center", ncols=len(handles) + 1, frameon=False)


def _say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", color="#777777", transform=axes.transAxes)
    axes.set(xticks=[], yticks=[])
