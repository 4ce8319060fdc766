"""Objects in S3 buckets: requests with limits, objects that are whole or not there, listings that are never stale."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, TypeVar

import fsspec
from fsspec.asyn import sync
from fsspec.spec import AbstractBufferedFile
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, stop_after_delay, wait_random_exponential

from pipelines.storage import local, s3_errors
from pipelines.storage.places import Action, Entries, FileState, Irregular
from rddm.errors import DataError

_Answer = TypeVar("_Answer")
_CONNECT_TIMEOUT_S, _READ_TIMEOUT_S, _TRIES = 10, 60, 5
_PART_BYTES = 16 << 20
_PARTS_AT_ONCE = 4
_MAX_PARTS = 10_000
_PAGE_OBJECTS = 1000


@dataclass(frozen=True, slots=True)
class S3Place:
    """An object, a prefix or a bucket, as the user wrote it."""

    uri: str

    @property
    def fs(self) -> Any:
        """The fsspec file system, connected as the environment says now."""
        return _client()

    @property
    def path(self) -> str:
        """Bucket and key, joined by a slash."""
        return self.uri.split("://", 1)[1].rstrip("/")

    @property
    def bucket(self) -> str:
        """Name of the bucket."""
        return self.path.split("/", 1)[0]

    @property
    def key(self) -> str:
        """Key of the object, or the prefix without a slash at its end; empty for the whole bucket."""
        return self.path.partition("/")[2]

    def exists(self, action: Action = "read") -> bool:
        """Whether an object is there, or any below the prefix; empty folders that some servers show do not count."""
        with self._explained(action):
            try:
                self._call("head_object", Key=self.key) if self.key else self._call("head_bucket")
            except FileNotFoundError:
                return bool(self.key) and any(self._pages(at_once=1))
            return True

    def state(self) -> FileState:
        """Size and version of an object."""
        with self._explained("read"):
            return self._head()

    def scan(self) -> Entries:
        """All objects below the prefix."""
        start = len(self._prefix)
        with self._explained("listed"):
            found = [(item["Key"][start:], item["Size"]) for page in self._pages() for item in page]
            if not found and self.key:
                return Entries([(self.key.rpartition("/")[2], self._head().size_bytes)], [])
        # Consoles make an empty object whose name ends in a slash for each "folder".
        objects = sorted(entry for entry in found if entry[1] or (entry[0] and not entry[0].endswith("/")))
        files = [entry for entry in objects if _is_plain(entry[0])]
        odd = [Irregular(name, "its name is no relative path") for name, _ in objects if not _is_plain(name)]
        return Entries(files, odd)

    def read(self, at_most: int | None) -> bytes:
        """A whole object, or its first bytes."""
        return self._read(0, at_most)

    def read_range(self, offset: int, length: int) -> bytes:
        """As many bytes as there are, `length` at most."""
        return self._read(offset, length) if length else b""

    def open_input(self, block_bytes: int) -> AbstractBufferedFile:
        """A binary file that reads ahead in blocks; an error while it is read is a `DataError`, too."""
        with self._explained("read"):
            state = self._head()
        return _Input(self, state, block_bytes)

    @contextmanager
    def open_output(self) -> Iterator[Any]:
        """A binary file to write; it is one PUT, or a multipart upload that is completed at the end of the block."""
        with self._explained("written"):
            file = self.fs.open(self.path, "wb", block_size=_PART_BYTES)
        try:
            yield file
            with self._explained("written"):
                file.close()
        except BaseException:
            with suppress(Exception):  # the first error is the one to tell
                file.discard()
            file.closed = True  # or its destructor would complete the upload
            raise

    def write(self, data: bytes) -> None:
        """One PUT, or a multipart upload."""
        with self._explained("written"):
            self._upload(partial(self.fs.pipe_file, self.path, data, max_concurrency=_PARTS_AT_ONCE))

    def upload(self, path: os.PathLike[str]) -> None:
        """One PUT, or a multipart upload; of a failed one nothing is left."""
        with local.explained(os.fspath(path), "read"):
            size = os.stat(path).st_size
        part_bytes = max(_PART_BYTES, -(-size // _MAX_PARTS))
        put = partial(self.fs.put_file, os.fspath(path), self.path)
        with self._explained("written"):
            self._upload(partial(put, chunksize=part_bytes, max_concurrency=_PARTS_AT_ONCE))
            self._require_size(size)

    def download(self, path: str) -> None:
        """All parts of the same version of the object, in order."""
        state = self.state()
        with local.explained(path, "written"), local.whole_file(path) as file:
            for part in self._parts(state):
                file.write(part)

    def remove(self) -> None:
        """Remove the object, and all below the prefix."""
        if not self.key:
            raise DataError(f"{self.uri} is a whole bucket, which is not removed from here; name a prefix in it")
        with self._explained("removed"):
            self._call("delete_object", Key=self.key)
            for page in self._pages():
                self._remove([item["Key"] for item in page])

    @property
    def _prefix(self) -> str:
        return f"{self.key}/" if self.key else ""

    def _call(self, method: str, **arguments: Any) -> Any:
        return self.fs.call_s3(method, Bucket=self.bucket, **arguments)

    def _explained(self, action: Action) -> AbstractContextManager[None]:
        return s3_errors.explained(self.uri, action, _tries())

    def _pages(self, at_once: int | None = None) -> Iterator[list[Any]]:
        """Descriptions of the objects below the prefix, up to a thousand at a time."""
        arguments: dict[str, Any] = {"Prefix": self._prefix, "MaxKeys": at_once or _PAGE_OBJECTS}
        while True:
            page = self._call("list_objects_v2", **arguments)
            if objects := page.get("Contents"):
                yield objects
            if not page.get("IsTruncated"):
                return
            arguments["ContinuationToken"] = page["NextContinuationToken"]

    def _head(self) -> FileState:
        try:
            head = self._call("head_object", Key=self.key)
        except FileNotFoundError:
            self._call("list_objects_v2", MaxKeys=1)  # HEAD does not say that it is the bucket that is missing
            raise
        return FileState(head["ContentLength"], head.get("ETag", ""))

    def _read(self, offset: int, length: int | None) -> bytes:
        with self._explained("read"):
            try:
                return self._get(offset, length)
            except OSError as error:
                if length is not None and s3_errors.code_of(error) in s3_errors.NO_SUCH_RANGE:
                    return b""  # it has no bytes there; an empty object has none anywhere
                raise

    def _get(self, offset: int, length: int | None, version: str = "") -> bytes:
        """One GET and its body, both with retries: botocore repeats requests, but not bodies that were cut short."""
        request = {"Key": self.key, **({"IfMatch": version} if version else {})}
        if length is not None:
            request["Range"] = f"bytes={offset}-{offset + length - 1}"
        return _repeated(partial(self._get_once, request), s3_errors.TornBodyError)

    def _get_once(self, request: dict[str, str]) -> bytes:
        body = self._call("get_object", **request)["Body"]
        try:
            return sync(self.fs.loop, _drained, body)  # type: ignore[no-any-return]
        except s3_errors.TORN as error:
            raise s3_errors.TornBodyError(str(error)) from error

    def _parts(self, state: FileState) -> Iterator[bytes]:
        """The object in pieces, a few of them fetched at once."""
        starts = range(0, state.size_bytes, _PART_BYTES)
        with ThreadPoolExecutor(_PARTS_AT_ONCE) as pool:
            for first in range(0, len(starts), _PARTS_AT_ONCE):
                yield from pool.map(partial(self._part, state), starts[first : first + _PARTS_AT_ONCE])

    def _part(self, state: FileState, start: int) -> bytes:
        length = min(_PART_BYTES, state.size_bytes - start)
        with self._explained("read"):
            part = self._get(start, length, state.version)
        if len(part) != length:
            raise DataError(f"{self.uri} gives {len(part)} bytes of {length} from byte {start} on; fetch it again")
        return part

    def _upload(self, put: Callable[[], Any]) -> None:
        """Send it; again from the start if the server forgot the upload meanwhile."""
        _repeated(partial(_put_once, put), s3_errors.UploadLostError)

    def _require_size(self, expected: int) -> None:
        found = self._head().size_bytes
        if found != expected:
            self._call("delete_object", Key=self.key)
            raise DataError(
                f"{self.uri} cannot be written: the server keeps {found} bytes of {expected}; write it again. "
                "Nothing stands under its name."
            )

    def _remove(self, keys: list[str]) -> None:
        answer = self._call("delete_objects", Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True})
        for error in answer.get("Errors", []):
            raise PermissionError(f"{error.get('Key')}: {error.get('Code')} {error.get('Message', '')}")


class _Input(AbstractBufferedFile):  # type: ignore[misc]
    """An object to read at any position; it must stay the same one meanwhile."""

    def __init__(self, place: S3Place, state: FileState, block_bytes: int) -> None:
        self._place, self._state = place, state
        super().__init__(place.fs, place.path, "rb", block_size=block_bytes, size=state.size_bytes)

    def _fetch_range(self, start: int, end: int) -> bytes:
        with self._place._explained("read"):
            return self._place._get(start, end - start, self._state.version) if end > start else b""


def _is_plain(name: str) -> bool:
    """Whether a name is a relative path; `a//b` or `../b` would lead elsewhere when it is joined to its folder."""
    return not any(part in {"", ".", ".."} for part in name.split("/"))


def _put_once(put: Callable[[], Any]) -> None:
    try:
        put()
    except FileNotFoundError as error:
        if s3_errors.code_of(error) == "NoSuchUpload":
            raise s3_errors.UploadLostError from error
        raise


async def _drained(body: Any) -> bytes:
    try:
        data: bytes = await body.read()
        return data
    finally:
        body.close()


def _repeated(function: Callable[[], _Answer], on: type[Exception]) -> _Answer:
    """Try again after one kind of error, as often and as long as the limits allow."""
    limits = _limits()
    retrying = Retrying(
        stop=stop_after_attempt(_tries()) | stop_after_delay(_tries() * float(limits["read_timeout"])),
        wait=wait_random_exponential(multiplier=0.5, max=20),
        retry=retry_if_exception_type(on),
        reraise=True,
    )
    return retrying(function)


def _limits() -> dict[str, Any]:
    """Settings of botocore; what `FSSPEC_S3` or fsspec's config files say of `config_kwargs` comes first."""
    tries = os.environ.get("AWS_MAX_ATTEMPTS") or str(_TRIES)
    if not tries.isdecimal() or int(tries) < 1:
        raise DataError(f"AWS_MAX_ATTEMPTS is {tries!r}; expected a whole number, 1 or more")
    given = fsspec.config.conf.get("s3", {}).get("config_kwargs", {})
    return {
        "connect_timeout": _CONNECT_TIMEOUT_S,
        "read_timeout": _READ_TIMEOUT_S,
        "retries": {"mode": "standard", "total_max_attempts": int(tries)},
        **given,
    }


def _tries() -> int:
    return int(_limits()["retries"].get("total_max_attempts", _TRIES))


def _client() -> Any:
    """A file system for the environment as it is now: a new endpoint or new credentials give another one."""
    settings = json.dumps([_limits(), fsspec.config.conf.get("s3")], sort_keys=True, default=str)
    environment = frozenset(item for item in os.environ.items() if item[0].startswith("AWS_"))
    return _connected(os.getpid(), environment, settings)


@lru_cache(maxsize=4)
def _connected(process: int, environment: frozenset[tuple[str, str]], settings: str) -> Any:
    del process, environment, settings  # they are the key; a client must not be shared with a forked process
    fs = fsspec.filesystem("s3", use_listings_cache=False, config_kwargs=_limits(), skip_instance_cache=True)
    # botocore repeats requests; s3fs would repeat each of its series, and reads would repeat those.
    fs.retries = 1
    return fs
