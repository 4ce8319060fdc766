"""PNG files, chunk by chunk: whether they hold what they claim, and the same picture with nothing else in its file.

The readers of PNG fill up rows that are missing without a word, unpack whatever stands behind the last row, and look
for notes behind the pixels only after they have unpacked those.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIECE_BYTES = 1 << 16
_HEADER_BYTES = 33  # the signature and the first chunk
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Where the passes of an interlaced picture begin, and their steps: x, y, x, y."""
_NOTES = {b"eXIf", b"tEXt", b"zTXt", b"iTXt"}


class Chunk(NamedTuple):
    """A part of a PNG: what it is, where its content begins, and how long that says it is."""

    kind: bytes
    start: int
    length: int

    def content(self, data: bytes) -> memoryview:
        """What is in it, as far as it is there."""
        return memoryview(data)[self.start : self.start + self.length]


def png_chunks(data: bytes) -> Iterator[Chunk]:
    """The chunks of a PNG up to its end mark, or as far as they can be followed."""
    place = len(SIGNATURE)
    while place + 12 <= len(data):
        chunk = Chunk(data[place + 4 : place + 8], place + 8, int.from_bytes(data[place : place + 4], "big"))
        yield chunk
        if chunk.kind == b"IEND":
            return
        place += 12 + chunk.length


def png_bytes_needed(data: bytes) -> int:
    """Bytes of filtered rows that the header asks for; 0 where there is no whole header."""
    if len(data) < _HEADER_BYTES:
        return 0
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    bits = data[24] * _CHANNELS.get(data[25], 1)
    if not data[28]:
        return _bytes_of_rows(width, height, bits)
    sizes = ((-(-(width - x) // step_x), -(-(height - y) // step_y)) for x, y, step_x, step_y in _PASSES)
    return sum(_bytes_of_rows(*size, bits) for size in sizes if min(size) > 0)


def png_holds_all(data: bytes) -> bool:
    """Whether a PNG's data unpack to what its header asks for, counted, not kept; also where they are damaged or cut.

    Pillow notices the latter two. It looks at no checksum of rows, so they count for nothing here.
    """
    unpack, limit = zlib.decompressobj(), png_bytes_needed(data)
    total = 0
    try:
        for piece in _rows(data, unpack, limit):
            total += len(piece)
    except zlib.error:
        return True
    return total >= limit or not unpack.eof


def plain_png(data: bytes) -> bytearray | None:
    """The same picture as a PNG of header, transparent colour, rows (not compressed) and end, or None for too few rows.

    What OpenCV is given comes through here: it would go through all other chunks, and unpack all that follows the last
    row, which may be a thousand times the file.

    Args:
        data: A PNG whose first chunk is its header.

    Raises:
        ValueError: Its checksums do not hold.
        zlib.error: Its rows are damaged.
    """
    _require_checksums(data)
    needed = png_bytes_needed(data)
    plain = bytearray(data[:_HEADER_BYTES])
    transparent = next((chunk for chunk in png_chunks(data) if chunk.kind in {b"tRNS", b"IDAT"}), None)
    if transparent is not None and transparent.kind == b"tRNS":
        plain += _chunk(b"tRNS", bytes(transparent.content(data)[:6]))
    pack, total = zlib.compressobj(0), 0
    for piece in _rows(data, zlib.decompressobj(), needed):
        total += len(piece)
        if packed := pack.compress(piece):
            plain += _chunk(b"IDAT", packed)
    plain += _chunk(b"IDAT", pack.flush()) + _chunk(b"IEND", b"")
    return plain if total == needed else None


def without_pixels(data: bytes) -> bytes:
    """A PNG of one black pixel with the notes of another one, before or behind its pixels: EXIF and texts."""
    notes = (chunk for chunk in png_chunks(data) if chunk.kind in _NOTES)
    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    chunks = [
        _chunk(b"IHDR", header),
        *(_chunk(chunk.kind, bytes(chunk.content(data))) for chunk in notes),
        _chunk(b"IDAT", zlib.compress(bytes(2))),
        _chunk(b"IEND", b""),
    ]
    return SIGNATURE + b"".join(chunks)


def _bytes_of_rows(width: int, height: int, bits: int) -> int:
    return height * (1 + (width * bits + 7) // 8)


def _rows(data: bytes, unpack: zlib._Decompress, limit: int) -> Iterator[bytes]:
    """What the pixels' chunks unpack to, in pieces, `limit` bytes at most."""
    total = 0
    for chunk in png_chunks(data):
        if chunk.kind != b"IDAT":
            continue
        content = chunk.content(data)
        for start in range(0, len(content), _PIECE_BYTES):  # what is left over is copied with each piece
            pending: bytes | memoryview = content[start : start + _PIECE_BYTES]
            while pending and total < limit:
                piece = unpack.decompress(pending, min(_PIECE_BYTES, limit - total))
                total += len(piece)
                yield piece
                pending = unpack.unconsumed_tail


def _require_checksums(data: bytes) -> None:
    for chunk in png_chunks(data):
        end = chunk.start + chunk.length
        checksum = int.from_bytes(data[end : end + 4], "big")
        if chunk.kind == b"IDAT" and zlib.crc32(memoryview(data)[chunk.start - 4 : end]) != checksum:
            raise ValueError("a checksum does not hold")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
