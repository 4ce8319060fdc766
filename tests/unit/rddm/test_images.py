from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rddm.images import crop_to, equalise, from_pixels, pad_to_multiple, to_pixels, to_signed, to_unit


@pytest.mark.parametrize(("bit_depth", "dtype", "peak"), [(8, torch.uint8, 255), (16, torch.uint16, 65535)])
def test_every_value_survives_the_round_trip(bit_depth: int, dtype: torch.dtype, peak: int) -> None:
    pixels = torch.arange(peak + 1).to(dtype).reshape(-1, 256, 1).expand(-1, -1, 3)
    unit = from_pixels(pixels)
    assert unit.dtype == torch.float32
    assert (unit.min().item(), unit.max().item()) == (0, 1)
    assert torch.equal(to_pixels(unit, bit_depth=bit_depth).int(), pixels.int())
    if bit_depth == 8:
        assert torch.equal(to_pixels(to_unit(to_signed(unit)), bit_depth=8), pixels)


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 4, 8, 16]))
def test_padding_reaches_multiples_and_is_taken_away_again(height: int, width: int, multiple: int) -> None:
    images = torch.rand(1, 3, height, width)
    padded = pad_to_multiple(images, multiple)
    assert padded.shape[2] % multiple == padded.shape[3] % multiple == 0
    assert torch.equal(crop_to(padded, height, width), images)


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match="expected uint8 or uint16"):
        from_pixels(torch.zeros(4, 4, 3))
    with pytest.raises(ValueError, match="expected 8 or 16"):
        to_pixels(torch.zeros(3, 4, 4), bit_depth=12)


@pytest.mark.parametrize("seed", range(3))
def test_equalising_is_opencv_s(seed: int) -> None:
    pixels = (np.random.default_rng(seed).beta(2, 9, (3, 20, 30)) * 255).astype(np.uint8)
    expected = np.stack([cv2.equalizeHist(plane) for plane in pixels])
    ours = equalise(torch.from_numpy(pixels)[None] / 255)
    assert (ours[0] * 255).round().to(torch.uint8).numpy().tolist() == expected.tolist()


def test_equalising_a_flat_picture_leaves_it() -> None:
    flat = torch.full((1, 3, 4, 4), 0.3)
    assert torch.equal(equalise(flat), flat)
