"""Pictures that mean harm: refused before they cost anything, and told from those that are only odd."""

from __future__ import annotations

import re
import struct
import time
import zlib
from typing import Any

import cv2
import numpy as np
import pytest

from pipelines.ops.claims import excess_of
from pipelines.ops.codec import decode_image
from pipelines.ops.damage import fault_before_decoding, read_header
from pipelines.ops.inspect import look
from pipelines.ops.png import SIGNATURE, plain_png, png_holds_all, without_pixels
from rddm.errors import UnreadableImageError
from tests.unit.pipelines.hostile_pictures import (
    HARMLESS,
    MAX_PIXELS,
    PICTURES,
    SMALL,
    chunk,
    directories,
    entry,
    exif,
    jpeg,
    png,
    scans,
    segment,
    tiff,
    zeros,
)
from tests.unit.pipelines.pictures import encoded, encoded_16, photograph

DEEP = photograph(dtype=np.uint16)


@pytest.mark.parametrize("name", PICTURES)
def test_a_hostile_picture_is_refused_with_its_reason_and_soon(name: str) -> None:
    build, reason = PICTURES[name]
    data = build()
    began = time.monotonic()
    with pytest.raises(UnreadableImageError, match=rf"{re.escape(name)}: .*({reason})"):
        decode_image(data, name=name, max_pixels=MAX_PIXELS)
    facts = look(data, name, max_pixels=MAX_PIXELS).facts
    assert time.monotonic() - began < 5
    assert facts.fault
    assert facts.found.isprintable()


@pytest.mark.parametrize("name", HARMLESS)
def test_an_odd_picture_without_harm_is_read(name: str) -> None:
    data = HARMLESS[name]()
    assert excess_of(data, max_pixels=MAX_PIXELS) is None
    assert decode_image(data, name=name, max_pixels=MAX_PIXELS).pixels.shape[2] == 3
    assert not look(data, name, max_pixels=MAX_PIXELS).facts.fault


@pytest.mark.parametrize(
    ("most", "too_much"),
    [
        (png(8, 8, more=chunk(b"eXIf", exif(1 << 18))), png(8, 8, more=chunk(b"eXIf", exif((1 << 18) + 2)))),
        (png(8, 8, more=chunk(b"prVt") * 240_000), png(8, 8, more=chunk(b"prVt") * 250_000)),
        (png(8, 8, behind=chunk(b"IDAT") * 200), png(8, 8, behind=chunk(b"IDAT", bytes(90_000)))),
        (jpeg(segment(0xE5) * 19_000), jpeg(segment(0xE5) * 20_000)),
        (jpeg(segment(0xE1, b"Exif\0\0" + exif(60_000)) * 4), jpeg(segment(0xE1, b"Exif\0\0" + exif(60_000)) * 5)),
        (scans(90), scans(91)),
        (directories(1000), directories(1001)),
        (tiff(tile_px=2000), tiff(tile_px=2001)),
        (tiff((40_000, 3, 260_000, bytes(520_000))), tiff((40_000, 3, 270_000, bytes(540_000)))),
        (tiff((40_000, 7, 5_000_000, bytes(5_000_000))), tiff((40_000, 6, 5_000_000, bytes(5_000_000)))),
        (tiff(*(entry(tag, 0) for tag in range(1000, 5000))), tiff(*(entry(tag, 0) for tag in range(1000, 5100)))),
    ],
    ids=["exif", "chunks", "rows", "markers", "segments", "scans", "pages", "tile", "numbers", "bytes", "tags"],
)
def test_the_limits_are_where_they_are_said_to_be(most: bytes, too_much: bytes) -> None:
    assert excess_of(most, max_pixels=MAX_PIXELS) is None
    assert excess_of(too_much, max_pixels=MAX_PIXELS) is not None


def test_passes_are_counted_in_the_picture_and_not_behind_it() -> None:
    film = b"\xff\xda" * 1000
    assert excess_of(encoded(SMALL, "JPEG") + film, max_pixels=MAX_PIXELS) is None
    assert excess_of(jpeg(segment(0xE2, film)), max_pixels=MAX_PIXELS) is None


def nested(number: int) -> bytes:
    """A TIFF whose EXIF directory holds numbers."""
    head = tiff(entry(34_665, 100_000)).ljust(100_000, b"\0")
    return head + struct.pack("<HHHLLL", 1, 40_000, 3, number, 100_018, 0) + bytes(2 * number)


def test_directories_inside_of_others_count() -> None:
    assert excess_of(nested(200_000), max_pixels=MAX_PIXELS) is None
    assert excess_of(nested(300_000), max_pixels=MAX_PIXELS) is not None
    loop = tiff(entry(34_665, 8), entry(34_853, 8), entry(40_965, 8))
    assert excess_of(loop, max_pixels=MAX_PIXELS) is None
    assert decode_image(loop, name="a.tif").pixels.shape == (64, 64, 3)


@pytest.mark.parametrize("name", [*PICTURES, *HARMLESS])
def test_no_beginning_of_a_file_and_no_change_in_it_upsets_the_count(name: str) -> None:
    data = (PICTURES[name][0] if name in PICTURES else HARMLESS[name])()[:20_000]
    generator = np.random.default_rng(len(data))
    for length in range(min(80, len(data))):
        excess_of(data[:length], max_pixels=MAX_PIXELS)
        without_pixels(data[:length])
        fault_before_decoding(data[:length], read_header(data[:length]), max_pixels=MAX_PIXELS)
    for _ in range(60 if data else 0):
        damaged = bytearray(data)
        for place in generator.integers(min(len(data), 400), size=4):
            damaged[place] = int(generator.choice([0, 1, 127, 128, 255]))
        excess_of(bytes(damaged), max_pixels=MAX_PIXELS)


def interlaced(pixels: Any, *, passes: int = 7) -> bytes:
    """An RGB PNG in seven passes, or fewer than its header asks for."""
    height, width = pixels.shape[:2]
    starts = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    parts = [pixels[y::step_y, x::step_x] for x, y, step_x, step_y in starts[:passes]]
    big = pixels.dtype.newbyteorder(">")
    rows = b"".join(b"\0" + row.astype(big).tobytes() for part in parts if part.size for row in part)
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, 2, 0, 0, 1)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND")


def with_transparent_colour(data: bytes, pixels: Any) -> bytes:
    return data[:33] + chunk(b"tRNS", pixels[5, 7].astype(">u2").tobytes()) + data[33:]


@pytest.mark.parametrize(
    "data",
    [
        encoded_16(DEEP),
        encoded_16(DEEP[..., 0]),
        encoded_16(np.dstack([DEEP, DEEP[..., 0]])),
        interlaced(DEEP),
        interlaced(DEEP[:3, :5]),
        with_transparent_colour(encoded_16(DEEP), DEEP),
    ],
    ids=["colour", "grey", "alpha", "interlaced", "small and interlaced", "transparent colour"],
)
def test_what_opencv_is_given_is_the_same_picture(data: bytes) -> None:
    plain = plain_png(data)
    assert plain is not None
    before, after = (cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED) for file in (data, plain))
    assert np.array_equal(before, after)  # type: ignore[arg-type]
    assert png_holds_all(data)
    assert decode_image(data, name="a.png").bit_depth == 16


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_an_interlaced_picture_is_read_whole_or_not_at_all(dtype: Any) -> None:
    """Of an odd height, so that the last row is there without the last pass."""
    pixels = photograph(41, 57, dtype=dtype)
    whole, lying = interlaced(pixels), interlaced(pixels, passes=6)
    assert np.array_equal(decode_image(whole, name="a.png").pixels, pixels)
    assert (png_holds_all(whole), png_holds_all(lying)) == (True, False)
    assert plain_png(lying) is None
    with pytest.raises(UnreadableImageError, match="holds fewer"):
        decode_image(lying, name="a.png")


@pytest.mark.parametrize("kind", ["length", "checksum"])
def test_too_few_rows_are_noticed_whatever_else_their_chunk_says(kind: str) -> None:
    """Pillow takes them for all, with black ones in place of the others."""
    data = bytearray(PICTURES["lies.png"][0]())
    data[35 if kind == "length" else -13] ^= 0xFF
    assert not png_holds_all(bytes(data))
    with pytest.raises(UnreadableImageError, match="holds fewer"):
        decode_image(bytes(data), name="a.png")


def test_rows_behind_the_last_one_are_not_unpacked_for_opencv() -> None:
    header, rows = struct.pack(">IIBBBBB", 64, 64, 16, 2, 0, 0, 0), zeros(80_000_000)
    data = SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND")
    assert excess_of(data, max_pixels=MAX_PIXELS) is None, "few enough to look at"
    plain = plain_png(data)
    assert plain is not None
    assert len(plain) < 30_000


def test_a_checksum_that_does_not_hold_costs_the_picture() -> None:
    data = bytearray(encoded_16(DEEP))
    data[-20] ^= 1
    with pytest.raises(UnreadableImageError, match="truncated or damaged"):
        decode_image(bytes(data), name="a.png")


def test_one_long_chunk_is_gone_through_once() -> None:
    """What zlib leaves over is copied; a chunk of 20 MB in pieces of 64 kB would be copied three hundred times."""
    noise = np.random.default_rng(0).integers(0, 256, (2600, 2600, 3), np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in noise)
    data = png(2600, 2600, rows=zlib.compress(rows, 0))
    began = time.process_time()
    assert png_holds_all(data)
    assert time.process_time() - began < 1


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_the_doctor_finds_an_orientation_behind_the_pixels_without_unpacking_them(orientation: int) -> None:
    noted = png(13_000, 13_000, bits=1, colour=0, behind=chunk(b"eXIf", exif(100, orientation=orientation)))
    header = read_header(noted)
    assert header is not None
    assert (header.width_px, header.orientation) == (13_000, orientation)
    torn = png(64, 64, behind=chunk(b"eXIf", b"no such thing"))
    header = read_header(torn)
    assert header is not None
    assert header.orientation == 1
