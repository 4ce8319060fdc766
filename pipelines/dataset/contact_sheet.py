"""A contact sheet: some pairs of a data set side by side, to see at a glance what is in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipelines.dataset.text import one_line
from pipelines.ops.codec import as_8_bit

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GAP_PX, _TEXT_PX, _FONT_PX = 8, 18, 12
_LONGEST = 400
_PAPER = "#ececec"  # masks are white and black
_HEADINGS = ("degraded", "clean", "mask")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SheetRow:
    """One pair on a contact sheet.

    Attributes:
        caption: What stands below it, such as its key.
        degraded: uint8 or uint16 RGB, (height, width, 3).
        clean: The same; its size may be another one.
        mask: uint8, (height, width), or None.
    """

    caption: str
    degraded: NDArray[Any]
    clean: NDArray[Any]
    mask: NDArray[np.uint8] | None = None


def spread(total: int, wanted: int) -> list[int]:
    """At most `wanted` different positions in `range(total)`, evenly spread, first and last among them."""
    if wanted <= 1 or total <= 1:
        return [*range(min(total, wanted))]
    count = min(total, wanted)
    return [round(number * (total - 1) / (count - 1)) for number in range(count)]


def contact_sheet(rows: Sequence[SheetRow], *, thumbnail_px: int = 224, across: int = 2) -> NDArray[np.uint8]:
    """The pairs as small pictures: degraded, clean and, where one has it, the mask, with the caption below.

    Args:
        rows: One or more.
        thumbnail_px: Longest side of a small picture; smaller pictures stay as they are.
        across: Pairs in a line.

    Returns:
        uint8 RGB of shape (height, width, 3), 16-bit pictures shown in 8 bits.

    Raises:
        ValueError: There is no row.
    """
    if not rows:
        raise ValueError("a contact sheet needs a pair or more")
    columns = 3 if any(row.mask is not None for row in rows) else 2
    cells = [_cell(row, columns, thumbnail_px) for row in rows]
    across = min(across, len(cells))
    lines = [cells[start : start + across] for start in range(0, len(cells), across)]
    return np.asarray(_stacked([[_headings(columns, thumbnail_px)] * across, *lines]))


def _headings(columns: int, side_px: int) -> Image.Image:
    cell = Image.new("RGB", (columns * (side_px + _GAP_PX), _TEXT_PX), _PAPER)
    for number, heading in enumerate(_HEADINGS[:columns]):
        _write(cell, (number * (side_px + _GAP_PX), 2), heading, side_px)
    return cell


def _cell(row: SheetRow, columns: int, side_px: int) -> Image.Image:
    """The pictures of one pair beside each other, and its caption."""
    images = [_thumbnail(pixels, side_px) for pixels in (row.degraded, row.clean, row.mask) if pixels is not None]
    height = max(image.height for image in images)
    cell = Image.new("RGB", (columns * (side_px + _GAP_PX), height + _TEXT_PX), _PAPER)
    for number, image in enumerate(images):
        cell.paste(image, (number * (side_px + _GAP_PX), 0))
    _write(cell, (0, height + 2), row.caption, cell.width - _GAP_PX)
    return cell


def _thumbnail(pixels: NDArray[Any], side_px: int) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(as_8_bit(pixels)))
    image.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    return image.convert("RGB")


def _stacked(lines: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Cells of equal width, line below line."""
    across, cell_px = len(lines[0]), lines[0][0].width + _GAP_PX
    heights = [max(cell.height for cell in line) + _GAP_PX for line in lines]
    sheet = Image.new("RGB", (across * cell_px + _GAP_PX, sum(heights) + _GAP_PX), _PAPER)
    top = _GAP_PX
    for line, height in zip(lines, heights, strict=True):
        for number, cell in enumerate(line):
            sheet.paste(cell, (_GAP_PX + number * cell_px, top))
        top += height
    return sheet


def _write(image: Image.Image, place: tuple[int, int], text: str, width_px: int) -> None:
    """Write what fits; the end of a name says more than its beginning, so that is kept."""
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(_FONT_PX)
    shown = one_line(text, _LONGEST)
    while len(shown) > 1 and draw.textlength(shown, font) > width_px:
        shown = "…" + shown[2:]
    draw.text(place, shown, fill="black", font=font)
