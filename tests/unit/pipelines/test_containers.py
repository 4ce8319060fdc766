"""Folders, zip and tar archives: the same files everywhere, and harm from none of them."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
import zipfile
from pathlib import Path

import fsspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.containers import Limits, Listing, SourceFile, list_container, prepared, read_file, source_uri
from rddm.errors import DataError, StorageUnreachableError, UnreadableImageError
from tests.unit.pipelines.archives import (
    END,
    FIRST,
    GOOD,
    LIMITS,
    SIZE,
    Files,
    contents,
    every_container,
    everything_below,
    header,
    in_directory,
    member,
    pax,
    peak_below,
    tarred,
    write,
    write_folder,
    zip_info,
    zipped,
)
from tests.unit.pipelines.hostile import HOSTILE_TARS, HOSTILE_ZIPS


def what_is_wrong(listing: Listing) -> str:
    (record,) = listing.quarantined
    return record.found


parts = st.text("abcxyzäß中 -_()'", min_size=1, max_size=8).map(lambda text: f"x{text}x") | st.just("l" * 120)
paths = st.builds(lambda folders, name: "/".join([*(f"d{part}" for part in folders), f"{name}.png"]),
                  st.lists(parts, max_size=3), parts)  # fmt: skip
trees = st.dictionaries(paths, st.binary(max_size=1500), min_size=1, max_size=5)


@settings(max_examples=20, deadline=None)
@given(trees)
def test_files_are_listed_and_read_alike_however_they_are_packed(files: Files) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for root in every_container(Path(folder), files):
            assert contents(root, folder) == files, root


def test_files_come_sorted_and_in_the_archive_s_order_where_it_is_asked_for(tmp_path: Path) -> None:
    files = {"b.png": b"1", "a/z.png": b"2", "a.png": b"3"}
    for name, data in {"x.zip": zipped(*files.items()), "x.tar": tarred(files)}.items():
        root = write(tmp_path / name, data)
        assert [file.path for file in list_container(root, LIMITS).files] == ["a.png", "a/z.png", "b.png"]
        assert [file.path for file in list_container(root, LIMITS, in_order=True).files] == list(files)


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_of_zip_archives_are_whole_whatever_their_size(packing: int, tmp_path: Path) -> None:
    """Sizes around the pieces that members are unpacked in, of bytes that repeat in steps of all kinds."""
    sizes = [0, 1, 257, 258, 259, *(step + more for step in (1 << 18, 1 << 20) for more in (-1, 0, 1))]
    files = {f"{n}.png": (bytes(range(n % 251 + 1)) * (n // (n % 251 + 1) + 1))[:n] for n in sizes}
    root = write(tmp_path / "x.zip", zipped(*files.items(), packing=packing))
    assert contents(root, "", Limits()) == files


class Unseekable(io.BytesIO):
    def seekable(self) -> bool:
        return False

    def seek(self, *_: object) -> int:
        raise OSError


def test_zip_archives_that_were_written_as_a_stream_or_in_zip64_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"{number}.png": bytes([number]) * 50 for number in range(20)}
    for limit in (zipfile.ZIP64_LIMIT, 10):
        monkeypatch.setattr(zipfile, "ZIP64_LIMIT", limit)
        monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", limit)
        buffer = Unseekable()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                with archive.open(name, "w", force_zip64=limit == 10) as file:
                    file.write(data)
        assert contents(write(tmp_path / f"{limit}.zip", buffer.getvalue()), "") == files


def test_sizes_are_known_and_a_tar_archive_says_where_bytes_lie(tmp_path: Path) -> None:
    files = {"a.png": b"12345", "b.png": b""}
    root = write(tmp_path / "x.tar", tarred(files))
    for file in list_container(root, LIMITS).files:
        assert file.size_bytes == len(files[file.path])
        assert Path(root).read_bytes()[file.offset :][: file.size_bytes] == files[file.path]
    (a, b) = list_container(write(tmp_path / "x.zip", zipped(*files.items())), LIMITS).files
    assert (a.size_bytes, b.size_bytes) == (5, 0)


def test_leading_dots_and_folders_of_their_own_are_no_part_of_a_path(tmp_path: Path) -> None:
    (tmp_path / "tree" / "empty.png").mkdir(parents=True)
    write_folder(tmp_path / "tree", {"train/1.png": b"1"})
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(tmp_path / "tree", arcname=".")
    listing = list_container(str(tmp_path / "x.tar"), LIMITS)
    assert [file.path for file in listing.files] == ["train/1.png"]
    assert not listing.quarantined


def test_backslashes_of_a_packer_on_windows_are_slashes(tmp_path: Path) -> None:
    members = ((zip_info(name, system=0), b"1") for name in ("train\\", "train\\low\\1.png"))
    listing = list_container(write(tmp_path / "x.zip", zipped(*members)), LIMITS)
    assert [file.path for file in listing.files] == ["train/low/1.png"]
    assert not listing.quarantined


def test_a_source_uri_leads_fsspec_to_the_same_bytes(tmp_path: Path) -> None:
    files = {"train/low/1.png": b"low", "train/high/1.png": b"high"}
    for root in every_container(tmp_path, files):
        if not root.endswith((".zst", ".tgz")):  # fsspec needs a package for one and does not know the other
            for name, data in files.items():
                with fsspec.open(source_uri(root, SourceFile(name))) as file:
                    assert file.read() == data
    assert source_uri("s3://b/x.zip", SourceFile("a/1.png")) == "zip://a/1.png::s3://b/x.zip"
    assert source_uri("/data/x.tar.gz", SourceFile("1.png")) == "tar://1.png::/data/x.tar.gz"
    assert source_uri("s3://b/p", SourceFile("a/1.png")) == "s3://b/p/a/1.png"


def test_a_file_with_a_path_of_its_own_is_read_from_there(tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "elsewhere.png", b"1")
    root = write(tmp_path / "x.zip", zipped(GOOD))
    for path in (elsewhere, f"file://{elsewhere}"):
        assert source_uri(root, SourceFile(path)) == path
        assert read_file(root, SourceFile(path), LIMITS) == b"1"


@pytest.mark.parametrize("kind", HOSTILE_ZIPS)
def test_hostile_zip_archives_lose_their_bad_members_only(kind: str, tmp_path: Path) -> None:
    build, reason = HOSTILE_ZIPS[kind]
    check_hostile(tmp_path, write(tmp_path / "x.zip", build()), reason)


@pytest.mark.parametrize("kind", HOSTILE_TARS)
def test_hostile_tar_archives_lose_their_bad_members_only(kind: str, tmp_path: Path) -> None:
    build, reason = HOSTILE_TARS[kind]
    check_hostile(tmp_path, write(tmp_path / "x.tar", build()), reason)


def check_hostile(folder: Path, root: str, reason: str) -> None:
    before = everything_below(folder)
    listing = list_container(root, LIMITS)
    assert reason in what_is_wrong(listing)
    listing.quarantined[0].reason.encode("utf-8")
    assert listing.quarantined[0].name.isprintable()
    if reason == "shares bytes":
        return
    (whole,) = listing.files
    assert (whole.path, read_file(root, whole, LIMITS)) == GOOD
    assert everything_below(folder) == before


def test_the_rest_of_a_tar_archive_is_found_behind_a_bad_member(tmp_path: Path) -> None:
    last = member("last.png", b"last") + END
    for kind in ("sparse", "two sizes", "symbolic link", "pipe", "unknown type", "not UTF-8", "claims too much"):
        data = HOSTILE_TARS[kind][0]().removesuffix(END) + last
        listing = list_container(write(tmp_path / "x.tar", data), LIMITS)
        assert [file.path for file in listing.files] == ["good/1.png", "last.png"], kind
        assert read_file(str(tmp_path / "x.tar"), listing.files[1], LIMITS) == b"last"


def test_what_is_said_of_all_members_at_once_is_believed_of_none(tmp_path: Path) -> None:
    data = pax([("path", b"/etc/passwd"), ("size", b"99999")], tarfile.XGLTYPE) + FIRST + END
    assert contents(write(tmp_path / "x.tar", data), "") == dict([GOOD])


def test_an_end_that_never_comes_costs_nothing(tmp_path: Path) -> None:
    """A terabyte of zeros behind the first member, and a member that claims most of them."""
    path = tmp_path / "x.tar"
    path.write_bytes(FIRST + header(size=10**12))
    os.truncate(path, 10**12 + 10**6)
    listing = list_container(str(path), LIMITS)
    assert "claims 1000000000000 bytes" in what_is_wrong(listing)
    assert [file.path for file in listing.files] == ["good/1.png"]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("x.zip", b"", "no zip archive"),
        ("x.zip", b"no zip at all", "no zip archive"),
        ("x.zip", zipped(GOOD)[:-30], "no zip archive"),
        ("x.zip", zipped(GOOD, ("é.png", b"1")).replace("é".encode(), b"\xff\xfe"), "no zip archive"),
        ("x.tar", b"", "no tar archive: no end mark"),
        ("x.tar", b"no tar at all", "no tar archive: a header that is cut short"),
        ("x.tar", b"\x89PNG" * 1000, "no tar archive: a damaged header"),
        ("x.tar", header(size=3 << 20, kind=tarfile.XHDTYPE), "no tar archive: an extended header"),
    ],
)
def test_what_is_no_archive_is_refused(name: str, data: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=reason):
        list_container(write(tmp_path / name, data), LIMITS)


def test_missing_containers_are_refused(tmp_path: Path) -> None:
    for name in ("x.zip", "x.tar", "folder"):
        with pytest.raises(DataError, match=name):
            list_container(str(tmp_path / name), LIMITS)
    with pytest.raises(DataError, match=r"x\.tar\.gz"):
        prepared(str(tmp_path / "x.tar.gz"), str(tmp_path), LIMITS)


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "tree"])
def test_a_server_that_does_not_answer_is_no_fault_of_a_picture(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise StorageUnreachableError("nobody answers")

    for reader in ("open_input", "read_range", "read_bytes"):
        monkeypatch.setattr(f"pipelines.storage.{reader}", unreachable)
    (tmp_path / name).touch()
    with pytest.raises(StorageUnreachableError):
        read_file(str(tmp_path / name), SourceFile("a.png", 1, 512), LIMITS)


def test_containers_of_too_many_files_are_refused(tmp_path: Path) -> None:
    files = {f"{number}.png": b"" for number in range(11)}
    for root in list(every_container(tmp_path, files)):
        readable = prepared(root, str(tmp_path), LIMITS)
        assert len(list_container(readable, Limits(max_members=11)).files) == 11
        with pytest.raises(DataError, match="at most 10 are taken"):
            list_container(readable, Limits(max_members=10))


def test_a_zip_directory_that_claims_to_be_huge_is_not_read(tmp_path: Path) -> None:
    data = bytearray(zipped(GOOD))
    data[-10:-6] = (2 * 10**9).to_bytes(4, "little")
    with open(tmp_path / "x.zip", "wb") as file:
        file.seek(3 * 10**9)
        file.write(data)
    with pytest.raises(DataError, match="says that its directory has 2000000000 bytes"):
        list_container(str(tmp_path / "x.zip"), Limits(max_members=1000))


def test_bombs_in_zip_archives_stop_at_the_limit(tmp_path: Path) -> None:
    """The directory's sizes are made to lie."""
    for packing in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        data = in_directory(zipped(("bomb.png", bytes(30_000_000)), packing=packing), 0, SIZE, "<I", 1000)
        root = write(tmp_path / f"{packing}.zip", data)
        (file,) = list_container(root, LIMITS).files
        with peak_below(12_000_000), pytest.raises(UnreadableImageError, match=r"bomb\.png"):
            read_file(root, file, LIMITS)


def test_an_archive_is_not_held_in_memory_while_it_is_listed_and_read(tmp_path: Path) -> None:
    files = {f"{number}.png": bytes(900_000) for number in range(30)}
    for name, data in {"x.tar": tarred(files), "x.zip": zipped(*files.items(), packing=zipfile.ZIP_STORED)}.items():
        root = write(tmp_path / name, data)
        with peak_below(5_000_000):
            for file in list_container(root, LIMITS).files:
                read_file(root, file, LIMITS)


def test_damaged_members_are_named(tmp_path: Path) -> None:
    data = bytearray(zipped(("a.png", bytes(range(256)) * 8), ("b.png", b"whole")))
    data[60:80] = b"\xff" * 20
    root = write(tmp_path / "x.zip", bytes(data))
    a, b = list_container(root, LIMITS).files
    with pytest.raises(UnreadableImageError, match=r"a\.png: it cannot be unpacked"):
        read_file(root, a, LIMITS)
    assert read_file(root, b, LIMITS) == b"whole"
    with pytest.raises(UnreadableImageError, match=r"c\.png: "):
        read_file(root, SourceFile("c.png"), LIMITS)


def test_an_archive_that_shrank_since_it_was_listed_is_noticed(tmp_path: Path) -> None:
    root = write(tmp_path / "x.tar", tarred({"a.png": bytes(9000)}))
    (file,) = list_container(root, LIMITS).files
    os.truncate(root, 5000)
    with pytest.raises(UnreadableImageError, match=r"a\.png: .* ends 4512 bytes before"):
        read_file(root, file, LIMITS)
    with pytest.raises(UnreadableImageError, match="not in the listing"):
        read_file(root, SourceFile("b.png"), LIMITS)


@pytest.mark.parametrize("name", ["x.zip", "x.tar"])
def test_bytes_changed_at_random_raise_our_errors_only(name: str, tmp_path: Path) -> None:
    files = {"a.png": bytes(range(8)) * 60, "deep/b.png": b"b" * 700, "ü" * 60 + ".png": b"c"}
    whole = zipped(*files.items()) if name == "x.zip" else tarred(files)
    generator = np.random.default_rng(7)
    read = refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(generator.integers(1, 6)):
            damaged[generator.integers(len(whole))] = generator.integers(256)
        root = write(tmp_path / name, bytes(damaged[: generator.integers(len(whole) // 2, 2 * len(whole))]))
        try:
            listing = list_container(root, LIMITS)
            refused += len(listing.quarantined)
            for file in listing.files:
                read += len(read_file(root, file, LIMITS)) > 0
        except DataError:
            refused += 1
    assert read > 50
    assert refused > 50


def test_a_zip_archive_s_directory_is_read_once_for_all_its_members(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write(tmp_path / "x.zip", zipped(*((f"{n}.png", b"%d" % n) for n in range(2000))))
    opened: list[str] = []
    honest = zipfile.ZipFile._RealGetContents  # type: ignore[attr-defined]

    def counted(self: zipfile.ZipFile) -> None:
        opened.append(root)
        honest(self)

    monkeypatch.setattr(zipfile.ZipFile, "_RealGetContents", counted)
    for file in list_container(root, LIMITS).files:
        assert read_file(root, file, LIMITS) == file.path.removesuffix(".png").encode()
    assert opened == [root]


def test_an_archive_that_was_written_again_is_opened_again(tmp_path: Path) -> None:
    for content in (b"one", b"two"):
        root = write(tmp_path / "new.zip", zipped(("a.png", content)))
        os.replace(root, tmp_path / "x.zip")
        assert contents(str(tmp_path / "x.zip"), "") == {"a.png": content}


def test_archives_that_are_no_longer_read_are_closed(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(20):
        contents(write(tmp_path / f"{number}.zip", zipped(GOOD)), "")
    assert len(os.listdir("/proc/self/fd")) <= before + 4


def test_what_is_no_plain_file_in_a_folder_is_set_aside(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "tree", dict([GOOD]))
    os.mkfifo(tmp_path / "tree" / "pipe.png")
    (tmp_path / "tree" / "gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "tree" / "folder.png").mkdir()
    write(tmp_path / "tree" / "large.png", bytes(1_000_001))
    listing = list_container(root, LIMITS)
    assert [file.path for file in listing.files] == ["good/1.png"]
    assert sorted(record.name for record in listing.quarantined) == ["gone.png", "large.png", "pipe.png"]
    record = next(record for record in listing.quarantined if record.name == "pipe.png")
    assert record.found == "it is a named pipe"


@pytest.mark.parametrize("name", ["a\nb", "a\x07", "a\x1b[2J", "a\x85b", "a\u2028b", "gnp.\u202eexe", "\u2066a\u2069"])
def test_names_that_a_line_or_a_terminal_cannot_hold_are_set_aside(name: str, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "tree", {**dict([GOOD]), f"{name}.png": b"1", f"{name}/b.png": b"2"})
    os.mkfifo(tmp_path / "tree" / f"{name}.pipe")
    for container in (root, write(tmp_path / "x.zip", zipped(GOOD, (f"{name}.png", b"1"), (f"{name}/b.png", b"2")))):
        listing = list_container(container, LIMITS)
        assert [file.path for file in listing.files] == ["good/1.png"]
        assert {record.found for record in listing.quarantined} - {"it is a named pipe"} == {
            "its name holds control characters"
        }
        assert len(listing.quarantined) == (3 if container == root else 2)
        assert all(record.name.isprintable() for record in listing.quarantined)


@pytest.mark.parametrize("name", ["-rf", "..a", "a..b", "夜", "שלום\u200f", "it's", "$(b)", "a b"])
def test_names_that_only_look_like_harm_are_names(name: str, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "tree", {f"{name}.png": b"1"})
    for container in (root, write(tmp_path / "x.zip", zipped((f"{name}.png", b"1")))):
        assert [file.path for file in list_container(container, LIMITS).files] == [f"{name}.png"]


def test_a_name_that_is_not_utf_8_is_shown_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    for name in (b"\xff", b"a\n\xfe"):
        Path(os.fsdecode(os.fsencode(tmp_path / "tree") + b"/" + name)).touch()
    listing = list_container(str(tmp_path / "tree"), LIMITS)
    assert {record.name for record in listing.quarantined} == {r"\udcff", r"a\n\udcfe"}
    assert {record.found for record in listing.quarantined} == {"its name is not UTF-8"}


def test_a_file_that_is_no_archive_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x\.7z is a file; expected a folder, or an archive that ends in \.zip, "):
        list_container(write(tmp_path / "x.7z", b"7z"), LIMITS)


def test_a_folder_is_named_like_an_archive(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "x.zip", dict([GOOD]))
    assert contents(f"{root}/", "") == dict([GOOD])
    with pytest.raises(DataError, match=r"x\.zip is a folder"):
        list_container(root, LIMITS)
