from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from pipelines.ops.codec import DecodedImage, decode_image, encode_image
from pipelines.ops.restore import restore_image
from rddm.errors import DataError, UnreadableImageError
from tests.unit.pipelines.pictures import encoded, encoded_16, photograph

RGB = photograph()
GREY = photograph()[..., 0]
ALPHA = photograph(seed=3)[..., 1]
RGB_16 = photograph(dtype=np.uint16)


@pytest.mark.parametrize(
    ("data", "mode"),
    [
        (encoded(RGB), "RGB 8-bit"),
        (encoded(np.dstack([RGB, ALPHA])), "RGBA 8-bit"),
        (encoded(GREY), "L 8-bit"),
        (encoded(np.dstack([GREY, ALPHA])), "LA 8-bit"),
        (encoded_16(RGB_16), "RGB 16-bit"),
        (encoded_16(np.dstack([RGB_16, RGB_16[..., 0]])), "RGBA 16-bit"),
        (encoded_16(RGB_16[..., 0]), "L 16-bit"),
        (encoded(RGB, "TIFF"), "RGB 8-bit"),
        (encoded_16(RGB_16, ".tiff"), "RGB 16-bit"),
        (encoded_16(RGB_16[..., 0], ".tiff"), "L 16-bit"),
        (encoded(RGB, "WEBP", lossless=True), "RGB 8-bit"),
        (encoded(RGB, "BMP"), "RGB 8-bit"),
    ],
)
def test_a_lossless_picture_survives_with_its_mode_and_depth(data: bytes, mode: str) -> None:
    image = decode_image(data, name="a.png")
    assert image.mode == mode
    if image.format == "WEBP":
        return  # a lossy format is written lossily, whatever came in
    again = decode_image(encode_image(image), name="a.png")
    assert (again.mode, again.format) == (mode, image.format)
    assert np.array_equal(again.pixels, image.pixels)
    assert image.alpha is None or np.array_equal(again.alpha, image.alpha)  # type: ignore[arg-type]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_exif_orientation_is_carried_out_once(orientation: int, mode: str) -> None:
    """Independent reference: Pillow's own transposition of the stored pixels."""
    picture = Image.fromarray(RGB).convert(mode)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "A camera"
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", exif=exif, quality=100, subsampling=0)
    image = decode_image(buffer.getvalue(), name="a.jpg")
    turned = image.pixels.shape[:2] == (56, 40)
    assert turned == (orientation >= 5)
    written = Image.open(io.BytesIO(encode_image(image)))
    assert (written.mode, written.format) == (mode, "JPEG")
    assert written.getexif().get(0x0112, 1) == 1
    assert written.getexif()[0x010F] == "A camera"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_16_bit_picture_is_turned_like_an_8_bit_one(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    eight = decode_image(encoded(RGB, "PNG", exif=exif), name="a.png")
    png = bytearray(encoded_16(RGB.astype(np.uint16) * 257))
    block = exif.tobytes().removeprefix(b"Exif\x00\x00")
    chunk = struct.pack(">I", len(block)) + b"eXIf" + block + struct.pack(">I", zlib.crc32(b"eXIf" + block))
    png[33:33] = chunk  # after the header
    sixteen = decode_image(bytes(png), name="a.png")
    assert sixteen.bit_depth == 16
    assert np.array_equal(sixteen.pixels // 257, eight.pixels)


def test_a_colour_profile_is_kept() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = decode_image(encoded(RGB, "PNG", icc_profile=profile), name="a.png")
    assert Image.open(io.BytesIO(encode_image(image))).info["icc_profile"] == profile


def test_a_palette_becomes_colours() -> None:
    buffer = io.BytesIO()
    Image.fromarray(RGB).convert("P", palette=Image.Palette.ADAPTIVE).save(buffer, "PNG")
    expected = np.asarray(Image.open(buffer).convert("RGB"))
    image = decode_image(buffer.getvalue(), name="a.png")
    assert image.mode == "RGB 8-bit"
    assert np.array_equal(image.pixels, expected)


def animated() -> bytes:
    buffer = io.BytesIO()
    frames = [Image.fromarray(photograph(seed=seed)) for seed in range(2)]
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def lying_png() -> bytes:
    """A header that claims 60,000 x 60,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    png = bytearray(encoded(RGB))
    png[12:33] = header + struct.pack(">I", zlib.crc32(header))
    return bytes(png)


def cmyk() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(RGB).convert("CMYK").save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "0 bytes"),
        (b"hello", "no picture"),
        (encoded(RGB)[:200], "truncated"),
        (encoded(RGB, "JPEG")[:400], "truncated"),
        (encoded_16(RGB_16)[:600], "truncated"),
        (encoded(RGB)[:20], "no picture|truncated"),
        (animated(), "2 frames"),
        (lying_png(), "pixels"),
        (cmyk(), "mode is CMYK"),
    ],
)
def test_what_cannot_be_read_names_the_file_and_the_fault(data: bytes, found: str) -> None:
    with pytest.raises(UnreadableImageError, match=f"holiday/1.png: .*({found})"):
        decode_image(data, name="holiday/1.png")


def test_the_pixel_limit_is_ours() -> None:
    with pytest.raises(UnreadableImageError, match="56 x 40 pixels; expected at most 100 pixels"):
        decode_image(encoded(RGB), name="a.png", max_pixels=100)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("grey", [False, True])
def test_restoring_keeps_depth_greyness_and_alpha(dtype: Any, grey: bool) -> None:
    pixels = photograph(dtype=dtype)
    if grey:
        pixels = np.repeat(pixels[..., :1], 3, axis=2)
    alpha = pixels[..., 0].copy()
    image = DecodedImage(pixels=pixels, alpha=alpha, grey=grey)
    seen: list[int] = []

    def halve_red(unit: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, Any]:
        seen.append(seed)
        return unit * np.array([0.5, 1, 1], np.float32)

    restored = restore_image(image, halve_red, seed=11)
    assert seen == [11]
    assert (restored.pixels.dtype, restored.grey) == (dtype, grey)
    assert restored.alpha is alpha
    factors = [5 / 6] * 3 if grey else [0.5, 1, 1]
    assert np.abs(restored.pixels - pixels * np.array(factors)).max() <= 0.51 + 2e-7 * np.iinfo(dtype).max * 10


def tiff_with_its_own_layout(mode: str) -> bytes:
    """Tags that lay out this file, beside those that describe the picture."""
    buffer = io.BytesIO()
    tags = {0x010F: "A camera", 0x0132: "2026:01:02 03:04:05", 278: 3, 317: 2}
    Image.fromarray(RGB).convert(mode).save(buffer, "TIFF", compression="tiff_lzw", tiffinfo=tags)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA"])
def test_a_tiff_keeps_what_describes_it_and_not_the_layout_of_the_old_file(mode: str) -> None:
    image = decode_image(tiff_with_its_own_layout(mode), name="a.tif")
    file = encode_image(image)
    assert np.array_equal(decode_image(file, name="a.tif").pixels, image.pixels)
    tags = Image.open(io.BytesIO(file)).getexif()
    assert (tags[0x010F], tags[0x0132]) == ("A camera", "2026:01:02 03:04:05")
    assert 320 not in tags, "no colour map without a palette"
    assert tags[278] != 3


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
def test_a_damaged_exif_block_does_not_cost_the_picture(image_format: str) -> None:
    image = decode_image(encoded(RGB, image_format, exif=b"Exif\0\0no such thing"), name="a")
    assert image.pixels.shape == RGB.shape
    assert decode_image(encode_image(image), name="a").pixels.shape == RGB.shape


def test_what_a_format_cannot_hold_is_refused() -> None:
    wide = DecodedImage(pixels=np.zeros((1, 17_000, 3), np.uint8), format="WEBP")
    with pytest.raises(DataError, match="RGB 8-bit, 17000 x 1 pixels cannot be written as WEBP"):
        encode_image(wide)
    deep = DecodedImage(pixels=RGB, alpha=ALPHA, format="JPEG")
    with pytest.raises(DataError, match="cannot be written as JPEG"):
        encode_image(deep)


SOUND = [
    encoded(RGB),
    encoded(np.dstack([GREY, ALPHA])),
    encoded_16(RGB_16),
    encoded(RGB, "JPEG"),
    encoded(RGB, "WEBP"),
    encoded(RGB, "BMP"),
    encoded_16(RGB_16, ".tiff"),
    *(tiff_with_its_own_layout(mode) for mode in ("L", "P", "RGBA")),
]


@pytest.mark.parametrize("data", SOUND, ids=lambda data: f"{len(data)}-bytes")
def test_damaged_bytes_are_refused_or_come_back_as_a_file_that_opens(data: bytes) -> None:
    """Bytes changed at random, most of them in the header: whatever happens is one of our errors, or a sound file."""
    generator = np.random.default_rng(len(data))
    refused = 0
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(generator.integers(1, 6)):
            reach = min(len(data), 300) if generator.random() < 0.5 else len(data)
            # A TIFF's directory is at its end.
            place = int(generator.integers(reach)) * (1 if generator.random() < 0.5 else -1)
            damaged[place] = int(generator.choice([0, 1, 128, 255, int(generator.integers(256))]))
        try:
            image = decode_image(bytes(damaged), name="a.png")
        except UnreadableImageError:
            refused += 1
            continue
        file = encode_image(image)
        Image.open(io.BytesIO(file)).load()
    assert refused


@pytest.mark.parametrize("answer", ["shape", "nan"])
def test_an_answer_that_is_no_picture_is_refused(answer: str) -> None:
    image = decode_image(encoded(RGB), name="a.png")

    def broken(unit: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, Any]:
        return unit[1:] if answer == "shape" else np.where(unit > 0.9, np.float32(np.nan), unit)

    with pytest.raises(DataError, match="the model answered with"):
        restore_image(image, broken, seed=0)
