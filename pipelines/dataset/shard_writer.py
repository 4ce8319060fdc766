"""Writes one shard: plain Parquet, row group by row group, and knows afterwards where each picture's bytes lie.

Pictures stand uncompressed and without a dictionary, each row group's in one page. So a picture is a run of bytes in
the file that a reader can map or ask for by range, and any Parquet reader still sees a table.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import schema, storage
from pipelines.manifest import Shard

_LENGTH_BYTES = 4
_PAGE_BYTES = 1 << 30  # never reached: a row group's pictures stay in one page
_CHUNK_BYTES = 1 << 20

Row = Mapping[str, Any]


def write_shard(
    dataset_uri: str,
    path: str,
    split: str,
    rows: Iterable[Row],
    *,
    row_group_size: int,
    row_group_bytes: int,
) -> tuple[Shard, pa.Table] | None:
    """Write rows into a file of a data set; it appears under its name when it is whole.

    Args:
        dataset_uri: The data set.
        path: The file, relative to it.
        split: Of all rows.
        rows: As `schema.PAIRS` has them; they are taken one row group at a time.
        row_group_size: Rows of a group at most.
        row_group_bytes: Bytes of pictures at which a group is closed.

    Returns:
        The shard and its part of the index (`shard` is 0 in it), or nothing where there is no row.

    Raises:
        DataError: It cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="rddm-shard-") as folder:
        file = Path(folder) / "shard.parquet"
        entries = _write(file, _groups(rows, row_group_size, row_group_bytes))
        if not entries:
            return None
        index = _index(file, entries)
        shard = Shard(
            path=path, split=split, rows=len(entries), num_bytes=file.stat().st_size, sha256=sha256_of_file(file)
        )
        storage.publish_file(file, storage.join(dataset_uri, path))
    return shard, index


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a local file in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _groups(rows: Iterable[Row], max_rows: int, max_bytes: int) -> Iterator[list[Row]]:
    group: list[Row] = []
    size = 0
    for row in rows:
        group.append(row)
        size += sum(len(row[name] or b"") for name in schema.PICTURES)
        if len(group) >= max_rows or size >= max_bytes:
            yield group
            group, size = [], 0
    if group:
        yield group


def _write(path: Path, groups: Iterable[list[Row]]) -> list[dict[str, Any]]:
    """Write the groups; returns what the index will say of each row, offsets excepted, in order."""
    entries: list[dict[str, Any]] = []
    with pq.ParquetWriter(
        path,
        schema.PAIRS,
        compression="none",
        use_dictionary=False,
        write_statistics=["key"],
        write_page_checksum=True,
        data_page_size=_PAGE_BYTES,
    ) as writer:
        for number, group in enumerate(groups):
            writer.write_table(pa.Table.from_pylist(group, schema=schema.PAIRS), row_group_size=len(group))
            entries += [_entry(row, number) for row in group]
    return entries


def _entry(row: Row, group: int) -> dict[str, Any]:
    lengths = {f"{name}_bytes": -1 if row[name] is None else len(row[name]) for name in schema.PICTURES}
    return {**{name: row[name] for name in schema.INDEX.names if name in row}, **lengths, "shard": 0, "group": group}


def _index(path: Path, entries: list[dict[str, Any]]) -> pa.Table:
    """Find each picture from the end of its page backwards, and look whether it is there."""
    metadata = pq.read_metadata(path)
    columns = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
    with open(path, "rb") as file:
        for name in schema.PICTURES:
            group, position = -1, 0
            for entry in reversed(entries):
                if entry["group"] != group:
                    group = entry["group"]
                    chunk = metadata.row_group(group).column(columns[name])
                    position = chunk.data_page_offset + chunk.total_compressed_size
                length = entry[f"{name}_bytes"]
                position -= max(length, 0)
                entry[f"{name}_offset"] = position
                if length >= 0:
                    position -= _LENGTH_BYTES
                    file.seek(position)
                    found = int.from_bytes(file.read(_LENGTH_BYTES), "little")
                    if found != length:
                        raise RuntimeError(f"pyarrow lays pages out in another way: {found} stands where {length} must")
    return pa.Table.from_pylist(entries, schema=schema.INDEX)
