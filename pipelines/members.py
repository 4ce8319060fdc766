"""The members of an archive or folder: listed with suspicion, read within limits, never extracted."""

from __future__ import annotations

import posixpath
import stat
import struct
import zipfile
from dataclasses import dataclass
from typing import Any

from pipelines import storage
from pipelines.archive_config import ArchiveConfig
from pipelines.manifest import Quarantined, set_misnamed_aside
from rddm.errors import DataError, EmptyDatasetError, UnreadableImageError

_CHUNK_BYTES = 1 << 20
_ENCRYPTED = 0x1


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One picture to restore.

    Attributes:
        name: Relative path; also the output's name.
        index: Its place among the input's members.
    """

    name: str
    index: int


@dataclass(frozen=True, slots=True)
class Listing:
    """What an input holds."""

    members: tuple[Member, ...]
    quarantined: tuple[Quarantined, ...]


def list_members(input_uri: str, config: ArchiveConfig) -> Listing:
    """List a zip archive, or a folder with everything below it.

    Raises:
        DataError: It does not exist, is neither, or has more members than `max_members`.
        EmptyDatasetError: There is nothing in it.
    """
    listing = _list_zip(input_uri, config) if is_zip(input_uri) else _list_folder(input_uri, config)
    if not listing.members and not listing.quarantined:
        raise EmptyDatasetError(f"{input_uri} is empty; expected a zip archive or a folder of pictures")
    return listing


def read_member(input_uri: str, member: Member, config: ArchiveConfig) -> bytes:
    """The bytes of one member, counted while they are unpacked: what the archive says of its size is not believed.

    Raises:
        DataError: It cannot be opened, is larger than `max_member_bytes`, or damaged.
    """
    try:
        if not is_zip(input_uri):
            with storage.open_input(storage.join(input_uri, member.name)) as file:
                return _read_within(file, member.name, config.max_member_bytes)
        with storage.open_input(input_uri) as file, zipfile.ZipFile(file) as archive:
            info = archive.infolist()[member.index]
            with archive.open(info) as unpacked:
                return _read_within(unpacked, member.name, config.max_member_bytes)
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - each way of packing has its own errors for damaged bytes
        raise UnreadableImageError(
            f"{member.name}: it cannot be unpacked ({error}); expected a whole file; pack it again"
        ) from None


def is_zip(uri: str) -> bool:
    """Whether a URI names a zip archive, by its ending."""
    return uri.lower().endswith(".zip")


def _list_zip(input_uri: str, config: ArchiveConfig) -> Listing:
    try:
        with storage.open_input(input_uri) as file, zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        raise DataError(f"{input_uri} is no zip archive, or is cut short ({error}); pack it again") from None
    _check_count(len(infos), input_uri, config)
    members: list[Member] = []
    quarantined: list[Quarantined] = []
    seen: set[str] = set()
    for index, info in enumerate(infos):
        if info.filename.endswith("/"):
            continue
        fault = _fault(info, seen, config)
        if fault is None:
            members.append(Member(name=info.filename, index=index))
            seen.add(_folded(info.filename))
        else:
            quarantined.append(
                Quarantined(name=repr(info.filename)[1:-1], found=fault[0], expected=fault[1], remedy="pack it again")
            )
    return Listing(tuple(members), tuple(quarantined))


def _fault(info: zipfile.ZipInfo, seen: set[str], config: ArchiveConfig) -> tuple[str, str] | None:
    """What is wrong with a member before it is opened: (found, expected)."""
    # `orig_filename` is the name as stored; `filename` is cut at a NUL byte.
    name = info.orig_filename
    if posixpath.normpath(name) == ".":
        return "it has no name", "a name"
    if "\x00" in name or any(ord(character) < 32 for character in name):
        return "its name holds control characters", "a printable name"
    if name.startswith(("/", "\\")) or ":" in name.split("/", 1)[0] or ".." in name.replace("\\", "/").split("/"):
        return "its name leads out of the archive", "a relative name without '..'"
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in {0, stat.S_IFREG}:
        return "it is a link or a device", "a regular file"
    if _folded(name) in seen:
        return "an earlier member has the same name", "names that differ"
    if info.flag_bits & _ENCRYPTED:
        return "it is encrypted", "a file that can be read without a password"
    if info.file_size > config.max_member_bytes:
        return f"it claims {info.file_size} bytes", f"at most {config.max_member_bytes} (max_member_bytes)"
    return None


def _folded(name: str) -> str:
    return posixpath.normpath(name.replace("\\", "/")).casefold()


def _list_folder(input_uri: str, config: ArchiveConfig) -> Listing:
    names = storage.list_files(input_uri)
    _check_count(len(names), input_uri, config)
    good, misnamed = set_misnamed_aside(names)
    return Listing(tuple(Member(name=name, index=index) for index, name in enumerate(good)), tuple(misnamed))


def _check_count(found: int, input_uri: str, config: ArchiveConfig) -> None:
    if found > config.max_members:
        raise DataError(
            f"{input_uri} has {found} members, at most {config.max_members} are taken (max_members); split it"
        )


def _read_within(file: Any, name: str, limit: int) -> bytes:
    chunks, total = [], 0
    while chunk := file.read(_CHUNK_BYTES):
        total += len(chunk)
        if total > limit:
            raise UnreadableImageError(
                f"{name}: it unpacks to more than {limit} bytes (max_member_bytes); leave it out"
            )
        chunks.append(chunk)
    return b"".join(chunks)
