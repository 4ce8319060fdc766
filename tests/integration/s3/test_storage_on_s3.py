"""Storage on a real S3 server, and on one that fails."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import storage
from pipelines.storage import s3
from rddm.errors import DataError, StorageUnreachableError
from tests.fault_proxy import FaultProxy
from tests.s3 import S3Server, limit_s3

PART = 16 << 20
BOUND_S = 15
"""Two tries of at most 1 s and the waits between them; the rest is for a busy machine."""


@pytest.fixture(scope="module")
def large() -> bytes:
    """More than two parts of a multipart upload, and not a whole number of them."""
    return os.urandom(1 << 20) * 40 + b"end"


def test_what_is_published_is_read_again(s3_prefix: str, tmp_path: Path) -> None:
    place = storage.join(s3_prefix, "deep", "a b+%#ä.bin")
    assert not storage.exists(place)
    storage.publish_bytes(place, b"0123456789")
    assert storage.exists(place)
    assert storage.exists(s3_prefix)
    assert storage.read_bytes(place) == b"0123456789"
    assert storage.read_bytes(place, at_most=4) == b"0123"
    assert storage.list_entries(s3_prefix) == [("deep/a b+%#ä.bin", 10)]
    assert storage.list_files(place) == ["a b+%#ä.bin"]
    with storage.open_input(place) as file:
        file.seek(-3, os.SEEK_END)
        assert file.read() == b"789"
    storage.download(place, tmp_path / "new" / "copy.bin")
    assert (tmp_path / "new" / "copy.bin").read_bytes() == b"0123456789"
    storage.remove(s3_prefix)
    assert not storage.exists(s3_prefix)


def test_nothing_is_overwritten_unless_it_is_asked_for(s3_prefix: str) -> None:
    place = storage.join(s3_prefix, "a")
    storage.publish_bytes(place, b"first")
    first = storage.file_state(place)
    with pytest.raises(DataError, match="exists already; nothing is overwritten"):
        storage.publish_bytes(place, b"second")
    assert storage.read_bytes(place) == b"first"
    storage.publish_bytes(place, b"other", overwrite=True)
    assert storage.read_bytes(place) == b"other"
    assert storage.file_state(place).size_bytes == first.size_bytes
    assert storage.file_state(place).version != first.version


def test_empty_objects_are_files_and_console_folders_are_not(s3_server: S3Server, s3_prefix: str) -> None:
    bucket, key = s3_prefix.removeprefix("s3://").split("/", 1)
    storage.publish_bytes(storage.join(s3_prefix, "empty"), b"")
    s3_server.client.put_object(Bucket=bucket, Key=f"{key}/folder/", Body=b"")
    assert storage.list_entries(s3_prefix) == [("empty", 0)]
    assert storage.read_bytes(storage.join(s3_prefix, "empty")) == b""
    assert storage.read_bytes(storage.join(s3_prefix, "empty"), at_most=9) == b""


def test_a_range_is_exact_or_an_error(s3_prefix: str) -> None:
    place = storage.join(s3_prefix, "a")
    storage.publish_bytes(place, bytes(range(100)))
    assert storage.read_range(place, 10, 20) == bytes(range(10, 30))
    assert storage.read_range(place, 99, 1) == b"\x63"
    assert storage.read_range(place, 100, 0) == b""
    for offset, length in ((90, 11), (100, 1), (5000, 3)):
        with pytest.raises(DataError, match=f"ends {offset + length - max(offset, 100)} bytes before byte"):
            storage.read_range(place, offset, length)


def test_listings_have_more_than_one_page(s3_server: S3Server, s3_prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_PAGE_OBJECTS", 10)
    for number in range(25):
        storage.publish_bytes(storage.join(s3_prefix, f"{number:02d}.png"), b"1")
    assert storage.list_entries(s3_prefix) == [(f"{number:02d}.png", 1) for number in range(25)]
    storage.remove(s3_prefix)
    assert s3_server.keys(s3_prefix) == {}


def test_another_process_s_objects_are_seen_at_once(s3_server: S3Server, s3_prefix: str) -> None:
    bucket, key = s3_prefix.removeprefix("s3://").split("/", 1)
    place = storage.join(s3_prefix, "new")
    storage.publish_bytes(storage.join(s3_prefix, "old"), b"1")
    assert (storage.exists(place), storage.list_files(s3_prefix)) == (False, ["old"])
    fs, path = storage.filesystem(s3_prefix)
    assert fs.ls(path) == [f"{path}/old"]
    s3_server.client.put_object(Bucket=bucket, Key=f"{key}/new", Body=b"12")
    assert storage.exists(place)
    assert fs.ls(path) == [f"{path}/new", f"{path}/old"]
    assert storage.list_entries(s3_prefix) == [("new", 2), ("old", 1)]
    s3_server.client.put_object(Bucket=bucket, Key=f"{key}/new", Body=b"123")
    assert storage.list_entries(s3_prefix) == [("new", 3), ("old", 1)]
    assert storage.read_bytes(place) == b"123"
    s3_server.client.delete_object(Bucket=bucket, Key=f"{key}/new")
    assert (storage.exists(place), storage.list_files(s3_prefix)) == (False, ["old"])


def test_large_files_go_up_and_down_in_parts(s3_server: S3Server, s3_prefix: str, tmp_path: Path, large: bytes) -> None:
    (tmp_path / "large").write_bytes(large)
    place = storage.join(s3_prefix, "large")
    storage.publish_file(tmp_path / "large", place)
    assert s3_server.keys(s3_prefix) == {"some/prefix/large": len(large)}
    assert storage.file_state(place).version.strip('"').endswith("-3"), "it did not go up in three parts"
    storage.download(place, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == large
    assert storage.read_range(place, PART - 5, 10) == large[PART - 5 : PART + 5]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "large"]


def test_a_stream_gets_its_name_when_it_is_whole(s3_server: S3Server, s3_prefix: str, large: bytes) -> None:
    place = storage.join(s3_prefix, "stream")

    def stream(*, fail: bool) -> None:
        with storage.open_output(place) as file:
            for start in range(0, len(large), 1 << 20):
                file.write(large[start : start + (1 << 20)])
            assert not storage.exists(place)
            if fail:
                raise RuntimeError("while writing")

    with pytest.raises(RuntimeError, match="while writing"):
        stream(fail=True)
    assert s3_server.keys(s3_prefix) == {}
    assert s3_server.open_uploads(s3_prefix) == []
    stream(fail=False)
    assert storage.read_bytes(place) == large


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_that_fails_now_and_then_is_asked_again(
    s3_prefix: str, fault_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    limit_s3(monkeypatch, tries=3, timeout_s=5)
    place = storage.join(s3_prefix, "a")
    fault_proxy.answer(status, times=2, method="PUT")
    storage.publish_bytes(place, b"content", overwrite=True)
    fault_proxy.answer(status, times=1, method="GET")
    assert storage.read_bytes(place) == b"content"
    fault_proxy.answer(status, times=1, method="GET", part="list-type=2")
    assert storage.list_entries(s3_prefix) == [("a", 7)]


def test_connections_that_are_reset_are_made_again(s3_prefix: str, fault_proxy: FaultProxy) -> None:
    place = storage.join(s3_prefix, "a")
    fault_proxy.reset(times=1, method="PUT")
    storage.publish_bytes(place, b"content", overwrite=True)
    fault_proxy.reset(times=1, method="GET")
    assert storage.read_bytes(place) == b"content"
    fault_proxy.reset(times=1, method="HEAD")
    assert storage.exists(place)


def test_answers_that_are_cut_short_or_stall_are_fetched_again(
    s3_prefix: str, fault_proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, data = storage.join(s3_prefix, "a"), os.urandom(300_000)
    storage.publish_bytes(place, data)
    fault_proxy.cut_answer(100_000, times=1)
    assert storage.read_bytes(place) == data
    fault_proxy.cut_answer(1, times=1)
    assert storage.read_range(place, 7, 100) == data[7:107]
    fault_proxy.cut_answer(0, times=1)
    storage.download(place, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == data
    limit_s3(monkeypatch, tries=2, timeout_s=1)
    fault_proxy.stall_answer(1000, times=1)
    with storage.open_input(place) as file:
        assert file.read() == data
    fault_proxy.cut_answer(20, times=1, part="list-type=2")
    assert storage.list_files(s3_prefix) == ["a"]


def test_a_slow_server_is_waited_for(s3_prefix: str, fault_proxy: FaultProxy) -> None:
    place = storage.join(s3_prefix, "a")
    fault_proxy.delay(0.7, times=2)
    storage.publish_bytes(place, b"content")
    fault_proxy.delay(0.7, times=1)
    assert storage.read_bytes(place) == b"content"
    assert [request.method for request in fault_proxy.requests].count("PUT") == 1


Fault = Callable[[FaultProxy], None]
FAULTS: dict[str, tuple[Fault, str]] = {
    "500": (lambda proxy: proxy.answer(500, times=99), "keeps failing \\(2 tries, the last: 500 InternalError\\)"),
    "503": (lambda proxy: proxy.answer(503, times=99), "keeps failing \\(2 tries, the last: 503 SlowDown\\)"),
    "reset": (lambda proxy: proxy.reset(times=99), "does not answer \\(2 tries"),
    "hang": (lambda proxy: proxy.hang(times=99), "does not answer in time \\(2 tries\\)"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_limit_of_tries_is_kept_and_told(
    s3_prefix: str, fault_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    limit_s3(monkeypatch, tries=2, timeout_s=1)
    place = storage.join(s3_prefix, "a")
    fail, words = FAULTS[fault]
    fail(fault_proxy)
    started = time.monotonic()
    with pytest.raises(StorageUnreachableError, match=words) as caught:
        storage.read_bytes(place)
    assert time.monotonic() - started < BOUND_S
    assert str(caught.value).startswith(f"{place} cannot be read: the server at {fault_proxy.endpoint} ")
    # aiohttp makes a connection that was reset once more by itself, at once.
    assert len(fault_proxy.requests) == (4 if fault == "reset" else 2)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("fault", ["cut", "stall"])
def test_bodies_that_never_arrive_whole_end_in_an_error(
    s3_prefix: str, fault_proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    place = storage.join(s3_prefix, "a")
    storage.publish_bytes(place, os.urandom(100_000))
    limit_s3(monkeypatch, tries=2, timeout_s=1)
    (fault_proxy.cut_answer if fault == "cut" else fault_proxy.stall_answer)(50_000, times=99)
    asked = len(fault_proxy.requests)
    started = time.monotonic()
    with pytest.raises(StorageUnreachableError, match="keeps cutting its answers short \\(2 tries"):
        storage.download(place, tmp_path / "a")
    assert time.monotonic() - started < BOUND_S
    assert len(fault_proxy.requests) - asked <= 3
    assert list(tmp_path.iterdir()) == []


def test_a_torn_upload_leaves_no_object(
    s3_server: S3Server, s3_prefix: str, fault_proxy: FaultProxy, tmp_path: Path, large: bytes
) -> None:
    (tmp_path / "large").write_bytes(large)
    fault_proxy.cut_upload(100, times=99, part="small")
    with pytest.raises(StorageUnreachableError, match=r"does not answer.* Nothing stands under its name"):
        storage.publish_bytes(storage.join(s3_prefix, "small"), large[: 1 << 20])
    fault_proxy.cut_upload(1 << 20, times=99, part="partNumber=2")
    with pytest.raises(StorageUnreachableError, match=r"does not answer.* Nothing stands under its name"):
        storage.publish_file(tmp_path / "large", storage.join(s3_prefix, "large"))
    fault_proxy.heal()
    assert s3_server.keys(s3_prefix) == {}
    assert s3_server.open_uploads(s3_prefix) == []


def test_a_torn_upload_leaves_the_object_that_was_there(
    s3_server: S3Server, s3_prefix: str, fault_proxy: FaultProxy
) -> None:
    place = storage.join(s3_prefix, "a")
    storage.publish_bytes(place, b"the old one")
    fault_proxy.cut_upload(100, times=99)
    with pytest.raises(StorageUnreachableError):
        storage.publish_bytes(place, bytes(1 << 20), overwrite=True)
    assert s3_server.keys(s3_prefix) == {"some/prefix/a": 11}


def test_an_upload_that_tears_once_is_made_whole(
    s3_server: S3Server, s3_prefix: str, fault_proxy: FaultProxy, tmp_path: Path, large: bytes
) -> None:
    (tmp_path / "large").write_bytes(large)
    place = storage.join(s3_prefix, "large")
    fault_proxy.cut_upload(1 << 20, times=2, part="partNumber=2")
    # The server completes the upload, and nobody hears of it.
    fault_proxy.lose_answer(times=1, method="POST", part="uploadId")
    storage.publish_file(tmp_path / "large", place)
    assert storage.read_bytes(place) == large
    assert s3_server.open_uploads(s3_prefix) == []


def test_a_server_that_is_not_there_is_named(s3_prefix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limit_s3(monkeypatch, tries=2, timeout_s=2)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    expected = (
        "the server at http://127.0.0.1:1 does not answer \\(2 tries, the last: Connection refused\\); check AWS_"
    )
    for act in (storage.exists, storage.read_bytes, storage.list_entries):
        with pytest.raises(StorageUnreachableError, match=expected):
            act(storage.join(s3_prefix, "a"))
    with pytest.raises(StorageUnreachableError, match="cannot be written: " + expected):
        storage.publish_bytes(storage.join(s3_prefix, "a"), b"")


def test_whoever_may_only_read_is_told(
    s3_server: S3Server, s3_prefix: str, become_reader: Callable[[], None], tmp_path: Path
) -> None:
    place = storage.join(s3_prefix, "a")
    storage.publish_bytes(place, b"1")
    become_reader()
    assert storage.read_bytes(place) == b"1"
    assert storage.list_files(s3_prefix) == ["a"]
    (tmp_path / "b").write_bytes(b"2")
    expected = "access is denied; check AWS_ACCESS_KEY_ID"
    with pytest.raises(DataError, match=f"cannot be written: {expected}"):
        storage.publish_bytes(storage.join(s3_prefix, "b"), b"2")
    with pytest.raises(DataError, match=f"cannot be written: {expected}"):
        storage.publish_file(tmp_path / "b", place)
    with pytest.raises(DataError, match=f"cannot be removed: {expected}"):
        storage.remove(s3_prefix)
    assert s3_server.keys(s3_prefix) == {"some/prefix/a": 1}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("AWS_ACCESS_KEY_ID", "nobody", "does not know the access key; check AWS_ACCESS_KEY_ID"),
        ("AWS_SECRET_ACCESS_KEY", "guessed", "the secret key is wrong; check AWS_SECRET_ACCESS_KEY"),
        ("AWS_ENDPOINT_URL", "nonsense", "Invalid endpoint: nonsense; check AWS_ENDPOINT_URL"),
    ],
)
def test_wrong_settings_are_named(
    s3_prefix: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(DataError, match=expected):
        storage.list_entries(s3_prefix)


def test_no_credentials_are_told(s3_prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(DataError, match="Unable to locate credentials; set AWS_ACCESS_KEY_ID"):
        storage.read_bytes(s3_prefix)


def test_what_is_not_there_is_told(s3_prefix: str, tmp_path: Path) -> None:
    readers: list[Callable[[str], object]] = [storage.read_bytes, storage.open_input, storage.file_state]
    for act in readers:
        with pytest.raises(DataError, match="some/prefix/a cannot be read: it does not exist"):
            act(storage.join(s3_prefix, "a"))
    with pytest.raises(DataError, match="some/prefix does not exist; give an existing folder"):
        storage.list_entries(s3_prefix)
    for act in [storage.exists, *readers]:
        with pytest.raises(DataError, match="its bucket does not exist; make the bucket"):
            act("s3://no-such-bucket/a")
    with pytest.raises(DataError, match="its bucket does not exist; make the bucket"):
        storage.list_entries("s3://no-such-bucket")
    assert not storage.exists("s3://no-such-bucket")
    with pytest.raises(DataError, match="cannot be written: its bucket does not exist"):
        storage.publish_bytes("s3://no-such-bucket/a", b"")
    with pytest.raises(DataError, match="cannot be read: it does not exist"):
        storage.download(storage.join(s3_prefix, "a"), tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_an_object_that_is_replaced_while_it_is_read_is_told(s3_prefix: str) -> None:
    place = storage.join(s3_prefix, "a")
    storage.publish_bytes(place, bytes(100))
    with storage.open_input(place, block_bytes=10) as file:
        assert file.read(10) == bytes(10)
        storage.publish_bytes(place, b"1" * 100, overwrite=True)
        file.seek(50)
        with pytest.raises(DataError, match="it was replaced meanwhile"):
            file.read(10)


def test_a_whole_bucket_is_not_removed(s3_prefix: str) -> None:
    storage.publish_bytes(storage.join(s3_prefix, "a"), b"1")
    with pytest.raises(DataError, match="is a whole bucket, which is not removed"):
        storage.remove(s3_prefix.removesuffix("/some/prefix"))
    assert storage.list_files(s3_prefix) == ["a"]
