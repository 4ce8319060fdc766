"""Plain tar archives: the headers are read one by one, nothing else; bytes are found again by where they lie.

`tarfile` reads a single header block here. Following headers is done in sight, because a hostile archive makes
`tarfile` itself read without end or hold gigabytes (negative sizes, endless chains of extended headers, long names of
any length), and because it ends silently at a damaged header.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipelines.containers.entries import Entry, Fault
from rddm.errors import DataError

_BLOCK = tarfile.BLOCKSIZE
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_LONG = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_EXTENDED = (*_PAX, *_LONG, tarfile.XGLTYPE)
_LINKS = (tarfile.LNKTYPE, tarfile.SYMTYPE)
_DEVICES = (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_WITHOUT_DATA = (*_LINKS, *_DEVICES, tarfile.DIRTYPE)
_MAX_EXTENDED_BYTES = 1 << 20
_PADDING_BYTES = 1 << 20
"""How far behind the end mark more members are looked for: archives are padded with zeros to a record of 10 KiB."""


class _TornError(Exception):
    """The archive cannot be followed any further."""


class _Header(NamedTuple):
    """A header block.

    Attributes:
        info: What it says.
        offset: Where the data behind it begins.
        sparse_more: Whether blocks with more of a sparse file's map follow.
    """

    info: tarfile.TarInfo
    offset: int
    sparse_more: bool


@dataclass(slots=True)
class _Extended:
    """What extended headers say of the member that follows them."""

    name: str | None = None
    size_bytes: int | None = None
    sparse: bool = False


def tar_entries(file: Any, shown: str) -> Iterator[Entry]:
    """The members of a plain tar archive, in order; directories are left out.

    What cannot be followed (a damaged header, an end that is cut off) is one last entry about the archive.

    Args:
        file: The archive, readable at any position.
        shown: What it is called.

    Raises:
        DataError: It does not begin like a tar archive.
    """
    length = file.seek(0, 2)
    place = 0
    try:
        while header := _header(file, place):
            header, extended = _extended(file, header, length)
            entry = _entry(file, header, extended, length)
            if header.info.type != tarfile.DIRTYPE:
                yield entry
            if entry.offset + entry.size_bytes > length:
                return
            place = entry.offset + _padded(entry.size_bytes)
        if _has_more(file, place, length):
            raise _TornError("more bytes behind its end mark")
    except _TornError as error:
        if place == 0:
            raise DataError(f"{shown} is no tar archive: {error}; pack it again") from None
        fault = (f"{error} at byte {place} of {length}; nothing behind it is read", "a whole tar archive")
        yield Entry(shown, fault=fault, about_archive=True)


def _header(file: Any, place: int) -> _Header | None:
    """The header at a position, or None for the end mark."""
    block = _read(file, place, _BLOCK)
    if not block:
        raise _TornError("no end mark")
    if len(block) < _BLOCK:
        raise _TornError("a header that is cut short")
    if block.count(0) == _BLOCK:
        return None
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise _TornError(f"a damaged header ({error})") from None
    if info.size < 0:
        raise _TornError(f"a header that claims {info.size} bytes")
    return _Header(info, place + _BLOCK, info.type == tarfile.GNUTYPE_SPARSE and bool(block[482]))


def _extended(file: Any, header: _Header, length: int) -> tuple[_Header, _Extended]:
    """The header of a member, and what the extended headers before it say of it."""
    extended = _Extended()
    while header.info.type in _EXTENDED:
        following = _header(file, _extend(extended, file, header, length))
        if following is None:
            raise _TornError("an extended header without a member behind it")
        header = following
    return header, extended


def _extend(extended: _Extended, file: Any, header: _Header, length: int) -> int:
    """Take in an extended header; where the next header begins."""
    size = header.info.size
    if header.offset + size > length:
        raise _TornError("an extended header that is cut short")
    # What is said of all members at once is believed of none.
    if header.info.type != tarfile.XGLTYPE:
        if size > _MAX_EXTENDED_BYTES:
            raise _TornError(f"an extended header of {size} bytes")
        data = _read(file, header.offset, size)
        if header.info.type in _PAX:
            _take_pax(extended, data)
        elif header.info.type == tarfile.GNUTYPE_LONGNAME:
            extended.name = _text(data.split(b"\0", 1)[0])
    return header.offset + _padded(size)


def _take_pax(extended: _Extended, data: bytes) -> None:
    """Take in records of the form `LENGTH KEY=VALUE` and a newline."""
    place = 0
    while place < len(data) and data[place]:
        digits = data[place : place + 20].split(b" ", 1)[0]
        end = place + int(digits) if digits.isdigit() else 0
        key, equals, value = data[place + len(digits) + 1 : end - 1].partition(b"=")
        if not equals or end > len(data) or data[end - 1 : end] != b"\n":
            raise _TornError("a damaged extended header")
        if key == b"path":
            extended.name = _text(value)
        elif key == b"size":
            if not value.isdigit() or len(value) > 20:
                raise _TornError("a damaged extended header")
            extended.size_bytes = int(value)
        extended.sparse |= key.startswith(b"GNU.sparse.")
        place = end


def _entry(file: Any, header: _Header, extended: _Extended, length: int) -> Entry:
    info, offset = header.info, header.offset
    more = header.sparse_more
    while more:
        block = _read(file, offset, _BLOCK)
        if len(block) < _BLOCK:
            raise _TornError("a sparse file's map that is cut short")
        more, offset = bool(block[504]), offset + _BLOCK
    name = info.name if extended.name is None else extended.name
    size = info.size if extended.size_bytes is None else extended.size_bytes
    if info.type in _WITHOUT_DATA:
        size = 0
    fault = _fault(info, size, extended)
    if offset + size > length:
        fault = f"it claims {size} bytes, {length - offset} are left of the archive", "a whole archive"
    return Entry(name, size, offset, fault)


def _fault(info: tarfile.TarInfo, size: int, extended: _Extended) -> Fault | None:
    if info.type in _LINKS:
        return "it is a link", "a regular file"
    if info.type in _DEVICES:
        return "it is a device or a pipe", "a regular file"
    if info.type == tarfile.GNUTYPE_SPARSE or extended.sparse:
        return "it is stored as a sparse file", "a file that is stored whole"
    if info.type not in _REGULAR:
        return f"it is of the unknown type {info.type!r}", "a regular file"
    if info.size not in {0, size}:
        return f"its headers give two sizes, {info.size} and {size} bytes", "one size"
    return None


def _has_more(file: Any, place: int, length: int) -> bool:
    data = _read(file, place, min(_PADDING_BYTES, length - place))
    return data.count(0) != len(data)


def _read(file: Any, place: int, size: int) -> bytes:
    file.seek(place)
    data: bytes = file.read(size)
    return data


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
