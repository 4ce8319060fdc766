"""A URI -> a file system; files that appear under their final name only when they are whole."""

from __future__ import annotations

import os
import posixpath
import secrets
from typing import Any

import fsspec

from rddm.errors import DataError


def filesystem(uri: str) -> tuple[Any, str]:
    """The fsspec file system of a URI, and the path in it.

    Local paths, `file://` and `s3://` (endpoint, region and credentials from the standard AWS environment).

    Raises:
        DataError: The scheme is unknown, or its package is not installed.
    """
    try:
        fs, path = fsspec.core.url_to_fs(uri)
    except (ValueError, ImportError) as error:
        raise DataError(f"{uri}: {error}; expected a local path or s3://BUCKET/PREFIX") from None
    return fs, str(path)


def join(uri: str, *parts: str) -> str:
    """A URI below another."""
    return posixpath.join(uri, *parts)


def exists(uri: str) -> bool:
    """Whether a file, or anything below a prefix, is there."""
    fs, path = filesystem(uri)
    return bool(fs.exists(path))


def read_bytes(uri: str) -> bytes:
    """A whole file.

    Raises:
        DataError: It cannot be read.
    """
    fs, path = filesystem(uri)
    _require_file(fs, path, uri)
    try:
        data: bytes = fs.cat_file(path)
    except OSError as error:
        raise DataError(f"{uri} cannot be read: {error.strerror or error}") from None
    return data


def publish_bytes(uri: str, data: bytes, *, overwrite: bool = False) -> None:
    """Write a file that is whole as soon as its name exists: temporary name and rename, or one S3 PUT.

    Raises:
        DataError: The name exists and `overwrite` is not set, or it cannot be written.
    """
    fs, path = filesystem(uri)
    if not overwrite and fs.exists(path):
        raise DataError(f"{uri} exists already; nothing is overwritten, choose another place or remove it")
    try:
        if _is_local(fs):
            _rename_into_place(path, data)
        else:
            fs.pipe_file(path, data)
    except OSError as error:
        raise DataError(f"{uri} cannot be written: {error.strerror or error}. Nothing stands under its name.") from None


def publish_file(path: os.PathLike[str], uri: str) -> None:
    """Put a finished local file under a new name elsewhere: copy and rename, or an S3 upload.

    Raises:
        DataError: It cannot be written.
    """
    fs, target = filesystem(uri)
    temporary = f"{target}.{secrets.token_hex(4)}.tmp" if _is_local(fs) else target
    try:
        if _is_local(fs):
            make_parent(target)
        fs.put_file(os.fspath(path), temporary)
        if temporary != target:
            os.replace(temporary, target)
    except OSError as error:
        if temporary != target and os.path.exists(temporary):
            os.remove(temporary)
        raise DataError(f"{uri} cannot be written: {error.strerror or error}. Nothing stands under its name.") from None


def open_input(uri: str) -> Any:
    """A binary file that can be read at any position.

    Raises:
        DataError: It cannot be opened.
    """
    fs, path = filesystem(uri)
    _require_file(fs, path, uri)
    try:
        return fs.open(path, "rb")
    except OSError as error:
        raise DataError(f"{uri} cannot be read: {error.strerror or error}") from None


def list_files(uri: str) -> list[str]:
    """Paths of all files below a folder or prefix, relative to it, sorted; a single file gives its own name.

    Raises:
        DataError: There is nothing there.
    """
    fs, path = filesystem(uri)
    if not fs.exists(path):
        raise DataError(f"{uri} does not exist; give an existing folder, archive or s3:// prefix")
    if fs.isfile(path):
        return [posixpath.basename(path)]
    root = path.rstrip("/")
    return sorted(posixpath.relpath(found, root) for found in fs.find(root))


def remove(uri: str) -> None:
    """Remove a file or everything below a prefix; used for our own staging only."""
    fs, path = filesystem(uri)
    if fs.exists(path):
        fs.rm(path, recursive=True)


def make_parent(path: str) -> None:
    """Create the folder of a local file."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)


def _is_local(fs: Any) -> bool:
    protocols = fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,)
    return "file" in protocols


def _require_file(fs: Any, path: str, uri: str) -> None:
    """A pipe or a device would be waited for without end."""
    if _is_local(fs) and os.path.exists(path) and not os.path.isfile(path):
        raise DataError(f"{uri} is a folder, a pipe or a device; expected a file")


def _rename_into_place(path: str, data: bytes) -> None:
    make_parent(path)
    temporary = f"{path}.{secrets.token_hex(4)}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise
