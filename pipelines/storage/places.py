"""What every kind of storage can do, and the records that it answers with."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

Action = Literal["read", "written", "listed", "removed"]


class Irregular(NamedTuple):
    """Something below a folder that is no file to be read.

    Attributes:
        path: Relative to the folder.
        found: What it is, as a clause: `it is a named pipe`.
    """

    path: str
    found: str


@dataclass(frozen=True, slots=True)
class Entries:
    """Everything below a folder or prefix, sorted by path.

    Attributes:
        files: Path relative to the folder, and size in bytes.
        irregular: What is left out of `files`, and why.
    """

    files: list[tuple[str, int]]
    irregular: list[Irregular]


class FileState(NamedTuple):
    """What a file is now.

    Attributes:
        size_bytes: Its size.
        version: Text that differs as soon as another file has its name.
    """

    size_bytes: int
    version: str


class Place(Protocol):
    """A URI in one kind of storage. What goes wrong is told as a `DataError`."""

    @property
    def fs(self) -> Any:
        """The fsspec file system."""

    @property
    def path(self) -> str:
        """The path in it."""

    def exists(self, action: Action = "read") -> bool:
        """Whether a file, or anything below it, is there."""

    def state(self) -> FileState:
        """Size and version of a file."""

    def scan(self) -> Entries:
        """All files below."""

    def read(self, at_most: int | None) -> bytes:
        """A whole file, or its first bytes."""

    def read_range(self, offset: int, length: int) -> bytes:
        """As many bytes as there are from an offset on, `length` at most."""

    def open_input(self, block_bytes: int) -> Any:
        """A binary file to read at any position."""

    def open_output(self) -> AbstractContextManager[Any]:
        """A binary file to write, which gets its name when the block ends without an error."""

    def write(self, data: bytes) -> None:
        """A file that is whole as soon as its name exists."""

    def upload(self, path: os.PathLike[str]) -> None:
        """The content of a local file."""

    def download(self, path: str) -> None:
        """A local file with its content."""

    def remove(self) -> None:
        """Remove it and everything below."""
