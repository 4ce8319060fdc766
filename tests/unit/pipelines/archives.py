"""Archives and folders of the same files, and the parts that archives are made of."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from pipelines.containers import Limits, list_container, prepared, read_file

Files = dict[str, bytes]
LIMITS = Limits(max_file_bytes=1_000_000, max_unpacked_bytes=3_000_000)
GOOD = ("good/1.png", b"whole")
BLOCK = tarfile.BLOCKSIZE
END = b"\0" * (2 * BLOCK)
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    ".tar.gz": gzip.compress,
    ".tgz": gzip.compress,
    ".tar.bz2": bz2.compress,
    ".tar.xz": lzma.compress,
    ".tar.zst": lambda data: pa.compress(data, "zstd", asbytes=True),
}


def tarred(files: Files, form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def write_folder(path: Path, files: Files) -> str:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return str(path)


def write(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def every_container(folder: Path, files: Files) -> Iterator[str]:
    """The same files, packed in every way."""
    yield write_folder(folder / "tree", files)
    for packing in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        yield write(folder / f"{packing}.zip", zipped(*files.items(), packing=packing))
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        yield write(folder / f"{form}.tar", tarred(files, form))
    for ending, compress in COMPRESSORS.items():
        yield write(folder / f"packed{ending}", compress(tarred(files)))


def contents(root: str, scratch: str, limits: Limits = LIMITS) -> Files:
    readable = prepared(root, scratch, limits)
    return {file.path: read_file(readable, file, limits) for file in list_container(readable, limits).files}


def everything_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_dir()}


@contextmanager
def peak_below(num_bytes: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < num_bytes


# ---- parts of zip archives ----


def zipped(*members: tuple[str | zipfile.ZipInfo, bytes], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", packing) as archive:
        warnings.simplefilter("ignore", UserWarning)  # duplicate names are meant
        for name, data in members:
            archive.writestr(name, data, packing)
    return buffer.getvalue()


def zip_info(name: str, *, kind: int = 0, system: int = 3) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = system
    info.external_attr = (kind | 0o777) << 16
    return info


def in_directory(data: bytes, number: int, offset: int, layout: str, *values: int) -> bytes:
    """Change what a zip archive's directory says of its member `number`."""
    place = -1
    for _ in range(number + 1):
        place = data.index(b"PK\x01\x02", place + 1)
    changed = bytearray(data)
    struct.pack_into(layout, changed, place + offset, *values)
    return bytes(changed)


FLAGS, METHOD, PACKED_SIZE, SIZE, NAME_LENGTH, HEADER_AT = 8, 10, 20, 24, 28, 42


# ---- parts of tar archives ----


def header(name: str = "bad.png", size: int = 0, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A header block that says so, whether or not it is true."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)[-BLOCK:]


def sealed(block: bytes) -> bytes:
    """A header block with its checksum made right."""
    total = 256 + sum(block[:148]) + sum(block[156:])
    return block[:148] + b"%06o\0 " % total + block[156:]


def padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % BLOCK)


def member(name: str, data: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    return header(name, len(data), kind) + padded(data)


def pax(records: Iterable[tuple[str, bytes]], kind: bytes = tarfile.XHDTYPE) -> bytes:
    body = b""
    for key, value in records:
        rest = b" " + key.encode() + b"=" + value + b"\n"
        length = len(rest) + 1
        while len(str(length)) + len(rest) != length:
            length = len(str(length)) + len(rest)
        body += str(length).encode() + rest
    return member("pax", body, kind)


FIRST = member(*GOOD)
