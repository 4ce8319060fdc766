"""What was read, written and quarantined: the records that stand beside every output."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipelines import schema, storage
from rddm.errors import DataError

MANIFEST, INDEX = "manifest.json", "index.parquet"


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
    num_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetManifest:
    """What a data set is; it is written last, so a data set without it is not finished.

    Attributes:
        schema_version: Version of this record and of the tables.
        title: Name of the data set.
        fingerprint: SHA-256 over the shards' hashes: equal for equal content.
        rows: Rows of each split.
        pictures: Picture pairs of each split; a pair that is cut into patches has several rows.
        has_masks: Whether every row has a mask.
        shards: The files, in order.
        index_sha256: Of the table that says where each row lies.
        num_quarantined: Inputs that were set aside.
        statistics: Means over the pairs of each split, by split and name.
        config: The resolved config that made it.
        versions: Packages that made it.
    """

    schema_version: int
    title: str
    fingerprint: str
    rows: dict[str, int]
    pictures: dict[str, int]
    has_masks: bool
    shards: tuple[Shard, ...]
    index_sha256: str
    num_quarantined: int
    statistics: dict[str, dict[str, float]]
    config: dict[str, Any]
    versions: dict[str, str]

    def to_json(self) -> bytes:
        """The record as a file's content."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes, *, where: str) -> DatasetManifest:
        """Read the record again.

        Raises:
            DataError: It is damaged, or of another version.
        """
        try:
            values = json.loads(data)
            version = values["schema_version"]
            if version != schema.VERSION:
                raise DataError(
                    f"{where} has schema version {version}; this release reads {schema.VERSION}; "
                    "make the data set again with `rddm preprocess`"
                )
            return cls(**{**values, "shards": tuple(Shard(**shard) for shard in values["shards"])})
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{where} is no data set's manifest ({error}); run `rddm preprocess` again") from None


def read_manifest(dataset_uri: str) -> DatasetManifest:
    """The manifest of a finished data set.

    Raises:
        DataError: There is none, or it is of another version.
    """
    place = storage.join(dataset_uri, MANIFEST)
    if not storage.exists(place):
        raise DataError(f"No data set at {dataset_uri}; make it first: rddm preprocess --config FILE")
    return DatasetManifest.from_json(storage.read_bytes(place), where=place)


def refuse_finished(dataset_uri: str) -> None:
    """Nothing is written over a finished data set.

    Raises:
        DataError: There is one.
    """
    if storage.exists(storage.join(dataset_uri, MANIFEST)):
        raise DataError(
            f"{dataset_uri} is a finished data set already; nothing is overwritten, choose another workspace"
        )


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
