from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.dataset.contact_sheet import SheetRow, contact_sheet, spread
from tests.unit.pipelines.pictures import photograph


def row(caption: str = "train: 1", *, dtype: Any = np.uint8, size: tuple[int, int] = (40, 56), **more: Any) -> SheetRow:
    clean = photograph(*size, dtype=dtype)
    return SheetRow(caption=caption, degraded=clean // 3, clean=clean, **more)


@given(st.integers(0, 300), st.integers(0, 40))
def test_positions_are_spread_from_the_first_to_the_last(total: int, wanted: int) -> None:
    positions = spread(total, wanted)
    assert len(positions) == min(total, wanted)
    assert positions == sorted(set(positions))
    assert all(0 <= position < total for position in positions)
    if wanted > 1 and total > 1:
        assert (positions[0], positions[-1]) == (0, total - 1)
        gaps = np.diff(positions)
        assert gaps.max() - gaps.min() <= 1


def test_small_pictures_stand_unchanged_beside_each_other() -> None:
    shown = row()
    sheet = contact_sheet([shown], thumbnail_px=64)
    for pixels in (shown.degraded, shown.clean):
        windows = np.lib.stride_tricks.sliding_window_view(sheet, pixels.shape)[..., 0, :, :, :]
        assert (windows == pixels).all(axis=(2, 3, 4)).sum() == 1


def test_sixteen_bits_are_shown_as_eight() -> None:
    deep = row(dtype=np.uint16)
    flat = SheetRow(
        caption=deep.caption,
        degraded=(deep.degraded >> 8).astype(np.uint8),
        clean=(deep.clean >> 8).astype(np.uint8),
    )
    assert np.array_equal(contact_sheet([deep]), contact_sheet([flat]))


def test_a_mask_has_a_column_of_its_own() -> None:
    masked = row(mask=np.full((40, 56), 255, np.uint8))
    with_mask, without = contact_sheet([masked]), contact_sheet([row()])
    assert with_mask.shape[1] > without.shape[1]
    assert (with_mask == 255).all(axis=2).sum() >= 40 * 56


def test_large_pictures_and_odd_shapes_fit() -> None:
    shapes = [(1, 1), (2000, 20), (20, 2000), (700, 900)]
    sheet = contact_sheet([row(size=size) for size in shapes], thumbnail_px=100, across=1)
    assert sheet.shape[1] < 250
    assert sheet.dtype == np.uint8


def test_two_sides_of_different_sizes_are_shown() -> None:
    shown = SheetRow(caption="unpaired", degraded=photograph(50, 90), clean=photograph(90, 50))
    assert contact_sheet([shown]).shape[2] == 3


@pytest.mark.parametrize("caption", ["", "é 日本", "a\nb\x00\x1b[0m", "very/" * 200])
def test_any_key_can_be_written_below_its_pair(caption: str) -> None:
    assert contact_sheet([row(caption)]).shape == contact_sheet([row()]).shape


def test_the_same_pairs_give_the_same_sheet_and_others_another() -> None:
    rows = [row(f"train: {number}") for number in range(5)]
    assert np.array_equal(contact_sheet(rows), contact_sheet(rows))
    assert not np.array_equal(contact_sheet(rows), contact_sheet([*rows[1:], rows[0]]))


def test_a_sheet_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="a pair or more"):
        contact_sheet([])
