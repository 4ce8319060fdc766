"""Files of this machine."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, BinaryIO

from fsspec.implementations.local import LocalFileSystem

from pipelines.storage.places import Action, Entries, FileState, Irregular
from rddm.errors import DataError

_COPY_BYTES = 1 << 20
_NO_FOLDER = "a file stands where its folder should be; choose another place"
_SAYINGS = {
    errno.ENOENT: "it does not exist; check the name",
    errno.ENOSPC: "the disk is full; free some space or choose another place",
    errno.EDQUOT: "the quota of disk space is used up; free some space or choose another place",
    errno.EROFS: "the disk is read-only; choose another place",
    errno.EACCES: "permission is denied; change its rights or choose another place",
    errno.EPERM: "it is not permitted; change its rights or choose another place",
    errno.EISDIR: "it is a folder; give a file",
    errno.ENOTDIR: _NO_FOLDER,
    errno.EEXIST: _NO_FOLDER,
}
_KINDS = {
    stat.S_IFIFO: "it is a named pipe",
    stat.S_IFSOCK: "it is a socket",
    stat.S_IFBLK: "it is a block device",
    stat.S_IFCHR: "it is a character device",
}


@dataclass(frozen=True, slots=True)
class LocalPlace:
    """A path of this machine, as the user wrote it."""

    uri: str

    @property
    def fs(self) -> Any:
        """The fsspec file system."""
        return LocalFileSystem()

    @property
    def path(self) -> str:
        """The absolute path; `~` is the home folder."""
        path = os.path.join(os.getcwd(), os.path.expanduser(self.uri.removeprefix("file://")))
        return path.rstrip("/") or "/"

    def exists(self, action: Action = "read") -> bool:
        """Whether it exists; a link to nothing does not."""
        del action
        return os.path.exists(self.path)

    def state(self) -> FileState:
        """Size and version of a file."""
        with explained(self.uri, "read"):
            self._require_file()
            found = os.stat(self.path)
        return FileState(found.st_size, f"{found.st_mtime_ns}-{found.st_ino}")

    def scan(self) -> Entries:
        """All files below; folders that links lead to are not entered."""
        with explained(self.uri, "listed"):
            if os.path.isdir(self.path):
                return _walk(self.path)
            self._require_file()
            return Entries([(os.path.basename(self.path), os.path.getsize(self.path))], [])

    def read(self, at_most: int | None) -> bytes:
        """A whole file, or its first bytes."""
        with explained(self.uri, "read"), self._open() as file:
            return file.read(-1 if at_most is None else at_most)

    def read_range(self, offset: int, length: int) -> bytes:
        """As many bytes as there are, `length` at most."""
        with explained(self.uri, "read"), self._open() as file:
            file.seek(offset)
            return file.read(length)

    def open_input(self, block_bytes: int) -> BinaryIO:
        """A binary file; the operating system reads ahead."""
        del block_bytes
        with explained(self.uri, "read"):
            return self._open()

    @contextmanager
    def open_output(self) -> Iterator[BinaryIO]:
        """A binary file to write under a temporary name, which is renamed when it is whole."""
        with explained(self.uri, "written"), whole_file(self.path) as file:
            yield file

    def write(self, data: bytes) -> None:
        """Write under a temporary name, then rename."""
        with self.open_output() as file:
            file.write(data)

    def upload(self, path: os.PathLike[str]) -> None:
        """Copy a file of this machine."""
        _copy(os.fspath(path), LocalPlace(os.fspath(path)), self)

    def download(self, path: str) -> None:
        """Copy to another file of this machine."""
        _copy(self.uri, self, LocalPlace(path))

    def remove(self) -> None:
        """Remove a file or link, or a folder with everything in it."""
        with explained(self.uri, "removed"):
            if os.path.isdir(self.path) and not os.path.islink(self.path):
                shutil.rmtree(self.path)
            elif os.path.lexists(self.path):
                os.remove(self.path)

    def _open(self) -> BinaryIO:
        self._require_file()
        return open(self.path, "rb")

    def _require_file(self) -> None:
        """A pipe or a device would be waited for without end."""
        if not stat.S_ISREG(os.stat(self.path).st_mode):
            raise DataError(f"{self.uri} is a folder, a pipe or a device; expected a file")


@contextmanager
def explained(uri: str, action: Action) -> Iterator[None]:
    """Say what an error of the operating system means.

    Raises:
        DataError: There was one.
    """
    try:
        yield
    except OSError as error:
        saying = _SAYINGS.get(error.errno or 0) or f"{error.strerror or error}; check the disk"
        if action == "listed" and error.errno == errno.ENOENT:
            raise DataError(f"{uri} does not exist; give an existing folder, archive or s3:// prefix") from None
        end = ". Nothing stands under its name." if action == "written" else ""
        raise DataError(f"{uri} cannot be {action}: {saying}{end}") from None


@contextmanager
def whole_file(path: str) -> Iterator[BinaryIO]:
    """A file to write that gets its name when the block ends; after an error nothing is left."""
    make_parent(path)
    temporary = os.path.join(os.path.dirname(path), f".{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.remove(temporary)
        raise


def make_parent(path: str) -> None:
    """Create the folder of a local file."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)


def _copy(shown: str, source: LocalPlace, target: LocalPlace) -> None:
    with source.open_input(0) as reader, target.open_output() as writer:
        expected = os.fstat(reader.fileno()).st_size
        shutil.copyfileobj(reader, writer, _COPY_BYTES)
        if writer.tell() != expected:
            raise DataError(f"{shown} changed while it was copied: {writer.tell()} bytes of {expected}; copy it again")


def _walk(root: str) -> Entries:
    """Folder by folder, without a call per folder on Python's stack and without a `stat` where the entry knows."""
    found = Entries([], [])
    bounds = _Bounds(root)
    folders = [(root, "")]
    while folders:
        folder, prefix = folders.pop()
        try:
            folders.extend(_enter(folder, prefix, bounds, found))
        except FileNotFoundError:  # it was removed meanwhile
            if not prefix:
                raise
        except OSError as error:
            if not prefix or error.errno not in {errno.EACCES, errno.EPERM, errno.ENAMETOOLONG}:
                raise
            fault = f"it is a folder that cannot be listed ({error.strerror})"
            found.irregular.append(Irregular(prefix.rstrip("/"), fault))
    return Entries(sorted(found.files), sorted(found.irregular))


def _enter(folder: str, prefix: str, bounds: _Bounds, found: Entries) -> Iterator[tuple[str, str]]:
    """Sort the entries of one folder; the folders in it, each with the prefix of its entries."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                yield entry.path, name + "/"
            elif fault := _fault(entry, bounds):
                found.irregular.append(Irregular(name, fault))
            else:
                try:
                    found.files.append((name, entry.stat().st_size))
                except FileNotFoundError:  # it was removed meanwhile
                    continue


def _fault(entry: os.DirEntry[str], bounds: _Bounds) -> str | None:
    """Why an entry that is no folder is not read; None for a file."""
    if entry.is_symlink():
        return bounds.fault_of_link(entry.path)
    if entry.is_file():
        return None
    return _KINDS.get(stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode), "it is no file")


class _Bounds:
    """The folder that links must not lead out of."""

    def __init__(self, root: str) -> None:
        # Many links lead to few folders; to follow each step of each would take most of the time.
        self._real = lru_cache(maxsize=1000)(os.path.realpath)
        self._root = os.path.realpath(root)

    def fault_of_link(self, path: str) -> str | None:
        """Why a link is not read; None for one to a file inside."""
        try:
            mode = os.stat(path).st_mode
        except OSError:
            return "it is a link to nothing"
        if os.path.commonpath([self._target(path), self._root]) != self._root:
            return "it is a link that leads out of the folder"
        # What lies inside is listed where it lies; entering it again could go round in circles.
        if stat.S_ISDIR(mode):
            return "it is a link to a folder"
        return None if stat.S_ISREG(mode) else "it is a link to a pipe or a device"

    def _target(self, path: str) -> str:
        target = os.path.join(os.path.dirname(path), os.readlink(path))
        folder, name = os.path.split(target)
        if name in {"", ".", ".."} or os.path.islink(target):
            return os.path.realpath(path)
        return os.path.join(self._real(folder), name)
