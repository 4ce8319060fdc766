"""Whether a PNG holds as many rows as it claims: its readers fill up what is missing without a word."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

_CHUNK_BYTES = 1 << 16
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def png_bytes_needed(data: bytes) -> int:
    """Bytes of filtered rows that the header asks for, at least."""
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    return height * (1 + (width * data[24] * _CHANNELS.get(data[25], 1) + 7) // 8)


def png_holds_all(data: bytes) -> bool:
    """Whether a PNG's data unpack to what its header asks for, counted and not kept; also where they are damaged."""
    unpack, limit = zlib.decompressobj(), png_bytes_needed(data)
    total = 0
    try:
        for chunk in _png_data(data):
            pending = chunk
            while pending and total < limit:
                total += len(unpack.decompress(pending, _CHUNK_BYTES))
                pending = unpack.unconsumed_tail
    except (zlib.error, struct.error, ValueError):
        return True
    return total >= limit or not unpack.eof


def _png_data(data: bytes) -> Iterator[bytes]:
    place = 8
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        kind, content = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        (checksum,) = struct.unpack(">I", data[place + 8 + length : place + 12 + length])
        if zlib.crc32(content, zlib.crc32(kind)) != checksum:
            raise ValueError("a checksum does not hold")
        if kind == b"IDAT":
            yield content
        place += 12 + length
