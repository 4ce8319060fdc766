from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from pipelines.ops.compare import brightness, psnr_db, ssim
from pipelines.ops.lossless import decode, encode
from rddm.errors import UnreadableImageError
from tests.unit.pipelines.pictures import photograph

ENCODINGS = ("webp", "png", "zstd", "raw")
SIDES = st.integers(1, 20)


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(st.data())
def test_every_pixel_comes_back(encoding: Any, data: st.DataObject) -> None:
    size = data.draw(st.tuples(SIDES, SIDES))
    kind = data.draw(st.sampled_from([(np.uint8, (*size, 3)), (np.uint16, (*size, 3)), (np.uint8, size)]))
    pixels = data.draw(arrays(*kind))
    again = decode(
        encode(pixels, encoding), encoding, shape=pixels.shape, bit_depth=16 if pixels.dtype == np.uint16 else 8
    )
    assert again.dtype == pixels.dtype
    assert np.array_equal(again, pixels)


def test_encoded_pictures_are_ordinary_files_and_raw_ones_ordinary_rows() -> None:
    pixels = photograph()
    assert Image.open(io.BytesIO(encode(pixels, "webp"))).format == "WEBP"
    assert Image.open(io.BytesIO(encode(pixels, "png"))).format == "PNG"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode(pixels, "webp")))), pixels)
    assert Image.open(io.BytesIO(encode(photograph(dtype=np.uint16), "webp"))).format == "PNG"
    assert encode(photograph(dtype=np.uint16), "raw")[:2] == int(photograph(dtype=np.uint16)[0, 0, 0]).to_bytes(
        2, "little"
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_damaged_bytes_are_never_a_picture(encoding: Any) -> None:
    pixels = photograph()
    data = encode(pixels, encoding)
    for bad in (b"", data[: len(data) // 2], data + data if encoding == "raw" else b"x" * len(data)):
        with pytest.raises(UnreadableImageError, match="make the data set again"):
            decode(bad, encoding, shape=pixels.shape, bit_depth=8)
    if encoding != "raw":
        with pytest.raises(UnreadableImageError, match=r"of shape|too small"):
            decode(data, encoding, shape=(1, 2, 3), bit_depth=8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_comparisons_agree_with_torchmetrics(dtype: Any) -> None:
    import torch

    from rddm.images import from_pixels
    from rddm.metrics import METRICS

    clean = photograph(120, 90, dtype=dtype)
    noise = np.random.default_rng(0).normal(0, np.iinfo(dtype).max / 20, clean.shape)
    degraded = np.clip(clean // 2 + noise, 0, np.iinfo(dtype).max).astype(dtype)
    unit = [from_pixels(torch.from_numpy(pixels))[None] for pixels in (degraded, clean)]
    assert psnr_db(degraded, clean) == pytest.approx(float(METRICS["psnr_db"](*unit)), abs=1e-4)
    assert ssim(degraded, clean) == pytest.approx(float(METRICS["ssim"](*unit)), abs=1e-5)
    assert brightness(clean) == pytest.approx(float(unit[1].mean()), abs=1e-6)
    assert psnr_db(clean, clean) is None
    tall = np.concatenate([clean] * 5)  # more rows than are compared at a time
    dim = np.concatenate([degraded] * 5)
    unit = [from_pixels(torch.from_numpy(pixels))[None] for pixels in (dim, tall)]
    assert ssim(dim, tall) == pytest.approx(float(METRICS["ssim"](*unit)), abs=1e-5)
    assert ssim(clean, clean) == pytest.approx(1)
    assert ssim(clean[:8], clean[:8]) is None


def test_a_picture_that_webp_cannot_hold_is_a_png() -> None:
    wide = np.zeros((2, 16_384, 3), np.uint8)
    data = encode(wide, "webp")
    assert Image.open(io.BytesIO(data)).format == "PNG"
    assert np.array_equal(decode(data, "webp", shape=wide.shape, bit_depth=8), wide)
