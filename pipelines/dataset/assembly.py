"""Makes a data set of its shards: index, statistics, quarantine table, card, and last the manifest.

Everything here is a function of the records, so it comes out the same however often the run was cut short.
"""

from __future__ import annotations

import io
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import manifest as records_of
from pipelines import schema, storage
from pipelines.config import PreprocessConfig
from pipelines.dataset import card, croissant, statistics
from pipelines.dataset.plans import DATA, versions
from pipelines.dataset.records import ShardRecord
from pipelines.dataset.shard_writer import sha256_of_file
from pipelines.manifest import INDEX, MANIFEST, DatasetManifest, Quarantined, Shard
from rddm.errors import DataError

QUARANTINE, QUARANTINE_TABLE = "quarantine.jsonl", "quarantine.parquet"
STATISTICS, PLOT, CROISSANT, CARD = "statistics.parquet", "statistics.png", "croissant.json", "README.md"

_OURS = re.compile(r"data/\w+/\.?part-\d+\.parquet(\..*)?")
_INDEX_GROUP_ROWS = 65_536


@dataclass(slots=True)
class _Sums:
    """What is known after all records have been read."""

    shards: list[Shard] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    statistics: list[pa.Table] = field(default_factory=list)
    num_masks: int = 0


def assemble(
    dataset_uri: str,
    records: Iterable[ShardRecord],
    set_aside: Sequence[Quarantined],
    config: PreprocessConfig,
    *,
    title: str,
    accept: Callable[[Sequence[Quarantined]], None] = lambda quarantined: None,
) -> tuple[DatasetManifest, list[Quarantined]]:
    """Read the records and write everything but manifest and quarantine list.

    Args:
        dataset_uri: The data set.
        records: Of all plans, in their order.
        set_aside: Inputs that never came into a plan.
        config: What it was made from.
        title: Name of the data set.
        accept: Told what was set aside before anything is written; may raise.

    Raises:
        DataError: A shard is gone, or has another size than its record says.

    Returns:
        The manifest, not yet written, and all that was set aside, by name.
    """
    with tempfile.TemporaryDirectory(prefix="rddm-index-") as folder:
        index = Path(folder) / INDEX
        sums = _read(index, records, dict(_files_of(dataset_uri)))
        quarantined = sorted([*set_aside, *sums.quarantined], key=lambda record: (record.name, record.found))
        accept(quarantined)
        index_sha256 = sha256_of_file(index)
        storage.publish_file(index, storage.join(dataset_uri, INDEX))
    table = pa.concat_tables([schema.STATISTICS.empty_table(), *sums.statistics])
    manifest = DatasetManifest(
        schema_version=schema.VERSION,
        title=title,
        fingerprint=records_of.fingerprint(sums.shards),
        rows={split: sum(shard.rows for shard in sums.shards if shard.split == split) for split in schema.SPLITS},
        pictures=_pictures(table),
        has_masks=sums.num_masks == sum(shard.rows for shard in sums.shards) > 0,
        shards=tuple(sums.shards),
        index_sha256=index_sha256,
        num_quarantined=len(quarantined),
        statistics=statistics.summarise(table),
        config=asdict(config),
        versions=versions(),
    )
    files = {STATISTICS: _parquet(table), PLOT: statistics.plot(table, title=title)}
    files |= {
        CROISSANT: json.dumps(croissant.describe(manifest), indent=2, ensure_ascii=False).encode(),
        CARD: card.render(manifest).encode(),
    }
    for name, data in files.items():
        storage.publish_bytes(storage.join(dataset_uri, name), data, overwrite=True)
    return manifest, quarantined


def publish_quarantine(dataset_uri: str, quarantined: Sequence[Quarantined]) -> None:
    """Write what was set aside, as lines for people and as a table."""
    rows = [asdict(record) for record in quarantined]
    records_of.publish_jsonl(storage.join(dataset_uri, QUARANTINE), rows, overwrite=True)
    table = pa.Table.from_pylist(rows, schema=schema.QUARANTINE)
    storage.publish_bytes(storage.join(dataset_uri, QUARANTINE_TABLE), _parquet(table), overwrite=True)


def publish_manifest(dataset_uri: str, manifest: DatasetManifest) -> None:
    """Write the manifest, after which the data set is one; shards of earlier tries that it does not name go first."""
    named = {shard.path for shard in manifest.shards}
    for path, _ in _files_of(dataset_uri):
        if path not in named and _OURS.fullmatch(path):
            storage.remove(storage.join(dataset_uri, path))
    storage.publish_bytes(storage.join(dataset_uri, MANIFEST), manifest.to_json())


def _files_of(dataset_uri: str) -> list[tuple[str, int]]:
    """Paths below the data set and sizes of all that stands where shards do."""
    folder = storage.join(dataset_uri, DATA)
    found = storage.list_entries(folder) if storage.exists(folder) else []
    return [(f"{DATA}/{path}", size) for path, size in found]


def _read(index: Path, records: Iterable[ShardRecord], sizes: Mapping[str, int]) -> _Sums:
    """Go through the records once; the index goes to disk on the way."""
    sums, waiting = _Sums(), 0
    parts: list[pa.Table] = []
    with pq.ParquetWriter(index, schema.INDEX, compression="zstd") as writer:
        for record in records:
            sums.quarantined += record.quarantined
            rows = [asdict(values) for values in record.statistics]
            sums.statistics.append(pa.Table.from_pylist(rows, schema=schema.STATISTICS))
            if record.shard is None:
                continue
            if sizes.get(record.shard.path) != record.shard.num_bytes:
                raise DataError(
                    f"{record.shard.path} was written, and is gone or has another size now; "
                    "remove the folder .staging and start the same command again"
                )
            number = pa.array([len(sums.shards)] * len(record.index), pa.int32())
            place = schema.INDEX.get_field_index("shard")
            parts.append(record.index.set_column(place, schema.INDEX.field("shard"), number))
            waiting += len(record.index)
            if waiting >= _INDEX_GROUP_ROWS:
                writer.write_table(pa.concat_tables(parts))
                parts, waiting = [], 0
            sums.num_masks += sum(length >= 0 for length in record.index["mask_bytes"].to_pylist())
            sums.shards.append(record.shard)
        if parts:
            writer.write_table(pa.concat_tables(parts))
    return sums


def _pictures(table: pa.Table) -> dict[str, int]:
    counts = Counter(table["split"].to_pylist())
    return {split: counts[split] for split in schema.SPLITS}


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
