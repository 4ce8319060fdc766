"""What a file asks of the programs that read it, counted on its bytes before any of them is let at it.

The programs bound what they unpack, and not what they go through: a few megabytes of empty parts, of passes, pages or
numbers keep them busy for minutes, or make them hold a hundred times the file. The limits are far beyond what cameras
and programs write.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from pipelines.ops.png import SIGNATURE, png_bytes_needed, png_chunks

_MOST_CHUNKS, _MOST_PARTS, _MOST_SCANS, _MOST_PAGES = 250_000, 20_000, 100, 1000
_MOST_EXTRA_BYTES = 1 << 16
_MOST_ENTRIES, _MOST_NUMBERS = 4096, 1 << 18
_MOST_EXIF_BYTES = 1 << 18  # JPEG holds a quarter of it; each byte may become 160 in memory
_MOST_RUN_LENGTH_WORK = 8_000_000  # Pillow unpacks run lengths in Python

_JPEG_ALONE = {0x00, 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)}
_JPEG_SCAN, _JPEG_END, _JPEG_EXIF = 0xDA, 0xD9, 0xE1
_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")

_TIFF_HEADS = {
    b"II*\0": ("<", False),
    b"MM\0*": (">", False),
    b"II\0*": ("<", False),  # these two are wrong, and read all the same
    b"MM*\0": (">", False),
    b"II+\0": ("<", True),
    b"MM\0+": (">", True),
}
_TIFF_BYTES = {1, 2, 7}
_TIFF_INTEGERS = {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l", 13: "L", 16: "Q", 17: "q", 18: "Q"}
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_TIFF_NESTED = (34665, 34853, 40965)  # EXIF, GPS, interoperability


class Excess(NamedTuple):
    """Why a file is not even opened.

    Attributes:
        kind: A fault's name, as `facts.FileFacts` has them.
        found: What it asks for.
        expected: What would be enough.
    """

    kind: str
    found: str
    expected: str


def excess_of(data: bytes, *, max_pixels: int) -> Excess | None:
    """What is out of all proportion in a file, or None.

    Args:
        data: A file of any kind.
        max_pixels: Largest height x width that is unpacked.
    """
    if data.startswith(SIGNATURE):
        return _of_png(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _of_jpeg(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _of_webp(data)
    if data.startswith(b"BM"):
        return _of_bmp(data)
    return _of_tiff(data, max_pixels) if data[:4] in _TIFF_HEADS else None


def _of_png(data: bytes) -> Excess | None:
    headers = rows = 0
    for number, chunk in enumerate(png_chunks(data), 1):
        if number > _MOST_CHUNKS:
            return _parts(_MOST_CHUNKS)
        if chunk.kind == b"eXIf" and chunk.length > _MOST_EXIF_BYTES:
            return _exif(chunk.length)
        headers += chunk.kind == b"IHDR"
        rows += chunk.length if chunk.kind == b"IDAT" else 0
    if headers > 1:
        return Excess("header_lies", f"it has {headers} headers", "one header")
    most = 2 * png_bytes_needed(data) + _MOST_EXTRA_BYTES  # packing makes nothing twice as long
    return Excess("header_lies", f"its packed rows have {rows} bytes", f"at most {most} bytes") if rows > most else None


def _of_webp(data: bytes) -> Excess | None:
    place, exif = 12, 0
    for _ in range(_MOST_PARTS):
        if place + 8 > len(data):
            return _exif(exif) if exif > _MOST_EXIF_BYTES else None
        length = int.from_bytes(data[place + 4 : place + 8], "little")
        exif += length if data[place : place + 4] == b"EXIF" else 0
        place += 8 + length + length % 2
    return _parts(_MOST_PARTS)


def _of_bmp(data: bytes) -> Excess | None:
    """Run lengths in a picture that takes long, or that are longer than the picture itself."""
    if len(data) < 34 or int.from_bytes(data[14:18], "little") < 40 or data[30] not in {1, 2}:
        return None
    width, height = struct.unpack_from("<ll", data, 18)
    if abs(width * height) + len(data) <= _MOST_RUN_LENGTH_WORK:
        return None
    return Excess("unsupported_format", "it is a large BMP in run lengths", "a BMP that is not compressed")


def _of_jpeg(data: bytes) -> Excess | None:
    place, exif = 2, 0
    for _ in range(_MOST_PARTS):
        if place + 4 > len(data):
            return None
        if data[place] != 0xFF or data[place + 1] == 0xFF:  # what stands between markers is gone through byte by byte
            place += 1
            continue
        marker, place = data[place + 1], place + 2
        if marker in _JPEG_ALONE:
            continue
        if marker == _JPEG_SCAN:
            return _exif(exif) if exif > _MOST_EXIF_BYTES else _of_scans(data, place)
        length = int.from_bytes(data[place : place + 2], "big")
        exif += length if marker == _JPEG_EXIF and data.startswith(b"Exif\0\0", place + 2) else 0
        place += length
    return _parts(_MOST_PARTS)


def _of_scans(data: bytes, place: int) -> Excess | None:
    """Passes over the whole picture; each may be a few bytes."""
    scans, end = 1, place
    if data.count(b"\xff\xda", place) < _MOST_SCANS:  # also counts what is no marker, and what follows the picture
        return None
    for _ in range(_MOST_PARTS):
        found = _JPEG_MARKER.search(data, end + int.from_bytes(data[end : end + 2], "big"))
        if found is None or data[found.start() + 1] == _JPEG_END:
            return None
        end = found.end()
        scans += data[found.start() + 1] == _JPEG_SCAN
        if scans > _MOST_SCANS:
            return Excess("damaged", f"it is drawn in more than {_MOST_SCANS} passes", f"at most {_MOST_SCANS}")
    return _parts(_MOST_PARTS)


_Entries = list[tuple[int, int, int, bytes]]


class _Directory(NamedTuple):
    """A directory of a TIFF: entries as tag, type, count and the bytes of the value; where the next one is, or 0."""

    entries: _Entries
    following: int


def _of_tiff(data: bytes, max_pixels: int) -> Excess | None:
    order, big = _TIFF_HEADS[data[:4]]
    if big and order == ">":
        return Excess("unsupported_format", "it is a BigTIFF in the byte order that few programs read", "a plain TIFF")
    place = _integer(data[8:16] if big else data[4:8], order)
    pages: set[int] = set()
    numbers = 0
    while place:
        if place in pages or len(pages) == _MOST_PAGES:
            found = "its pages go round in a circle" if place in pages else f"it has more than {_MOST_PAGES} pages"
            return Excess("animated", found, "a single picture")
        directory = _directory(data, place, order, big)
        if directory is None:
            break
        if not pages and (fault := _of_first(directory, order, max_pixels)):
            return fault
        pages.add(place)
        for entries in (directory.entries, *_nested(data, directory, order, big)):
            numbers += sum(1 if kind in _TIFF_BYTES else max(1, count) for _, kind, count, _ in entries)
            if len(entries) > _MOST_ENTRIES or numbers > _MOST_NUMBERS:
                return Excess("damaged", "its tags claim more numbers than a picture needs", f"at most {_MOST_NUMBERS}")
        place = directory.following
    return None


def _of_first(directory: _Directory, order: str, max_pixels: int) -> Excess | None:
    """What is wrong with the tags that the picture is read by."""
    tags = [tag for tag, *_ in directory.entries]
    if len(set(tags)) < len(tags):
        return Excess("damaged", "its directory gives a tag twice", "each tag once")
    sizes = {tag: _value(kind, value, order) for tag, kind, _, value in directory.entries}
    width, height = sizes.get(_TILE_WIDTH, 0), sizes.get(_TILE_HEIGHT, 0)
    if abs(width * height) > max_pixels:
        return Excess("header_lies", f"its tiles have {width} x {height} pixels", f"at most {max_pixels} pixels")
    return None


def _directory(data: bytes, place: int, order: str, big: bool) -> _Directory | None:
    """What stands at a place, or None where a directory cannot."""
    head, layout, link = (8, f"{order}HHQ8s", 8) if big else (2, f"{order}HHL4s", 4)
    if place + head > len(data):
        return None
    size = struct.calcsize(layout)
    count = min(_integer(data[place : place + head], order), (len(data) - place - head) // size)
    end = place + head + count * size
    # More than are taken are not all listed: one is enough to refuse them.
    entries = list(struct.iter_unpack(layout, data[place + head : min(end, place + head + (_MOST_ENTRIES + 1) * size)]))
    return _Directory(entries, _integer(data[end : end + link], order))


def _nested(data: bytes, directory: _Directory, order: str, big: bool) -> Iterator[_Entries]:
    """The directories of EXIF's kinds that one leads to."""
    pending = [directory]
    for _ in range(len(_TIFF_NESTED) + 1):
        if not pending:
            return
        for tag, kind, _, value in pending.pop().entries:
            place = _value(kind, value, order) if tag in _TIFF_NESTED else 0
            if place > 0 and (found := _directory(data, place, order, big)):
                pending.append(found)
                yield found.entries


def _value(kind: int, value: bytes, order: str) -> int:
    layout = order + _TIFF_INTEGERS.get(kind, "")
    size = struct.calcsize(layout)
    return int(struct.unpack(layout, value[:size])[0]) if 0 < size <= len(value) else 0


def _integer(data: bytes, order: str) -> int:
    return int.from_bytes(data, "little" if order == "<" else "big")


def _parts(most: int) -> Excess:
    return Excess("damaged", f"it is made of more than {most} parts", f"at most {most}")


def _exif(num_bytes: int) -> Excess:
    return Excess("damaged", f"its EXIF block has {num_bytes} bytes", f"at most {_MOST_EXIF_BYTES} bytes")
