"""What an archive says of its members, and the rules that each of them is held to before it is opened."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from pipelines.manifest import Quarantined, set_misnamed_aside
from rddm.errors import DataError, UnreadableImageError

CHUNK_BYTES = 1 << 20
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What ends a line, moves a terminal's cursor, or makes letters change places."""

Fault = tuple[str, str]
"""What was found, and what was expected."""


class Entry(NamedTuple):
    """A member as its archive describes it; nothing of this is believed yet.

    Attributes:
        name: Its name as it is stored.
        size_bytes: Its size as the archive says.
        offset: Where its bytes begin in the archive, or -1.
        fault: What is wrong with it in the eyes of its format's reader.
        about_archive: Whether the fault is the archive's own.
    """

    name: str
    size_bytes: int = 0
    offset: int = -1
    fault: Fault | None = None
    about_archive: bool = False


class Judged(NamedTuple):
    """An entry, and either the path that it is known by or why it is set aside."""

    entry: Entry
    path: str
    record: Quarantined | None


def judged(entries: Iterable[Entry], *, shown: str, max_members: int, max_file_bytes: int) -> Iterator[Judged]:
    """Hold an archive's entries to the rules, one after the other; of equal names the first that is good counts.

    Args:
        entries: Members in the archive's order.
        shown: What the archive is called.
        max_members: Entries above which the archive is refused.
        max_file_bytes: Claimed size above which a member is set aside.

    Raises:
        DataError: There are more than `max_members`.
    """
    seen: set[str] = set()
    for number, entry in enumerate(entries, 1):
        require_count(number, shown, max_members)
        if entry.about_archive and entry.fault:
            yield Judged(entry, "", _record(shown, entry.fault))
            continue
        folded = _folded(entry.name)
        record = _first_fault(entry, folded, seen, max_file_bytes)
        if record is None:
            seen.add(folded)
        yield Judged(entry, posixpath.normpath(entry.name), record)


def require_count(found: int, shown: str, max_members: int) -> None:
    """Refuse a container of too many files.

    Raises:
        DataError: There are more than `max_members`.
    """
    if found > max_members:
        raise DataError(f"{shown} has {found} members or more, at most {max_members} are taken (max_members); split it")


def name_fault(name: str) -> Fault | None:
    """What is wrong with a member's name, or None: it must be relative, printable and below its archive."""
    if posixpath.normpath(name) == ".":
        return "it has no name", "a name"
    if fault := unprintable(name):
        return fault
    if name.startswith(("/", "\\")) or ":" in name.split("/", 1)[0] or ".." in name.replace("\\", "/").split("/"):
        return "its name leads out of the archive", "a relative name without '..'"
    if "::" in name:
        return "its name holds '::', which joins the parts of a URI", "a name without it"
    return None


def unprintable(name: str) -> Fault | None:
    """What is wrong with a name that would not stand as it is in a table, on a terminal or in a line, or None."""
    found = not name.isprintable() and _CONTROL.search(name)
    return ("its name holds control characters", "a printable name") if found else None


def printable(name: str) -> str:
    """A name as a person can read it, and as it can do no harm."""
    return repr(name)[1:-1] if _CONTROL.search(name) else name.encode("utf-8", "backslashreplace").decode()


def size_fault(size_bytes: int, max_file_bytes: int) -> Fault | None:
    """What is wrong with a claimed size, or None."""
    if size_bytes > max_file_bytes:
        return f"it claims {size_bytes} bytes", f"at most {max_file_bytes} bytes a file"
    return None


def read_within(file: Any, name: str, limit: int) -> bytes:
    """The rest of a stream, counted while it is read.

    Raises:
        UnreadableImageError: There are more than `limit` bytes.
    """
    chunks, total = [], 0
    while chunk := file.read(CHUNK_BYTES):
        total += len(chunk)
        if total > limit:
            raise too_large(name, limit)
        chunks.append(chunk)
    return b"".join(chunks)


def too_large(name: str, limit: int) -> UnreadableImageError:
    """The error for a file that is larger than it may be, whatever its archive says."""
    return UnreadableImageError(f"{name}: it has more than {limit} bytes, the most that a file may have; leave it out")


def _first_fault(entry: Entry, folded: str, seen: set[str], max_file_bytes: int) -> Quarantined | None:
    _, misnamed = set_misnamed_aside([entry.name])
    if misnamed:
        return replace(misnamed[0], name=printable(entry.name))
    fault = name_fault(entry.name) or entry.fault
    if fault is None and folded in seen:
        fault = "an earlier member has the same name", "names that differ"
    fault = fault or size_fault(entry.size_bytes, max_file_bytes)
    return fault and _record(printable(entry.name), fault)


def _record(name: str, fault: Fault) -> Quarantined:
    return Quarantined(name=name, found=fault[0], expected=fault[1], remedy="pack it again")


def _folded(name: str) -> str:
    """What names become on file systems that tell neither case nor ways of writing an accent apart."""
    return unicodedata.normalize("NFC", posixpath.normpath(name.replace("\\", "/")).casefold())
