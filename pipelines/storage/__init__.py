"""A URI -> a file system; files that appear under their final name only when they are whole.

The one place where URIs meet storage. Local paths, `file://` and `s3://` are known. An S3 server, its region and the
credentials are found as every AWS tool finds them (`AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_PROFILE`, ...). A request
waits 10 s for a connection and 60 s for an answer, and is tried 5 times; `AWS_MAX_ATTEMPTS` and
`FSSPEC_S3='{"config_kwargs": {"read_timeout": 120}}'` change that.
"""

from __future__ import annotations

import os
import posixpath
import re
from contextlib import AbstractContextManager
from typing import Any

from pipelines.storage.local import LocalPlace, make_parent
from pipelines.storage.places import Entries, FileState, Irregular, Place
from rddm.errors import DataError

__all__ = [
    "Entries",
    "FileState",
    "Irregular",
    "download",
    "exists",
    "file_state",
    "filesystem",
    "is_local",
    "join",
    "list_entries",
    "list_files",
    "make_parent",
    "open_input",
    "open_output",
    "publish_bytes",
    "publish_file",
    "read_bytes",
    "read_range",
    "remove",
    "scan",
]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_READ_AHEAD_BYTES = 4 << 20


def filesystem(uri: str) -> tuple[Any, str]:
    """The fsspec file system of a URI, and the path in it.

    Raises:
        DataError: The scheme is not one of those known here.
    """
    place = _place(uri)
    return place.fs, place.path


def is_local(uri: str) -> bool:
    """Whether a URI names a path of this machine.

    Raises:
        DataError: The scheme is not one of those known here.
    """
    return isinstance(_place(uri), LocalPlace)


def join(uri: str, *parts: str) -> str:
    """A URI below another; a part that is an absolute path or a URI of its own stands for itself."""
    for part in parts:
        uri = part if _SCHEME.match(part) else posixpath.join(uri, part)
    return uri


def exists(uri: str) -> bool:
    """Whether a file, or anything below a prefix, is there.

    Raises:
        DataError: Storage does not tell.
    """
    return _place(uri).exists()


def file_state(uri: str) -> FileState:
    """Size and version of a file: another file under the same name has another version.

    Raises:
        DataError: It cannot be read.
    """
    return _place(uri).state()


def read_bytes(uri: str, *, at_most: int | None = None) -> bytes:
    """A whole file, or its first bytes.

    Args:
        uri: The file.
        at_most: Bytes after which no more are read, 1 or more.

    Raises:
        DataError: It cannot be read.
        ValueError: `at_most` is less than 1.
    """
    if at_most is not None and at_most < 1:
        raise ValueError(f"at most {at_most} bytes of {uri}; expected 1 or more")
    return _place(uri).read(at_most)


def read_range(uri: str, offset: int, length: int) -> bytes:
    """Exactly `length` bytes of a file, from byte `offset` on.

    Raises:
        DataError: It cannot be read, or ends before.
        ValueError: A number is negative.
    """
    if offset < 0 or length < 0:
        raise ValueError(f"bytes {offset} + {length} of {uri}; expected numbers that are not negative")
    data = _place(uri).read_range(offset, length)
    if len(data) != length:
        raise DataError(
            f"{uri} ends {length - len(data)} bytes before byte {offset + length}; it is cut short or another file, "
            "make it again"
        )
    return data


def open_input(uri: str, *, block_bytes: int = _READ_AHEAD_BYTES) -> Any:
    """A binary file that can be read at any position; what goes wrong later is a `DataError`, too, if it is remote.

    Args:
        uri: The file.
        block_bytes: How far a remote file is read ahead.

    Raises:
        DataError: It cannot be opened.
    """
    return _place(uri).open_input(block_bytes)


def open_output(uri: str) -> AbstractContextManager[Any]:
    """A binary file to write; it gets its name, or replaces what has it, when the `with` block ends without an error.

    Raises:
        DataError: It cannot be written; nothing is left of it.
    """
    return _place(uri).open_output()


def publish_bytes(uri: str, data: bytes, *, overwrite: bool = False) -> None:
    """Write a file that is whole as soon as its name exists: temporary name and rename, or one S3 PUT.

    Raises:
        DataError: The name exists and `overwrite` is not set, or it cannot be written.
    """
    place = _place(uri)
    if not overwrite and place.exists("written"):
        raise DataError(f"{uri} exists already; nothing is overwritten, choose another place or remove it")
    place.write(data)


def publish_file(path: os.PathLike[str], uri: str) -> None:
    """Put a finished local file under a new name elsewhere: copy and rename, or an S3 upload, and compare the sizes.

    Raises:
        DataError: It cannot be written.
    """
    _place(uri).upload(path)


def download(uri: str, path: str | os.PathLike[str]) -> None:
    """Make a local file of a file anywhere; it gets its name when it is whole, and replaces what has it.

    Raises:
        DataError: It cannot be read, changed meanwhile, or the local file cannot be written; nothing is left of it.
    """
    _place(uri).download(os.path.abspath(path))


def scan(uri: str) -> Entries:
    """All that lies below a folder or prefix, sorted: files with their sizes, and what is no file to be read.

    Links to files inside the folder count as files. Links to folders are not entered: what is inside the folder is
    listed where it lies, and what is outside is out of bounds. A single file gives its own name.

    Raises:
        DataError: There is nothing there, or it cannot be listed.
    """
    return _place(uri).scan()


def list_entries(uri: str) -> list[tuple[str, int]]:
    """Relative path and size in bytes of all files below a folder or prefix, sorted by path; see `scan`.

    Raises:
        DataError: There is nothing there, or it cannot be listed.
    """
    return scan(uri).files


def list_files(uri: str) -> list[str]:
    """Paths of all that lies below a folder or prefix, relative to it, sorted; links and pipes, too; see `scan`.

    Raises:
        DataError: There is nothing there, or it cannot be listed.
    """
    found = scan(uri)
    return sorted([*(path for path, _ in found.files), *(path for path, _ in found.irregular)])


def remove(uri: str) -> None:
    """Remove a file or everything below a prefix; used for our own staging only.

    Raises:
        DataError: It cannot be removed.
    """
    _place(uri).remove()


def _place(uri: str) -> Place:
    match = _SCHEME.match(uri)
    scheme = match[1].lower() if match else "file"
    if scheme == "file":
        return LocalPlace(uri)
    if scheme in {"s3", "s3a"}:
        return _s3_place(uri)
    if scheme in {"http", "https"}:
        raise DataError(f"{uri}: nothing is fetched over HTTP; download it, then give a local path or s3://BUCKET/KEY")
    raise DataError(f"{uri}: unknown scheme {scheme!r}; expected a local path, file:// or s3://BUCKET/PREFIX")


def _s3_place(uri: str) -> Place:
    from pipelines.storage.s3 import S3Place  # its packages take a second to import, which local work need not wait for

    place = S3Place(uri)
    if not place.bucket:
        raise DataError(f"{uri} names no bucket; expected s3://BUCKET/PREFIX")
    return place
