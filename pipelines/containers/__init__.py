"""What pictures lie in: a folder or prefix, a zip archive, a tar archive; listed with suspicion, never extracted."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, NamedTuple

from pipelines import storage
from pipelines.config import Part, PreprocessConfig
from pipelines.containers.entries import (
    Fault,
    Judged,
    judged,
    printable,
    read_within,
    require_count,
    size_fault,
    too_large,
    unprintable,
)
from pipelines.containers.tars import tar_entries
from pipelines.containers.unpacking import PACKINGS, packing, unpacked
from pipelines.containers.zips import ZipReader
from pipelines.manifest import Quarantined, set_misnamed_aside
from rddm.errors import DataError, StorageUnreachableError, UnreadableImageError

_BLOCK_BYTES = 1 << 18
"""How far archives on a server are read ahead: headers and small members come many at a time."""
_ENDINGS = (".zip", ".tar", *PACKINGS)
Kind = Literal["folder", "zip", "tar"]


class SourceFile(NamedTuple):
    """A file in a container.

    Attributes:
        path: Its name below the container's root, or a URI of its own.
        size_bytes: Its size as the listing says, or -1.
        offset: Where its bytes begin inside a tar archive, or -1.
        part: Which half of the picture is meant, where one file holds both sides of a pair.
    """

    path: str
    size_bytes: int = -1
    offset: int = -1
    part: Part = "whole"


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What is taken from a container at most.

    Attributes:
        max_members: Files above which it is refused; a reader holds about a kilobyte for each member of a zip archive.
        max_file_bytes: Size of a file above which that file is set aside; held in memory while it is read.
        max_unpacked_bytes: Bytes that a compressed tar archive may unpack to.
    """

    max_members: int = 5_000_000
    max_file_bytes: int = 1_000_000_000
    max_unpacked_bytes: int = 200_000_000_000

    @classmethod
    def of(cls, config: PreprocessConfig) -> Limits:
        """Those of a data set's config."""
        return cls(max_file_bytes=config.max_file_bytes, max_unpacked_bytes=config.max_unpacked_bytes)


@dataclass(frozen=True, slots=True)
class Listing:
    """What a container holds.

    Attributes:
        files: Files that may be opened.
        quarantined: The others, and what is wrong with the container itself.
    """

    files: tuple[SourceFile, ...]
    quarantined: tuple[Quarantined, ...]


def container_kind(root: str) -> Kind:
    """What a root is, by its ending; a folder whose name ends like an archive's is written with a slash."""
    lower = root.lower()
    if lower.endswith(".zip"):
        return "zip"
    return "tar" if lower.endswith(_ENDINGS) else "folder"


def prepared(root: str, scratch_uri: str, limits: Limits) -> str:
    """A root that can be read at random: a compressed tar archive is unpacked to one plain tar archive, once.

    Nothing else is written. The result belongs to `list_container` and `read_file`, the original root to `source_uri`.

    Args:
        root: Any container.
        scratch_uri: A folder or prefix for the plain archive, which every reader must reach.
        limits: What is taken at most.

    Raises:
        DataError: The archive cannot be read, is damaged, or unpacks to too much; nothing of it is left behind.
    """
    return root if packing(root) is None else unpacked(root, scratch_uri, max_bytes=limits.max_unpacked_bytes)


def list_container(root: str, limits: Limits, *, shown: str = "", in_order: bool = False) -> Listing:
    """List every file of a container, sorted by path.

    Args:
        root: A folder or prefix, with everything below it; a zip archive; or a plain tar archive (see `prepared`).
        limits: What is taken at most.
        shown: What records and errors call it, where it was `prepared` from another root.
        in_order: Keep the order of an archive's members.

    Raises:
        DataError: It does not exist, is none of these, or has more than `max_members` files.
    """
    _require_prepared(root)
    kind = container_kind(root)
    if kind == "folder":
        listing = _list_folder(root, limits)
    elif kind == "zip":
        if not storage.is_local(root):
            _open_zip.cache_clear()
        listing = _listing(_zip_reader(root, limits).members())
    else:
        listing = _list_tar(root, shown or root, limits)
    return listing if in_order else Listing(tuple(sorted(listing.files)), listing.quarantined)


def read_file(root: str, file: SourceFile, limits: Limits) -> bytes:
    """The bytes of a listed file, counted while they are read or unpacked: what its container claims is not believed.

    Args:
        root: Its container, `prepared`.
        file: As it was listed, or a file elsewhere whose `path` is a URI or an absolute path.
        limits: What is taken at most.

    Raises:
        DataError: It cannot be opened, is larger than `max_file_bytes`, or is damaged.
    """
    kind = container_kind(root)
    if kind == "folder" or _stands_alone(file.path):
        return _read_plain(storage.join(root, file.path), file.path, limits)
    _require_prepared(root)
    return _read_zipped(root, file.path, limits) if kind == "zip" else _read_range(root, file, limits)


def source_uri(root: str, file: SourceFile) -> str:
    """Where a file comes from: a path or URI, or fsspec's chained URI of a member, `zip://a/b.png::/data/x.zip`.

    Args:
        root: Its container, as the user named it.
        file: The file.
    """
    if _stands_alone(file.path):
        return file.path
    kind = container_kind(root)
    return storage.join(root, file.path) if kind == "folder" else f"{kind}://{file.path}::{root}"


def _require_prepared(root: str) -> None:
    if packing(root) is not None:
        raise ValueError(f"{root} is a compressed tar archive, which cannot be read at random; call prepared() first")


def _stands_alone(path: str) -> bool:
    return path.startswith("/") or "://" in path


def _list_folder(root: str, limits: Limits) -> Listing:
    if storage.is_local(root) and os.path.isfile(storage.filesystem(root)[1]):
        raise DataError(f"{root} is a file; expected a folder, or an archive that ends in {', '.join(_ENDINGS)}")
    found = storage.scan(root)
    require_count(len(found.files) + len(found.irregular), root, limits.max_members)
    good, records = set_misnamed_aside(name for name, _ in found.files)
    misnamed = iter(records)
    names = set(good)
    quarantined = [_irregular(name, fault) for name, fault in found.irregular]
    files = []
    for name, size_bytes in found.files:
        if name not in names:
            quarantined.append(replace(next(misnamed), name=printable(name)))
        elif fault := unprintable(name):
            quarantined.append(_set_aside(name, fault, "rename it"))
        elif fault := size_fault(size_bytes, limits.max_file_bytes):
            quarantined.append(_set_aside(name, fault, "leave it out"))
        else:
            files.append(SourceFile(name, size_bytes))
    return Listing(tuple(files), tuple(quarantined))


def _set_aside(name: str, fault: Fault, remedy: str) -> Quarantined:
    return Quarantined(name=printable(name), found=fault[0], expected=fault[1], remedy=remedy)


def _irregular(name: str, fault: str) -> Quarantined:
    expected = "a file rather than a folder, a pipe or a device"
    return _set_aside(name, (fault, expected), "put the file itself here or leave it out")


def _list_tar(root: str, shown: str, limits: Limits) -> Listing:
    with storage.open_input(root, block_bytes=_BLOCK_BYTES) as file:
        members = judged(
            tar_entries(file, shown),
            shown=shown,
            max_members=limits.max_members,
            max_file_bytes=limits.max_file_bytes,
        )
        return _listing(members)


def _listing(members: Iterable[Judged]) -> Listing:
    files, quarantined = [], []
    for entry, path, record in members:
        if record is None:
            files.append(SourceFile(path, entry.size_bytes, entry.offset))
        else:
            quarantined.append(record)
    return Listing(tuple(files), tuple(quarantined))


def _read_plain(uri: str, name: str, limits: Limits) -> bytes:
    if not storage.is_local(uri):
        data = storage.read_bytes(uri, at_most=limits.max_file_bytes + 1)
        if len(data) > limits.max_file_bytes:
            raise too_large(name, limits.max_file_bytes)
        return data
    try:
        with storage.open_input(uri) as stream:
            return read_within(stream, name, limits.max_file_bytes)
    except OSError as error:
        raise UnreadableImageError(f"{uri} cannot be read: {error.strerror or error}; check the disk") from None


def _read_range(root: str, file: SourceFile, limits: Limits) -> bytes:
    if file.offset < 0:
        raise UnreadableImageError(f"{file.path}: it is not in the listing of {root}; name a file that is")
    if file.size_bytes > limits.max_file_bytes:
        raise too_large(file.path, limits.max_file_bytes)
    try:
        return storage.read_range(root, file.offset, file.size_bytes)
    except StorageUnreachableError:
        raise
    except DataError as error:
        raise UnreadableImageError(f"{file.path}: {error}") from None


def _read_zipped(root: str, path: str, limits: Limits) -> bytes:
    reader = _zip_reader(root, limits)
    try:
        return reader.read(path)
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - each way of packing has its own errors for damaged bytes
        raise UnreadableImageError(
            f"{path}: it cannot be unpacked ({error}); expected a whole file; pack it again"
        ) from None


def _zip_reader(root: str, limits: Limits) -> ZipReader:
    """The archive, opened once in this process; a local one is opened again when it has changed."""
    # To ask a server before each member would cost more than to read it; it refuses to read a replaced archive itself.
    version = storage.file_state(root).version if storage.is_local(root) else ""
    return _open_zip(root, limits, version, os.getpid())


@lru_cache(maxsize=4)
def _open_zip(root: str, limits: Limits, version: str, process: int) -> ZipReader:
    del version, process  # they are part of the key; with a parent process an open file would share its position
    file = storage.open_input(root, block_bytes=_BLOCK_BYTES)
    return ZipReader(file, root, max_members=limits.max_members, max_file_bytes=limits.max_file_bytes)
