"""What one file and one pair look like: true figures for sound pictures, and no surprise from hostile bytes."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines.doctor.checks.leaks import near_pairs
from pipelines.ops import likeness
from pipelines.ops.inspect import inspect_file, inspect_pair, look
from tests.unit.pipelines.faulty import wide_profile
from tests.unit.pipelines.pictures import encoded, encoded_16
from tests.unit.pipelines.scenes import darkened, scene
from tests.unit.pipelines.test_codec import SOUND, lying_png


def pair_of(degraded: NDArray[Any], clean: NDArray[Any]) -> Any:
    return inspect_pair("k", "train", degraded=look(encoded(degraded), "a"), clean=look(encoded(clean), "b"))


def test_the_facts_of_a_picture_are_what_they_say() -> None:
    pixels = np.zeros((40, 100, 3), np.uint8)
    pixels[:10] = 255
    pixels[10:20] = (0, 0, 254)
    facts = inspect_file(encoded(pixels), "folder/A.PNG")
    assert (facts.format, facts.extension, facts.shown_size, facts.bit_depth, facts.fault) == (
        "PNG", "png", "100 x 40", 8, "",
    )  # fmt: skip
    assert facts.mean == pytest.approx((255 + 29) / 4 / 255, abs=1e-3)
    assert (facts.darkest, facts.brightest) == (0, 1)
    assert facts.white_share == pytest.approx(0.25)
    assert facts.black_share == pytest.approx(0.5)
    assert facts.flat_rows_share == pytest.approx(0.5)
    assert not facts.grey


@pytest.mark.parametrize("quality", [25, 50, 75, 90, 95])
def test_a_jpeg_s_quality_is_estimated(quality: int) -> None:
    assert inspect_file(encoded(scene("q"), "JPEG", quality=quality), "a.jpg").jpeg_quality == pytest.approx(
        quality, abs=1
    )


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "BMP"])
def test_equal_pixels_have_one_hash_whatever_the_format(image_format: str) -> None:
    facts, png = (inspect_file(encoded(scene("h"), name), "a") for name in (image_format, "PNG"))
    assert facts.pixels_sha256 == png.pixels_sha256
    assert (facts.sha256 == png.sha256) == (image_format == "PNG")


@pytest.mark.parametrize(("values", "bits"), [(257, 8), (1, 8), (16, 8), (256, 8)])
def test_the_bits_that_a_16_bit_file_uses_are_counted(values: int, bits: int) -> None:
    assert inspect_file(encoded_16(scene("b").astype(np.uint16) * values), "a.png").effective_bits == bits


def test_a_full_16_bit_file_uses_16_bits() -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (20, 20, 3)).astype(np.uint16)
    facts = inspect_file(encoded_16(pixels), "a.png")
    assert (facts.bit_depth, facts.effective_bits) == (16, 16)
    assert facts.mean == pytest.approx(0.5, abs=0.05)


def test_profiles_orientation_alpha_and_grey_are_seen() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    facts = inspect_file(encoded(scene("p"), "PNG", icc_profile=wide_profile(), exif=exif), "a.png")
    assert facts.icc_name.startswith("Adobe RGB")
    assert (facts.orientation, facts.stored_width_px, facts.width_px) == (6, 168, 120)
    grey = inspect_file(encoded(np.repeat(scene("g")[..., :1], 3, axis=2)), "a.png")
    assert grey.grey
    alpha = np.dstack([scene("a"), np.full((120, 168), 255, np.uint8)])
    assert inspect_file(encoded(alpha), "a.png").alpha == "opaque"


# ---- pairs ----


@pytest.mark.parametrize(("down", "right"), [(0, 3), (4, 0), (-5, 2), (9, -7)])
def test_a_shift_is_measured_to_half_a_pixel(down: int, right: int) -> None:
    wide = scene("shift", (140, 200))
    clean = np.ascontiguousarray(wide[10:130, 16:184])
    moved = np.ascontiguousarray(wide[10 - down : 130 - down, 16 - right : 184 - right])
    facts = pair_of(darkened(moved, "x"), clean)
    assert (facts.shift_y_px, facts.shift_x_px) == pytest.approx((down, right), abs=0.5)
    assert facts.shifted_correlation > facts.correlation + 0.03


@pytest.mark.parametrize("number", range(8))
def test_each_symmetry_is_told_from_the_others(number: int) -> None:
    clean = scene("turned", (150, 150))
    back = (clean, clean[:, ::-1], clean[::-1, ::-1], clean[::-1], np.rot90(clean, 3), np.rot90(clean),
            clean.transpose(1, 0, 2), clean[::-1, ::-1].transpose(1, 0, 2))[number]  # fmt: skip
    facts = pair_of(darkened(np.ascontiguousarray(back), "x"), clean)
    assert facts.symmetry == likeness.SYMMETRIES[number]
    assert facts.symmetry_correlation > 0.8


def test_dark_and_noisy_sides_keep_their_structure_and_other_scenes_have_none_in_common() -> None:
    clean = [scene(str(number)) for number in range(6)]
    dark = [darkened(picture, "x") for picture in clean]
    same = [pair_of(a, b).correlation for a, b in zip(dark, clean, strict=True)]
    other = [pair_of(a, b).correlation for a, b in zip(dark, clean[1:], strict=False)]
    assert min(same) > 0.6
    assert max(other) < 0.3


def test_a_large_picture_is_looked_at_in_less_memory_and_the_same_place() -> None:
    grey = np.tile(scene("large", (210, 300))[..., 0], (10, 10))
    small = likeness.bounded(grey)
    assert small.shape == (1050, 1500)
    reference = cv2.resize(grey.astype(np.float32) / 255, (1500, 1050), interpolation=cv2.INTER_AREA)
    assert np.abs(small - reference).max() < 1e-5


# ---- hostile bytes ----


@pytest.mark.parametrize("data", SOUND, ids=lambda data: f"{len(data)}-bytes")
def test_damaged_bytes_have_facts_or_a_fault_and_never_raise(data: bytes) -> None:
    generator = np.random.default_rng(len(data))
    faults = set()
    for _ in range(60):
        damaged = bytearray(data)
        for _ in range(int(generator.integers(1, 6))):
            place = int(generator.integers(len(data))) if generator.random() < 0.5 else int(generator.integers(60))
            damaged[place] = int(generator.integers(256))
        picture = look(bytes(damaged[: int(generator.integers(1, len(data) + 1))]), "a.png")
        assert (picture.pixels is None) == bool(picture.facts.fault)
        inspect_pair("k", "train", degraded=picture, clean=picture, mask=picture)
        faults.add(picture.facts.fault)
    assert "truncated" in faults


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (1, 40), (20, 20_000), (9_000, 2)])
def test_pictures_of_odd_shapes_are_compared_without_harm(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 250, (*shape, 3)).astype(np.uint8)
    facts = pair_of(pixels, pixels + 1)
    assert facts.clean.fault == ""
    assert facts.psnr_db is not None
    assert -1.001 <= (facts.correlation or 0) <= 1.001


def test_what_a_header_claims_is_not_believed() -> None:
    lie = inspect_file(lying_png(), "a.png")
    assert (lie.fault, lie.stored_width_px) == ("header_lies", 60_000)
    webp = bytearray(encoded(scene("w"), "WEBP", lossless=True))
    webp[21:25] = (16_382 | 16_382 << 14 | 1 << 28).to_bytes(4, "little")
    claimed = inspect_file(bytes(webp), "a.webp")
    assert (claimed.fault, claimed.stored_width_px) == ("too_many_pixels", 16_383)
    assert inspect_file(encoded(scene("s")), "a.png", max_pixels=100).fault == "too_many_pixels"


def test_a_whole_png_with_fewer_rows_than_it_claims_is_a_lie() -> None:
    png = encoded(scene("rows"))
    header = b"IHDR" + struct.pack(">II", 168, 130) + png[24:29]
    assert inspect_file(png, "a.png").fault == ""
    lie = png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]
    assert inspect_file(lie, "a.png").fault == "header_lies"


def test_a_flat_bottom_is_no_lie() -> None:
    pixels = scene("flat")
    pixels[60:] = 7
    assert inspect_file(encoded(pixels), "a.png").fault == ""


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "zero_bytes"),
        (b"hello", "not_a_picture"),
        (b"RIFF\x10\0\0\0WAVEfmt ", "unsupported_format"),
        (b"\xff\xd8\xff\xe0", "truncated"),
        (b"\0\0\0\x20ftypavif", "unsupported_format"),
        (b"P6\n1 1\n255\nabc", "unsupported_format"),
    ],
)
def test_first_bytes_tell_what_a_file_is(data: bytes, fault: str) -> None:
    assert inspect_file(data, "a.png").fault == fault


# ---- near duplicates ----


def test_hashes_within_seven_bits_are_all_found_and_no_others() -> None:
    generator = np.random.default_rng(0)
    b = generator.integers(0, 1 << 63, 300).astype(np.uint64)
    a = np.concatenate([b[:80], generator.integers(0, 1 << 63, 40).astype(np.uint64)])
    for place in range(80):
        for bit in generator.choice(64, place % 12, replace=False):
            a[place] ^= np.uint64(1) << np.uint64(bit)
    distances = np.bitwise_count(a[:, None] ^ b[None])
    assert near_pairs(a, b) == [tuple(found) for found in np.argwhere(distances <= 7).tolist()]
    assert near_pairs(a[:0], b) == near_pairs(a, b[:0]) == []
