"""Compressed tar archives become one plain archive, or nothing."""

from __future__ import annotations

import gzip
import lzma
import os
import posixpath
import zlib
from pathlib import Path

import numpy as np
import pytest

from pipelines.containers import SourceFile, list_container, prepared, read_file
from rddm.errors import DataError
from tests.unit.pipelines.archives import (
    COMPRESSORS,
    FIRST,
    GOOD,
    LIMITS,
    contents,
    every_container,
    everything_below,
    header,
    peak_below,
    tarred,
    write,
)


def test_only_compressed_tar_archives_are_prepared(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    for root in every_container(tmp_path, dict([GOOD])):
        readable = prepared(root, str(scratch), LIMITS)
        assert (readable == root) == (not root.endswith(tuple(COMPRESSORS)))
        if readable != root:
            assert posixpath.dirname(readable) == str(scratch)
            with pytest.raises(ValueError, match="call prepared"):
                list_container(root, LIMITS)
            with pytest.raises(ValueError, match="call prepared"):
                read_file(root, SourceFile("a.png"), LIMITS)
    assert len(everything_below(scratch)) == len(COMPRESSORS)


def test_an_archive_is_unpacked_once_and_again_when_it_changed(tmp_path: Path) -> None:
    root, scratch = tmp_path / "x.tgz", str(tmp_path / "scratch")
    first = prepared(write(root, gzip.compress(tarred({"a.png": b"one"}))), scratch, LIMITS)
    unpacked_at = os.stat(first).st_mtime_ns
    assert prepared(str(root), scratch, LIMITS) == first
    assert os.stat(first).st_mtime_ns == unpacked_at
    write(root, gzip.compress(tarred({"a.png": b"other"})))
    assert contents(str(root), scratch) == {"a.png": b"other"}


@pytest.mark.parametrize("ending", COMPRESSORS)
def test_compressed_bombs_leave_nothing_behind(ending: str, tmp_path: Path) -> None:
    root = write(tmp_path / f"x{ending}", COMPRESSORS[ending](header(size=40_000_000) + bytes(40_000_000)))
    with peak_below(12_000_000), pytest.raises(DataError, match=r"more than 3000000 bytes \(max_unpacked_bytes\)"):
        prepared(root, str(tmp_path / "scratch"), LIMITS)
    assert everything_below(tmp_path) == {Path(root)}


@pytest.mark.parametrize("ending", COMPRESSORS)
def test_damaged_streams_leave_nothing_behind(ending: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(200_000)
    whole = COMPRESSORS[ending](tarred({"a.png": noise}))
    middle = len(whole) // 2
    broken = [b"", whole[:middle], whole[:-3], b"no archive" * 9, b"\0\0\0" + whole[5:], whole + b"rubbish"]
    if ending != ".tar.zst":  # pyarrow writes it without a checksum
        broken.append(whole[:middle] + bytes(4) + whole[middle + 4 :])
    for data in broken:
        root = write(tmp_path / f"x{ending}", data)
        with pytest.raises(DataError, match="cannot be unpacked"):
            prepared(root, str(tmp_path / "scratch"), LIMITS)
        assert everything_below(tmp_path) == {Path(root)}


@pytest.mark.parametrize("ending", COMPRESSORS)
def test_streams_that_were_joined_are_read_to_their_end(ending: str, tmp_path: Path) -> None:
    plain = tarred({"a.png": b"1" * 9000})
    data = b"".join(COMPRESSORS[ending](piece) for piece in (plain[:5000], plain[5000:]))
    padding = bytes(8) if ending == ".tar.xz" else b""
    assert contents(write(tmp_path / f"x{ending}", data + padding), str(tmp_path)) == {"a.png": b"1" * 9000}


def test_an_xz_header_that_asks_for_gigabytes_is_refused(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 20}]
    data = lzma.compress(tarred(dict([GOOD])), filters=filters)
    body = bytearray(data)
    place = body.index(b"\x21\x01", 12) + 2  # LZMA2, one byte of properties: the size of the dictionary
    body[place] = 39  # 3 GiB
    start, length = 12, (body[12] + 1) * 4
    body[start + length - 4 : start + length] = zlib.crc32(bytes(body[start : start + length - 4])).to_bytes(
        4, "little"
    )
    with pytest.raises(DataError, match=r"cannot be unpacked .*[Mm]emory"):
        prepared(write(tmp_path / "x.tar.xz", bytes(body)), str(tmp_path / "scratch"), LIMITS)


def test_records_name_the_archive_that_people_know(tmp_path: Path) -> None:
    root = write(tmp_path / "x.tgz", gzip.compress(FIRST + header()[:100]))
    readable = prepared(root, str(tmp_path / "scratch"), LIMITS)
    (record,) = list_container(readable, LIMITS, shown=root).quarantined
    assert record.name == root
