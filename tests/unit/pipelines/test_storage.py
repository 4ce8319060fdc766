"""Storage on this machine, and what every kind of storage promises before a server is asked."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from botocore.exceptions import ClientError

from pipelines import storage
from pipelines.storage import s3
from rddm.errors import DataError, StorageUnreachableError


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def test_a_file_appears_whole_and_is_not_overwritten(tmp_path: Path) -> None:
    place = str(tmp_path / "deep" / "file.bin")
    storage.publish_bytes(place, b"first")
    with pytest.raises(DataError, match="exists already; nothing is overwritten"):
        storage.publish_bytes(place, b"second")
    assert storage.read_bytes(place) == b"first"
    storage.publish_bytes(place, b"second", overwrite=True)
    assert storage.read_bytes(place) == b"second"
    assert tree(tmp_path) == ["deep/file.bin"]


def test_a_failed_write_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"a file stands where its folder should be.*Nothing stands under its name"):
        storage.publish_bytes(str(tmp_path / "file" / "below.bin"), b"data")
    with pytest.raises(DataError, match="Nothing stands under its name"):
        storage.publish_bytes("/dev/full/x", b"data")
    assert tree(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "the disk is full; free some space"),
        (errno.EDQUOT, "the quota of disk space is used up"),
        (errno.EROFS, "the disk is read-only; choose another place"),
        (errno.EACCES, "permission is denied; change its rights"),
        (errno.EIO, "Input/output error; check the disk"),
    ],
)
def test_a_disk_that_refuses_is_told_and_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"data")
    target = tmp_path / "target"
    target.mkdir()

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    place = str(target / "a")
    writes: list[Callable[[], None]] = [
        lambda: storage.publish_bytes(place, b"data"),
        lambda: storage.publish_file(source, place),
        lambda: storage.download(str(source), place),
    ]
    for write in writes:
        with pytest.raises(DataError, match=f"{place} cannot be written: {words}"):
            write()
        assert tree(tmp_path) == ["source"]


def test_a_stream_gets_its_name_when_it_is_whole(tmp_path: Path) -> None:
    place = str(tmp_path / "a")

    def stream(*, fail: bool) -> None:
        with storage.open_output(place) as file:
            file.write(b"content")
            assert not storage.exists(place)
            if fail:
                raise RuntimeError("while writing")

    with pytest.raises(RuntimeError, match="while writing"):
        stream(fail=True)
    assert tree(tmp_path) == []
    stream(fail=False)
    assert storage.read_bytes(place) == b"content"


def test_files_are_copied_in_and_out(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    storage.publish_file(tmp_path / "a", f"file://{tmp_path}/there/b")
    storage.download(f"file://{tmp_path}/there/b", tmp_path / "back" / "c")
    assert (tmp_path / "back" / "c").read_bytes() == b"content"
    with pytest.raises(DataError, match="gone cannot be read: it does not exist; check the name"):
        storage.publish_file(tmp_path / "gone", str(tmp_path / "d"))
    assert tree(tmp_path) == ["a", "back/c", "there/b"]


def test_a_file_that_grows_while_it_is_copied_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"content")

    def copy_more(reader: Any, writer: Any, _: int) -> None:
        writer.write(reader.read() + b" and more")

    monkeypatch.setattr(shutil, "copyfileobj", copy_more)
    with pytest.raises(DataError, match="a changed while it was copied: 16 bytes of 7"):
        storage.download(str(tmp_path / "a"), tmp_path / "b")
    assert tree(tmp_path) == ["a"]


def test_a_range_is_exact_or_an_error(tmp_path: Path) -> None:
    place = str(tmp_path / "a")
    storage.publish_bytes(place, bytes(range(100)))
    assert storage.read_range(place, 10, 20) == bytes(range(10, 30))
    assert storage.read_range(place, 100, 0) == b""
    assert storage.read_bytes(place, at_most=3) == b"\0\1\2"
    with pytest.raises(DataError, match="ends 1 bytes before byte 101"):
        storage.read_range(place, 90, 11)
    with pytest.raises(ValueError, match="not negative"):
        storage.read_range(place, -1, 5)
    with pytest.raises(ValueError, match="expected 1 or more"):
        storage.read_bytes(place, at_most=0)


def test_another_file_under_a_name_has_another_version(tmp_path: Path) -> None:
    place = str(tmp_path / "a")
    storage.publish_bytes(place, b"1")
    first = storage.file_state(place)
    assert (first.size_bytes, storage.file_state(place)) == (1, first)
    storage.publish_bytes(place, b"2", overwrite=True)
    assert storage.file_state(place).version != first.version


def test_listing_is_sorted_and_relative(tmp_path: Path) -> None:
    for name in ("b/2", "a", "b/1"):
        storage.publish_bytes(str(tmp_path / name), name.encode())
    assert storage.list_entries(str(tmp_path)) == [("a", 1), ("b/1", 3), ("b/2", 3)]
    assert storage.list_files(str(tmp_path)) == ["a", "b/1", "b/2"]
    assert storage.list_files(str(tmp_path / "a")) == ["a"]
    assert storage.list_entries(f"file://{tmp_path}/b/") == [("1", 3), ("2", 3)]
    with pytest.raises(DataError, match="does not exist"):
        storage.list_files(str(tmp_path / "missing"))


def test_what_is_no_file_is_listed_apart(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "sub.png", outside):
        folder.mkdir(parents=True)
        (folder / "a.png").write_bytes(b"12")
    os.mkfifo(root / "pipe.png")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket.png"))
    links = {
        "inside.png": "sub.png/a.png", "outside.png": "../outside/a.png", "folder": "sub.png", "far": "../outside",
        "round": ".", "gone.png": "nowhere", "itself.png": "itself.png", "null.png": os.devnull,
        "to-pipe.png": "pipe.png", "twice.png": "inside.png", "twice-out.png": "outside.png",
        "through.png": "far/a.png",
    }  # fmt: skip
    for name, target in links.items():
        (root / name).symlink_to(target)
    found = storage.scan(str(root))
    assert found.files == [("inside.png", 2), ("sub.png/a.png", 2), ("twice.png", 2)]
    assert dict(found.irregular) == {
        "far": "it is a link that leads out of the folder",
        "folder": "it is a link to a folder",
        "gone.png": "it is a link to nothing",
        "itself.png": "it is a link to nothing",
        "null.png": "it is a link that leads out of the folder",
        "outside.png": "it is a link that leads out of the folder",
        "pipe.png": "it is a named pipe",
        "round": "it is a link to a folder",
        "socket.png": "it is a socket",
        "through.png": "it is a link that leads out of the folder",
        "to-pipe.png": "it is a link to a pipe or a device",
        "twice-out.png": "it is a link that leads out of the folder",
    }
    assert storage.list_files(str(root)) == sorted([*links, "pipe.png", "socket.png", "sub.png/a.png"])
    (tmp_path / "link").symlink_to(root)
    assert storage.scan(str(tmp_path / "link")) == found


def test_a_folder_that_cannot_be_listed_is_told_and_the_rest_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("closed/1", "open/2", "removed/3"):
        storage.publish_bytes(str(tmp_path / name), b"")
    scandir = os.scandir

    def refusing(path: str) -> Any:
        if path.endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied")
        if path.endswith("removed"):
            raise FileNotFoundError
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    found = storage.scan(str(tmp_path))
    assert found.files == [("open/2", 0)]
    assert found.irregular == [("closed", "it is a folder that cannot be listed (Permission denied)")]
    with pytest.raises(DataError, match="closed cannot be listed: permission is denied"):
        storage.scan(str(tmp_path / "closed"))


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for act in (storage.read_bytes, storage.open_input, storage.list_entries, storage.file_state):
        with pytest.raises(DataError, match="is a folder, a pipe or a device; expected a file"):
            act(str(tmp_path / "pipe"))


def test_links_are_removed_and_not_what_they_lead_to(tmp_path: Path) -> None:
    storage.publish_bytes(str(tmp_path / "kept" / "a"), b"")
    storage.publish_bytes(str(tmp_path / "staging" / "b"), b"")
    (tmp_path / "staging" / "inner").symlink_to(tmp_path / "kept")
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    storage.remove(str(tmp_path / "staging"))
    storage.remove(str(tmp_path / "link"))
    storage.remove(str(tmp_path / "never was"))
    assert tree(tmp_path) == ["kept/a"]
    assert not (tmp_path / "link").exists()


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        (("a", "b", "c.png"), "a/b/c.png"),
        (("s3://bucket", "a/b"), "s3://bucket/a/b"),
        (("s3://bucket/a/", "b"), "s3://bucket/a/b"),
        (("s3://bucket/a", "s3://other/b"), "s3://other/b"),
        (("s3://bucket/a", "/data/b"), "/data/b"),
        (("/data", "file:///b", "c"), "file:///b/c"),
        (("/data", "a:b/c"), "/data/a:b/c"),
    ],
)
def test_parts_that_stand_for_themselves_are_not_joined(parts: tuple[str, ...], whole: str) -> None:
    assert storage.join(*parts) == whole


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("nosuchscheme://x/y", "unknown scheme 'nosuchscheme'; expected a local path, file:// or s3://BUCKET/PREFIX"),
        ("https://example.org/a.png", "nothing is fetched over HTTP; download it, then give a local path"),
        ("zip://a.png::/data/x.zip", "unknown scheme 'zip'"),
        ("s3://", "names no bucket; expected s3://BUCKET/PREFIX"),
        ("s3:///key", "names no bucket"),
        ("missing-file", "cannot be read: it does not exist; check the name"),
    ],
)
def test_what_cannot_be_read_is_named(uri: str, words: str) -> None:
    with pytest.raises(DataError, match=uri) as caught:
        storage.read_bytes(uri)
    assert words in str(caught.value)


def test_local_work_does_not_wait_for_the_packages_of_s3() -> None:
    script = "import sys; from pipelines import storage; storage.exists('x'); print('botocore' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


class Bucket:
    """Answers like an S3 server that holds some keys, or refuses."""

    def __init__(self, keys: dict[str, int], errors: list[dict[str, str]] | None = None) -> None:
        self.keys, self.errors = keys, errors or []
        self.lost_uploads = 0

    def call_s3(self, method: str, **arguments: Any) -> dict[str, Any]:
        if method == "list_objects_v2":
            return {"Contents": [{"Key": key, "Size": size} for key, size in self.keys.items()]}
        if method == "delete_objects":
            return {"Errors": self.errors}
        if method == "head_object":
            return {"ContentLength": self.keys[arguments["Key"]], "ETag": ""}
        self.keys.pop(arguments["Key"])
        return {}

    def put_file(self, _: str, target: str, **__: object) -> None:
        if self.lost_uploads:
            self.lost_uploads -= 1
            raise FileNotFoundError from ClientError({"Error": {"Code": "NoSuchUpload"}}, "CompleteMultipartUpload")
        self.keys[target.partition("/")[2]] = 3


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    fake = Bucket({})
    monkeypatch.setattr(s3, "_client", lambda: fake)
    return fake


def test_keys_that_are_no_relative_paths_are_listed_apart(bucket: Bucket) -> None:
    bucket.keys = {
        "p/a.png": 1,
        "p//etc/passwd": 2,
        "p/../b.png": 3,
        "p/./c.png": 4,
        "p/x//d.png": 5,
        "p/e/": 6,
        "p/f/": 0,
    }
    found = storage.scan("s3://bucket/p")
    assert found.files == [("a.png", 1)]
    assert [path for path, _ in found.irregular] == ["../b.png", "./c.png", "/etc/passwd", "e/", "x//d.png"]
    assert {words for _, words in found.irregular} == {"its name is no relative path"}


def test_an_upload_that_the_server_keeps_in_part_is_told_and_removed(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    with pytest.raises(DataError, match="a cannot be written: the server keeps 3 bytes of 5; write it again"):
        storage.publish_file(tmp_path / "a", "s3://bucket/a")
    assert bucket.keys == {}


def test_an_upload_that_the_server_forgot_is_made_again(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    (tmp_path / "a").write_bytes(b"123")
    bucket.lost_uploads = 1
    storage.publish_file(tmp_path / "a", "s3://bucket/a")
    assert bucket.keys == {"a": 3}
    bucket.lost_uploads = 2
    with pytest.raises(StorageUnreachableError, match="forgot the upload"):
        storage.publish_file(tmp_path / "a", "s3://bucket/b")


def test_objects_that_cannot_be_removed_are_named(bucket: Bucket) -> None:
    bucket.keys = {"a": 1, "a/b": 1}
    bucket.errors = [{"Key": "a/b", "Code": "AccessDenied", "Message": "Access Denied"}]
    with pytest.raises(DataError, match="a cannot be removed: a/b: AccessDenied Access Denied"):
        storage.remove("s3://bucket/a")


def test_limits_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_MAX_ATTEMPTS", raising=False)
    monkeypatch.delitem(fsspec.config.conf, "s3", raising=False)
    expected = {"connect_timeout": 10, "read_timeout": 60, "retries": {"mode": "standard", "total_max_attempts": 5}}
    assert storage.filesystem("s3://bucket")[0].config_kwargs == expected
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"read_timeout": 7}})
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    again = storage.filesystem("s3://bucket")[0].config_kwargs
    assert (again["connect_timeout"], again["read_timeout"], again["retries"]["total_max_attempts"]) == (10, 7, 2)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "often")
    with pytest.raises(DataError, match="AWS_MAX_ATTEMPTS is 'often'; expected a whole number"):
        storage.exists("s3://bucket")
