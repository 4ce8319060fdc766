"""Archives that mean harm, or were damaged on the way."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from collections.abc import Callable

from tests.unit.pipelines.archives import (
    BLOCK,
    END,
    FIRST,
    FLAGS,
    GOOD,
    HEADER_AT,
    METHOD,
    NAME_LENGTH,
    PACKED_SIZE,
    SIZE,
    header,
    in_directory,
    member,
    padded,
    pax,
    sealed,
    zip_info,
    zipped,
)

# ---- zip ----


def second(name: str | zipfile.ZipInfo, data: bytes = b"x") -> bytes:
    return zipped(GOOD, (name, data))


def overlapping() -> bytes:
    """Both entries of the directory point at the same bytes."""
    return in_directory(second("b.png"), 1, HEADER_AT, "<I", 0)


def quoted() -> bytes:
    """The first member's bytes go on over the second one's header: each file unpacks all that follow it."""
    data = zipped(("good/1.png", b"whole"), ("b.png", b"x"), packing=zipfile.ZIP_STORED)
    return in_directory(data, 0, PACKED_SIZE, "<II", 45, 45)


HOSTILE_ZIPS: dict[str, tuple[Callable[[], bytes], str]] = {
    "absolute": (lambda: second("/etc/passwd"), "leads out"),
    "above": (lambda: second("../up.png"), "leads out"),
    "above, later": (lambda: second("a/b/../../../up.png"), "leads out"),
    "above, with backslashes": (lambda: second("..\\up.png"), "leads out"),
    "drive": (lambda: second("C:/x.png"), "leads out"),
    "scheme": (lambda: second("s3://bucket/x.png"), "leads out"),
    "chained URI": (lambda: second("a/b.png::file:///etc/passwd"), "'::'"),
    "line feed": (lambda: second("a\nb.png"), "control characters"),
    "terminal escape": (lambda: second("a\x1b[2Jb.png"), "control characters"),
    "C1 control": (lambda: second("a\x9bb.png"), "control characters"),
    "NUL": (lambda: second("evilX.png").replace(b"evilX", b"evil\0"), "control characters"),
    "nameless": (lambda: second("."), "no name"),
    "empty name": (lambda: in_directory(second("e.png"), 1, NAME_LENGTH, "<HHH", 0, 0, 5), "no name"),
    "same name": (lambda: second("good/1.png"), "same name"),
    "same name but for case": (lambda: second("GOOD/1.png"), "same name"),
    "same name, written differently": (lambda: second("good/./1.png"), "same name"),
    "same name with a backslash": (lambda: second("good\\1.png"), "same name"),
    "symbolic link": (lambda: second(zip_info("l.png", kind=stat.S_IFLNK), b"/etc/passwd"), "link or a device"),
    "device": (lambda: second(zip_info("d.png", kind=stat.S_IFBLK)), "link or a device"),
    "pipe": (lambda: second(zip_info("p.png", kind=stat.S_IFIFO)), "link or a device"),
    "encrypted": (lambda: in_directory(second("e.png"), 1, FLAGS, "<H", 1), "encrypted"),
    "unknown method": (lambda: in_directory(second("m.png"), 1, METHOD, "<H", 97), "method 97"),
    "claims too much": (lambda: in_directory(second("c.png"), 1, SIZE, "<I", 2_000_000), "claims 2000000 bytes"),
    "claims more than there is": (
        lambda: in_directory(second("c.png"), 1, PACKED_SIZE, "<I", 900),
        "claims 900 packed bytes",
    ),
    "overlapping": (overlapping, "shares bytes"),
    "quoted": (quoted, "shares bytes"),
}


# ---- tar ----


def with_header(block: bytes, data: bytes = b"") -> bytes:
    return FIRST + block + padded(data) + END


def sparse() -> bytes:
    """A sparse file in GNU's old form whose map goes on in a block of its own; a whole member follows it."""
    block = bytearray(header("s.png", 3, tarfile.GNUTYPE_SPARSE))
    block[482] = 1
    return FIRST + sealed(bytes(block)) + b"\0" * BLOCK + padded(b"abc") + END


def claims(size_field: bytes) -> bytes:
    return sealed(header()[:124] + size_field + header()[136:])


HOSTILE_TARS: dict[str, tuple[Callable[[], bytes], str]] = {
    "absolute": (lambda: with_header(header("/etc/passwd")), "leads out"),
    "above": (lambda: with_header(header("../up.png")), "leads out"),
    "above, from an extended header": (lambda: with_header(pax([("path", b"a/../../up.png")]) + header()), "leads out"),
    "above, from a long name": (
        lambda: with_header(member("L", b"../" * 60 + b"up.png\0", tarfile.GNUTYPE_LONGNAME) + header()),
        "leads out",
    ),
    "drive": (lambda: with_header(header("C:\\x.png")), "leads out"),
    "line feed": (lambda: with_header(header("a\nb.png")), "control characters"),
    "NUL": (lambda: with_header(pax([("path", b"a.png\0.txt")]) + header()), "control characters"),
    "nameless": (lambda: with_header(header("./.")), "no name"),
    "not UTF-8": (lambda: with_header(pax([("path", b"\xff.png")]) + header()), "not UTF-8"),
    "same name": (lambda: with_header(header("good/1.png")), "same name"),
    "same name but for case": (lambda: with_header(header("Good/1.PNG")), "same name"),
    "same name, written differently": (lambda: with_header(header("./good//1.png")), "same name"),
    "symbolic link": (lambda: with_header(header(kind=tarfile.SYMTYPE)), "a link"),
    "hard link": (lambda: with_header(header(kind=tarfile.LNKTYPE)), "a link"),
    "character device": (lambda: with_header(header(kind=tarfile.CHRTYPE)), "device or a pipe"),
    "block device": (lambda: with_header(header(kind=tarfile.BLKTYPE)), "device or a pipe"),
    "pipe": (lambda: with_header(header(kind=tarfile.FIFOTYPE)), "device or a pipe"),
    "link that claims bytes": (lambda: with_header(header(size=10**9, kind=tarfile.SYMTYPE)), "a link"),
    "sparse": (sparse, "sparse"),
    "sparse by an extended header": (
        lambda: with_header(pax([("GNU.sparse.realsize", b"9999999999")]) + header()),
        "sparse",
    ),
    "unknown type": (lambda: with_header(header(kind=b"Z")), "unknown type"),
    "two sizes": (lambda: with_header(pax([("size", b"512")]) + header(size=4), b"\0" * BLOCK), "two sizes"),
    "claims too much": (lambda: FIRST + member("b.png", b"\0" * 1_500_000) + END, "claims 1500000 bytes"),
    "claims more than there is": (lambda: with_header(header(size=10**10)), "are left of the archive"),
    "claims more than there is, extended": (
        lambda: with_header(pax([("size", b"9" * 19)]) + header()),
        "are left of the archive",
    ),
    "cut in a file": (lambda: FIRST + member("b.png", b"\0" * 600)[:-600], "are left of the archive"),
    "cut in a header": (lambda: FIRST + header()[:100], "header that is cut short"),
    "cut in an extended header": (lambda: FIRST + pax([("path", b"a" * 600)])[: BLOCK + 9], "cut short"),
    "cut behind an extended header": (lambda: FIRST + pax([("path", b"a.png")]) + END, "without a member"),
    "cut between members": (lambda: FIRST, "no end mark"),
    "cut in a sparse file's map": (lambda: sparse()[: 3 * BLOCK], "map that is cut short"),
    "damaged header": (lambda: with_header(b"X" + header()[1:]), "damaged header"),
    "negative size": (lambda: with_header(claims(b"\xff" * 11 + b"\x00")), "claims -256 bytes"),
    "size that is no number": (lambda: with_header(claims(b"0000000000x\0")), "damaged header"),
    "huge extended header": (
        lambda: with_header(header(size=3 << 20, kind=tarfile.XHDTYPE), b"\0" * (3 << 20)),
        "extended header of 3145728 bytes",
    ),
    "huge long name": (
        lambda: with_header(header(size=3 << 20, kind=tarfile.GNUTYPE_LONGNAME), b"a" * (3 << 20)),
        "extended header of 3145728 bytes",
    ),
    "extended header without an end": (
        lambda: with_header(member("pax", b"99 path=a.png\n", tarfile.XHDTYPE) + header()),
        "damaged extended header",
    ),
    "extended header of length 0": (
        lambda: with_header(member("pax", b"0 path=a.png\n", tarfile.XHDTYPE) + header()),
        "damaged extended header",
    ),
    "extended size that is no number": (
        lambda: with_header(pax([("size", b"-512")]) + header()),
        "damaged extended header",
    ),
    "a chain of extended headers": (
        lambda: with_header(header("L", 0, tarfile.GNUTYPE_LONGNAME) * 5000 + header("../up.png")),
        "no name",
    ),
    "a second archive behind the first": (lambda: FIRST + END + member("b.png", b"2") + END, "behind its end mark"),
}
