"""The members of an archive or folder that is restored: its container's files, in the container's order."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.archive_config import ArchiveConfig
from pipelines.containers import Limits, SourceFile, container_kind, list_container, read_file
from pipelines.manifest import Quarantined
from rddm.errors import DataError, EmptyDatasetError


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
    if container_kind(input_uri) == "tar":
        raise DataError(f"{input_uri} is a tar archive; expected a zip archive or a folder, unpack it or pack it again")
    found = list_container(input_uri, _limits(config), in_order=True)
    if not found.files and not found.quarantined:
        raise EmptyDatasetError(f"{input_uri} is empty; expected a zip archive or a folder of pictures")
    members = (Member(name=file.path, index=index) for index, file in enumerate(found.files))
    return Listing(tuple(members), found.quarantined)


def read_member(input_uri: str, member: Member, config: ArchiveConfig) -> bytes:
    """The bytes of one member, counted while they are unpacked: what the archive says of its size is not believed.

    Raises:
        DataError: It cannot be opened, is larger than `max_member_bytes`, or damaged.
    """
    return read_file(input_uri, SourceFile(member.name), _limits(config))


def is_zip(uri: str) -> bool:
    """Whether a URI names a zip archive, by its ending."""
    return container_kind(uri) == "zip"


def _limits(config: ArchiveConfig) -> Limits:
    return Limits(max_members=config.max_members, max_file_bytes=config.max_member_bytes)
