"""What was read, written and quarantined: the records that stand beside every output."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipelines import storage
from rddm.errors import DataError

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Quarantined:
    """An input that was set aside.

    Attributes:
        name: The file, or the pair's key.
        found: What is wrong with it.
        expected: What would have been right.
        remedy: What to do about it.
    """

    name: str
    found: str
    expected: str = "a whole PNG, JPEG, TIFF, WebP or BMP picture"
    remedy: str = "replace the file or leave it out"

    @property
    def reason(self) -> str:
        """All of it in a sentence."""
        return f"{self.found}; expected {self.expected}; {self.remedy}"


def set_misnamed_aside(names: Iterable[str]) -> tuple[list[str], list[Quarantined]]:
    """Names that every table and archive can hold, and a record for each of the others, in the order given."""
    good, bad = [], []
    for name in names:
        shown = name.encode("utf-8", "backslashreplace").decode()
        if shown == name:
            good.append(name)
        else:
            bad.append(
                Quarantined(name=shown, found="its name is not UTF-8", expected="a UTF-8 name", remedy="rename it")
            )
    return good, bad


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """One Parquet file of a data set; `path` is relative to the data set."""

    path: str
    split: str
    rows: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetManifest:
    """What a data set is; it is written last, so a data set without it is not finished.

    Attributes:
        schema_version: Version of this record and of the table.
        fingerprint: SHA-256 over the shards' hashes: equal for equal content.
        rows: Rows of each split.
        shards: The files, in order.
        num_quarantined: Inputs that were set aside.
        config: The resolved config that made it.
        versions: Packages that made it.
    """

    schema_version: int
    fingerprint: str
    rows: dict[str, int]
    shards: tuple[Shard, ...]
    num_quarantined: int
    config: dict[str, Any]
    versions: dict[str, str]

    def to_json(self) -> bytes:
        """The record as a file's content."""
        return json.dumps(asdict(self), indent=2).encode()

    @classmethod
    def from_json(cls, data: bytes, *, where: str) -> DatasetManifest:
        """Read the record again.

        Raises:
            DataError: It is damaged, or of another version.
        """
        try:
            values = json.loads(data)
            version = values["schema_version"]
            if version != SCHEMA_VERSION:
                raise DataError(f"{where} has schema version {version}; this release reads {SCHEMA_VERSION}")
            return cls(**{**values, "shards": tuple(Shard(**shard) for shard in values["shards"])})
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{where} is no data set's manifest ({error}); run `rddm preprocess` again") from None


def sha256(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def fingerprint(shards: Iterable[Shard]) -> str:
    """SHA-256 over the paths and hashes of all shards."""
    return sha256("\n".join(f"{shard.path} {shard.sha256}" for shard in shards).encode())


def publish_jsonl(uri: str, rows: Iterable[Mapping[str, Any]], *, overwrite: bool = False) -> None:
    """Write records as JSON lines."""
    lines = [json.dumps(dict(row), ensure_ascii=False) + "\n" for row in rows]
    storage.publish_bytes(uri, "".join(lines).encode(), overwrite=overwrite)
