"""Whether a finished data set is still what its manifest says, file by file."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import manifest as records
from pipelines import storage
from pipelines.manifest import INDEX, MANIFEST, DatasetManifest, Shard
from rddm.errors import DataError

Progress = Callable[[int, int, str], None]
_DATA = "data"
_CHUNK_BYTES = 4 << 20
_RESTORE = (
    "copy it again from an undamaged copy, or remove the data set and run `rddm preprocess` again: the same input and "
    "config give the same bytes"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Damage:
    """A file that is not what it should be.

    Attributes:
        path: The file, relative to the data set.
        found: What is wrong with it.
        remedy: What to do about it.
    """

    path: str
    found: str
    remedy: str = _RESTORE

    def __str__(self) -> str:
        return f"{self.path}: {self.found}; {self.remedy}"


def verify(dataset_uri: str, manifest: DatasetManifest, *, progress: Progress | None = None) -> list[Damage]:
    """Read all of a data set and compare: sizes, hashes, rows against the index, and files that nobody named.

    Args:
        dataset_uri: The data set.
        manifest: What it should be.
        progress: Told of (shards done, shards in all, the last one).

    Returns:
        Every damaged file; nothing for a whole data set.
    """
    found = [*_manifest_damage(manifest)]
    index = _index(dataset_uri, manifest, found)
    for number, shard in enumerate(manifest.shards):
        damage = _file_damage(dataset_uri, shard) or _row_damage(dataset_uri, shard, number, index)
        if damage is not None:
            found.append(Damage(path=shard.path, found=damage))
        if progress is not None:
            progress(number + 1, len(manifest.shards), shard.path)
    return [*found, *_strays(dataset_uri, manifest)]


def _manifest_damage(manifest: DatasetManifest) -> Iterator[Damage]:
    rows = dict.fromkeys(manifest.rows, 0)
    for shard in manifest.shards:
        rows[shard.split] = rows.get(shard.split, 0) + shard.rows
    if records.fingerprint(manifest.shards) != manifest.fingerprint:
        yield Damage(path=MANIFEST, found="its fingerprint is not that of its shards")
    if rows != manifest.rows:
        yield Damage(path=MANIFEST, found=f"its shards have {rows} rows, it says {manifest.rows}")


def _index(dataset_uri: str, manifest: DatasetManifest, found: list[Damage]) -> pa.Table | None:
    """Shard and key of each row, or nothing where the index is damaged, which is noted."""
    try:
        data = storage.read_bytes(storage.join(dataset_uri, INDEX))
        if records.sha256(data) != manifest.index_sha256:
            raise DataError("its SHA-256 is not the manifest's")
        return pq.read_table(io.BytesIO(data), columns=["shard", "key"])
    except (DataError, OSError, ValueError) as error:
        found.append(Damage(path=INDEX, found=str(error)))
        return None


def _file_damage(dataset_uri: str, shard: Shard) -> str | None:
    try:
        size, digest = _measured(storage.join(dataset_uri, shard.path))
    except (DataError, OSError) as error:
        return str(error)
    if size != shard.num_bytes:
        return f"it has {size} bytes of {shard.num_bytes}"
    return None if digest == shard.sha256 else f"its SHA-256 is {digest}, the manifest has {shard.sha256}"


def _measured(uri: str) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    with storage.open_input(uri) as file:
        while chunk := file.read(_CHUNK_BYTES):
            size += len(chunk)
            digest.update(chunk)
    return size, digest.hexdigest()


def _row_damage(dataset_uri: str, shard: Shard, number: int, index: pa.Table | None) -> str | None:
    """The file is whole; whether it holds the rows that the index leads to."""
    with storage.open_input(storage.join(dataset_uri, shard.path)) as file:
        keys = pq.ParquetFile(file).read(columns=["key"])["key"].to_pylist()
    if len(keys) != shard.rows:
        return f"it has {len(keys)} rows, the manifest says {shard.rows}"
    if index is None:
        return None
    start, stop = np.searchsorted(index["shard"].to_numpy(), (number, number + 1))  # it is in the order of the shards
    named = index["key"].slice(start, stop - start).to_pylist()
    if keys == named:
        return None
    return f"its {len(keys)} rows are not the {len(named)} that {INDEX} names, in their order"


def _strays(dataset_uri: str, manifest: DatasetManifest) -> Iterator[Damage]:
    """Files that readers without the manifest would take for a part of the data set."""
    folder = storage.join(dataset_uri, _DATA)
    named = {shard.path for shard in manifest.shards}
    for name in storage.list_files(folder) if storage.exists(folder) else []:
        path = f"{_DATA}/{name}"
        if path not in named and path.endswith(".parquet"):
            yield Damage(path=path, found="the manifest does not name it", remedy="remove it")
