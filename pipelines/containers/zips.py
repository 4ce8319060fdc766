"""Zip archives: their directory is read once a process and judged, members are counted while they are unpacked.

`zipfile` reads the directory here. Members are unpacked in sight, in pieces of bounded size: `zipfile` unpacks what it
has read of a bzip2 or LZMA member at once, which turns a megabyte into gigabytes of memory.
"""

from __future__ import annotations

import bz2
import lzma
import stat
import struct
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from pipelines.containers.entries import CHUNK_BYTES, Entry, Fault, Judged, judged, require_count, too_large
from pipelines.containers.unpacking import Decompressor, pieces
from rddm.errors import DataError

_ENCRYPTED, _LZMA_END_MARK, _UTF_8 = 0x1, 0x2, 0x800
_LOCAL_HEADER_BYTES = 30
_DIRECTORY_BYTES_PER_MEMBER = 320
_DIRECTORY_SIGNATURE, _LOCAL_SIGNATURE = b"PK\x01\x02", b"PK\x03\x04"
_FAT = 0
_PACKED_BYTES = 1 << 18
_LZMA_MEMORY_BYTES = 256 << 20


class ZipReader:
    """An open zip archive; threads may share it.

    Args:
        file: The archive, readable at any position; it is closed when this object goes.
        shown: What it is called.
        max_members: Entries above which it is refused.
        max_file_bytes: Unpacked size above which a member is set aside.

    Raises:
        DataError: It is no zip archive, or has too many members.
    """

    def __init__(self, file: Any, shown: str, *, max_members: int, max_file_bytes: int) -> None:
        self._file, self._shown, self._lock = file, shown, threading.Lock()
        self._max_members, self._max_file_bytes = max_members, max_file_bytes
        try:
            archive = zipfile.ZipFile(_Guarded(file, shown, max_members))
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
            raise DataError(f"{shown} is no zip archive, or is cut short ({error}); pack it again") from None
        self._directory_at = archive.start_dir
        self._infos = [info for info in archive.infolist() if not _name(info).endswith("/")]
        judged_infos = zip(self.members(), self._infos, strict=True)
        self._by_path = {member.path: info for member, info in judged_infos if member.record is None}

    def __del__(self) -> None:
        """Close the file."""
        self._file.close()

    def members(self) -> Iterator[Judged]:
        """All members but directories, judged, in the archive's order."""
        return judged(
            _entries(self._infos, self._directory_at),
            shown=self._shown,
            max_members=self._max_members,
            max_file_bytes=self._max_file_bytes,
        )

    def read(self, path: str) -> bytes:
        """The bytes of a member.

        Raises:
            UnreadableImageError: There are too many of them.
            Exception: Each way of packing has its own errors for damaged bytes.
        """
        info, chunks, total, crc = self._by_path[path], [], 0, 0
        with self._lock:
            for chunk in _unpacked(self._file, info):
                total, crc = total + len(chunk), zlib.crc32(chunk, crc)
                if total > self._max_file_bytes:
                    raise too_large(path, self._max_file_bytes)
                chunks.append(chunk)
        if total != info.file_size or crc != info.CRC:
            raise zipfile.BadZipFile("it is not what its checksum was made of")
        return b"".join(chunks)


class _Guarded:
    """A file that refuses to read an archive's directory into memory where it is larger than the archive may be."""

    def __init__(self, file: Any, shown: str, max_members: int) -> None:
        self._file, self._shown, self._max_members = file, shown, max_members
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        most = CHUNK_BYTES + _DIRECTORY_BYTES_PER_MEMBER * self._max_members
        if size > most:
            raise DataError(
                f"{self._shown} says that its directory has {size} bytes, at most {most} are taken for "
                f"{self._max_members} members (max_members); split it"
            )
        data: bytes = self._file.read(size)
        require_count(data.count(_DIRECTORY_SIGNATURE), self._shown, self._max_members)
        return data


def _unpacked(file: Any, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """What a member unpacks to, in pieces."""
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER_BYTES)
    if len(header) < _LOCAL_HEADER_BYTES or not header.startswith(_LOCAL_SIGNATURE):
        raise zipfile.BadZipFile("its header is damaged")
    flags, name_length, extra_length = struct.unpack("<6xH18xHH", header)
    name = file.read(name_length).decode("utf-8" if flags & _UTF_8 else "cp437")
    if name != info.orig_filename:
        raise zipfile.BadZipFile(f"its header names it {name!r}")
    file.read(extra_length)
    packed = _packed(file, info.compress_size)
    if info.compress_type == zipfile.ZIP_STORED:
        yield from packed
        return
    stream = _DECOMPRESSORS[info.compress_type]()
    for data in _lzma_file(info, packed) if info.compress_type == zipfile.ZIP_LZMA else packed:
        yield from pieces(stream, data)


def _packed(file: Any, size: int) -> Iterator[bytes]:
    while size > 0:
        data = file.read(min(size, _PACKED_BYTES))
        if not data:
            raise EOFError("the archive ends before it does")
        size -= len(data)
        yield data


def _lzma_file(info: zipfile.ZipInfo, packed: Iterator[bytes]) -> Iterator[bytes]:
    """A member's LZMA bytes with the header of a .lzma file in place of zip's."""
    first = next(packed, b"")
    if len(first) < 9 or first[2:4] != b"\5\0":
        raise zipfile.BadZipFile("its LZMA header is damaged")
    size = (1 << 64) - 1 if info.flag_bits & _LZMA_END_MARK else info.file_size
    yield first[4:9] + size.to_bytes(8, "little") + first[9:]
    yield from packed


class _Inflater:
    """Deflate with the interface of the other decompressors."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._stream.eof

    def decompress(self, data: bytes, max_length: int) -> bytes:
        piece = self._stream.decompress(self._stream.unconsumed_tail + data, max_length)
        # zlib may hold the rest of a repetition back although it has taken all of its input.
        self.needs_input = not self._stream.unconsumed_tail and len(piece) < max_length
        return piece


_DECOMPRESSORS: dict[int, Callable[[], Decompressor]] = {
    zipfile.ZIP_DEFLATED: _Inflater,
    zipfile.ZIP_BZIP2: bz2.BZ2Decompressor,
    zipfile.ZIP_LZMA: lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_LZMA_MEMORY_BYTES),
}


def _entries(infos: list[zipfile.ZipInfo], directory_at: int) -> Iterator[Entry]:
    overlapping = _overlapping(infos, directory_at)
    for index, info in enumerate(infos):
        fault = _fault(info, directory_at)
        if fault is None and index in overlapping:
            fault = "it shares bytes with another member", "members that lie one behind the other"
        yield Entry(_name(info), info.file_size, fault=fault)


def _name(info: zipfile.ZipInfo) -> str:
    """The name as stored: `filename` is cut at a NUL byte. Some packers on Windows write its backslashes."""
    return info.orig_filename.replace("\\", "/") if info.create_system == _FAT else info.orig_filename


def _fault(info: zipfile.ZipInfo, directory_at: int) -> Fault | None:
    if stat.S_IFMT(info.external_attr >> 16) not in {0, stat.S_IFREG}:
        return "it is a link or a device", "a regular file"
    if info.flag_bits & _ENCRYPTED:
        return "it is encrypted", "a file that can be read without a password"
    if info.compress_type != zipfile.ZIP_STORED and info.compress_type not in _DECOMPRESSORS:
        return f"it is packed with method {info.compress_type}", "deflate, bzip2, LZMA or no compression"
    if info.header_offset < 0 or _end(info) > directory_at:
        return f"it claims {info.compress_size} packed bytes, more than there are", "a whole archive"
    return None


def _overlapping(infos: list[zipfile.ZipInfo], directory_at: int) -> set[int]:
    """Indices of members that share bytes with one before them: a small archive that unpacks to a huge one."""
    order = sorted((info.header_offset, index) for index, info in enumerate(infos) if _end(info) <= directory_at)
    found, reached = set(), 0
    for start, index in order:
        if start < reached:
            found.add(index)
        reached = max(reached, _end(infos[index]))
    return found


def _end(info: zipfile.ZipInfo) -> int:
    return info.header_offset + _LOCAL_HEADER_BYTES + info.compress_size
