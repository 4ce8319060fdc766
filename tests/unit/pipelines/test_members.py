from __future__ import annotations

import os
import stat
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pipelines.archive_config import ArchiveConfig
from pipelines.members import Member, list_members, read_member
from rddm.errors import DataError, EmptyDatasetError, UnreadableImageError


def zipped(path: Path, members: list[tuple[str | zipfile.ZipInfo, bytes]]) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return str(path)


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_names_are_set_aside_and_the_rest_is_listed(tmp_path: Path) -> None:
    hostile = {
        "/etc/passwd": "leads out",
        "../up.png": "leads out",
        "a/../../up.png": "leads out",
        "..\\up.png": "leads out",
        "C:/x.png": "leads out",
        "tab\t.png": "control characters",
    }
    members: list[tuple[str | zipfile.ZipInfo, bytes]] = [("good/1.png", b"1"), *((name, b"") for name in hostile)]
    members += [(link("link.png"), b"/etc/passwd"), ("good/1.png", b"2"), ("GOOD/1.png", b"3"), ("good/", b"")]
    listing = list_members(zipped(tmp_path / "a.zip", members), ArchiveConfig())
    assert [member.name for member in listing.members] == ["good/1.png"]
    reasons = {record.name: record.found for record in listing.quarantined}
    for name, reason in hostile.items():
        assert reason in reasons[name.replace("\t", "\\t")], "shown as it is, control characters apart"
    assert "link" in reasons["link.png"]
    assert "same name" in reasons["good/1.png"]
    assert "same name" in reasons["GOOD/1.png"]


def test_a_nul_in_a_name_hides_nothing(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", [("evilX.png", b"1")])
    data = Path(path).read_bytes().replace(b"evilX.png", b"evil\x00.png")
    Path(path).write_bytes(data)
    (record,) = list_members(path, ArchiveConfig()).quarantined
    assert "control characters" in record.found


def test_a_member_is_counted_while_it_is_unpacked(tmp_path: Path) -> None:
    """The sizes in the archive are made to lie; the bomb stops at the limit."""
    path = tmp_path / "a.zip"
    bomb = b"\0" * 3_000_000
    zipped(path, [("bomb.png", bomb)])
    honest = struct.pack("<I", len(bomb))
    path.write_bytes(path.read_bytes().replace(honest, struct.pack("<I", 1000)))
    config = ArchiveConfig(max_member_bytes=1_000_000)
    listing = list_members(str(path), config)
    (member,) = listing.members
    with pytest.raises(UnreadableImageError, match=r"bomb\.png"):
        read_member(str(path), member, config)


def test_a_member_that_says_that_it_is_too_large_is_not_opened(tmp_path: Path) -> None:
    listing = list_members(
        zipped(tmp_path / "a.zip", [("big.png", b"\0" * 2000)]), ArchiveConfig(max_member_bytes=1000)
    )
    assert "claims 2000 bytes" in listing.quarantined[0].found


def test_a_damaged_member_is_that_member_s_fault_only(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    zipped(path, [("a.png", bytes(range(256)) * 8), ("b.png", b"whole")])
    data = bytearray(path.read_bytes())
    data[60:80] = b"\xff" * 20
    path.write_bytes(data)
    a, b = list_members(str(path), ArchiveConfig()).members
    with pytest.raises(UnreadableImageError, match=r"a.png: it cannot be unpacked"):
        read_member(str(path), a, ArchiveConfig())
    assert read_member(str(path), b, ArchiveConfig()) == b"whole"


def test_a_folder_is_listed_with_everything_below_it(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "1.png").write_bytes(b"1")
    (tmp_path / "0.png").write_bytes(b"0")
    members = list_members(str(tmp_path), ArchiveConfig()).members
    assert [member.name for member in members] == ["0.png", "deep/er/1.png"]
    assert read_member(str(tmp_path), members[1], ArchiveConfig()) == b"1"


@pytest.mark.parametrize("data", [b"", b"no zip at all", b"PK\x03\x04 cut short"])
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(DataError, match="no zip archive"):
        list_members(str(tmp_path / "a.zip"), ArchiveConfig())


def test_nothing_and_too_much_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EmptyDatasetError, match="is empty"):
        list_members(zipped(tmp_path / "a.zip", []), ArchiveConfig())
    with pytest.raises(DataError, match="at most 1"):
        list_members(zipped(tmp_path / "b.zip", [("1", b""), ("2", b"")]), ArchiveConfig(max_members=1))
    with pytest.raises(DataError, match="does not exist"):
        list_members(str(tmp_path / "missing"), ArchiveConfig())
    missing = Member(name="gone.png", index=0)
    with pytest.raises((UnreadableImageError, DataError), match=r"gone\.png"):
        read_member(str(tmp_path), missing, ArchiveConfig())


def test_members_without_a_name_are_set_aside(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", [("a.png", b"1"), ("./", b""), (".", b"2")])
    listing = list_members(path, ArchiveConfig())
    assert [member.name for member in listing.members] == ["a.png"]
    assert [record.found for record in listing.quarantined] == ["it has no name"]


def test_what_is_no_file_in_a_folder_is_named_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "round").symlink_to(tmp_path)
    (tmp_path / "whole.png").write_bytes(b"1")
    listing = list_members(str(tmp_path), ArchiveConfig())
    outcomes = {record.name: f"{record.name}: {record.reason}" for record in listing.quarantined}
    for member in listing.members:
        try:
            outcomes[member.name] = read_member(str(tmp_path), member, ArchiveConfig()).decode()
        except DataError as error:
            outcomes[member.name] = str(error)
    assert outcomes["whole.png"] == "1"
    assert "a folder, a pipe or a device" in outcomes["pipe.png"]
    assert "a folder, a pipe or a device" in outcomes["round"]
    assert "gone.png" in outcomes["gone.png"]


def test_a_name_that_no_table_can_hold_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"1")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")).write_bytes(b"2")
    listing = list_members(str(tmp_path), ArchiveConfig())
    assert [member.name for member in listing.members] == ["a.png"]
    (record,) = listing.quarantined
    assert (record.name, record.found) == (r"\udcff.png", "its name is not UTF-8")


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_archives_raise_our_errors_only(tmp_path: Path, packing: int) -> None:
    """Bytes changed at random, half of them in the directory at the end."""
    path, config = tmp_path / "a.zip", ArchiveConfig(max_member_bytes=100_000)
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name in ("a.png", "deep/b.png", "ü.png"):
            archive.writestr(name, bytes(range(8)) * 60)
    whole = path.read_bytes()
    generator = np.random.default_rng(packing)
    read = refused = 0
    for _ in range(200):
        damaged = bytearray(whole)
        for _ in range(generator.integers(1, 5)):
            place = generator.integers(len(whole)) if generator.random() < 0.5 else -generator.integers(1, 250)
            damaged[place] = generator.integers(256)
        path.write_bytes(damaged)
        try:
            members = list_members(str(path), config).members
        except DataError:
            refused += 1
            continue
        for member in members:
            try:
                read += bool(read_member(str(path), member, config))
            except DataError:
                refused += 1
    assert read
    assert refused
