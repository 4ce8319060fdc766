"""Compressed tar archives cannot be read at random: they are unpacked once, as a stream, to one plain tar archive."""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Iterator
from typing import Any, Protocol

import pyarrow as pa

from pipelines import storage
from pipelines.containers.entries import CHUNK_BYTES
from rddm.errors import DataError

PACKINGS = {
    ".tar.gz": "gzip",
    ".tgz": "gzip",
    ".tar.bz2": "bz2",
    ".tbz2": "bz2",
    ".tar.xz": "xz",
    ".txz": "xz",
    ".tar.zst": "zstd",
    ".tzst": "zstd",
}
"""How a tar archive is packed, by the ending of its name."""
_XZ_MEMORY_BYTES = 256 << 20
"""`xz -9` needs a quarter of it; a hostile header may ask for gigabytes."""


class Decompressor(Protocol):
    """What the decompressors of `bz2` and `lzma` have in common."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""
        ...

    @property
    def needs_input(self) -> bool:
        """Whether there is nothing more to be had without more bytes."""
        ...

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """At most `max_length` bytes of what is unpacked by now."""
        ...


def pieces(stream: Decompressor, data: bytes) -> Iterator[bytes]:
    """What some packed bytes unpack to, in pieces of bounded size."""
    yield stream.decompress(data, CHUNK_BYTES)
    while not stream.eof and not stream.needs_input:
        yield stream.decompress(b"", CHUNK_BYTES)


def packing(uri: str) -> str | None:
    """How the tar archive of a URI is packed, or None where it is plain or no tar archive."""
    lower = uri.lower()
    return next((name for ending, name in PACKINGS.items() if lower.endswith(ending)), None)


def unpacked(root: str, scratch_uri: str, *, max_bytes: int) -> str:
    """The URI of a compressed tar archive's plain form below `scratch_uri`, which is made where it is missing.

    Args:
        root: The archive.
        scratch_uri: A folder or prefix for intermediate files.
        max_bytes: Unpacked size above which it is refused.

    Raises:
        DataError: It cannot be read, is damaged, or unpacks to more than `max_bytes`; nothing of it is left behind.
    """
    kind = packing(root)
    if kind is None:
        raise ValueError(f"{root} is no compressed tar archive; expected one of: {', '.join(PACKINGS)}")
    state = storage.file_state(root)
    identity = hashlib.sha256(json.dumps([root, *state]).encode()).hexdigest()[:16]
    target = storage.join(scratch_uri, f"unpacked-{identity}.tar")
    if not storage.exists(target):
        with storage.open_input(root) as packed, storage.open_output(target) as plain:
            for chunk in _chunks(packed, kind, root, max_bytes):
                plain.write(chunk)
    return target


def _chunks(packed: Any, kind: str, shown: str, max_bytes: int) -> Iterator[bytes]:
    """What a stream unpacks to, in pieces, counted."""
    total = 0
    try:
        for chunk in _xz(packed) if kind == "xz" else _arrow(packed, kind):
            total += len(chunk)
            if total > max_bytes:
                raise DataError(
                    f"{shown} unpacks to more than {max_bytes} bytes (max_unpacked_bytes); raise the limit if it may"
                )
            yield chunk
        if total == 0:
            raise EOFError("there is nothing in it")
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise DataError(f"{shown} cannot be unpacked ({error}); it is damaged or cut short, pack it again") from None


def _arrow(packed: Any, kind: str) -> Iterator[bytes]:
    with pa.CompressedInputStream(pa.PythonFile(packed, "r"), kind) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk


def _xz(packed: Any) -> Iterator[bytes]:
    """What `xz` unpacks: streams one behind the other, perhaps with zeros between them."""
    stream: lzma.LZMADecompressor | None = None
    while data := packed.read(CHUNK_BYTES):
        while data := data if stream else data.lstrip(b"\0"):
            stream = stream or lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)
            yield from pieces(stream, data)
            data = stream.unused_data
            stream = None if stream.eof else stream
    if stream is not None:
        raise EOFError("its last stream has no end")
