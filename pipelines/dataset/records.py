"""What a run has committed: one record a finished shard, so that a killed run goes on where it was.

A record is a small Parquet file: the shard's part of the index, and in the file's metadata everything else that is to
be known of it. It is written after its shard, so a shard without one is simply made again.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import schema, storage
from pipelines.dataset.plans import ShardPlan
from pipelines.manifest import Quarantined, Shard
from pipelines.ops.pairs import PictureStatistics

STAGING = ".staging"
_RECORDS, _KEY = "records", b"rddm.record"
_READERS, _READ_AHEAD = 8, 64


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ShardRecord:
    """What became of a plan.

    Attributes:
        shard: The file, or None where nothing of the plan was fit for it.
        index: Its part of the index.
        statistics: One for each picture pair.
        quarantined: One for each item that was set aside.
    """

    shard: Shard | None
    index: pa.Table
    statistics: tuple[PictureStatistics, ...]
    quarantined: tuple[Quarantined, ...]

    def to_bytes(self) -> bytes:
        """The record as a file's content."""
        rest: dict[str, Any] = {
            "shard": self.shard and asdict(self.shard),
            "statistics": [asdict(values) for values in self.statistics],
            "quarantined": [asdict(record) for record in self.quarantined],
        }
        buffer = io.BytesIO()
        table = self.index.replace_schema_metadata({**(schema.INDEX.metadata or {}), _KEY: json.dumps(rest)})
        pq.write_table(table, buffer, compression="zstd")
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> ShardRecord:
        """What `to_bytes` gave."""
        table = pq.read_table(io.BytesIO(data))
        rest = json.loads(table.schema.metadata[_KEY])
        return cls(
            shard=rest["shard"] and Shard(**rest["shard"]),
            index=table.cast(schema.INDEX),
            statistics=tuple(PictureStatistics(**values) for values in rest["statistics"]),
            quarantined=tuple(Quarantined(**values) for values in rest["quarantined"]),
        )


class Records:
    """The records of one data set that is being made.

    Args:
        dataset_uri: The data set.
    """

    def __init__(self, dataset_uri: str) -> None:
        """Remember the place."""
        self._uri = storage.join(dataset_uri, STAGING, _RECORDS)

    def commit(self, plan: ShardPlan, record: ShardRecord) -> None:
        """Write a record; its shard stands already."""
        storage.publish_bytes(storage.join(self._uri, _name(plan)), record.to_bytes(), overwrite=True)

    def missing(self, plans: Sequence[ShardPlan]) -> list[ShardPlan]:
        """The plans that are still to be carried out."""
        committed = set(storage.list_files(self._uri)) if storage.exists(self._uri) else set()
        return [plan for plan in plans if _name(plan) not in committed]

    def forget_quarantined(self, plans: Sequence[ShardPlan]) -> list[Quarantined]:
        """Drop the records that set something aside, so that the next try looks again; returns what they had."""
        unmade = {plan.name for plan in self.missing(plans)}
        made = [plan for plan in plans if plan.name not in unmade]
        dropped: list[Quarantined] = []
        for plan, record in zip(made, self.read(made), strict=True):
            if record.quarantined:
                dropped += record.quarantined
                storage.remove(storage.join(self._uri, _name(plan)))
        return dropped

    def read(self, plans: Sequence[ShardPlan]) -> Iterator[ShardRecord]:
        """The records of plans, in their order; a few are read ahead."""
        with ThreadPoolExecutor(_READERS) as pool:
            for start in range(0, len(plans), _READ_AHEAD):
                yield from pool.map(self._read, plans[start : start + _READ_AHEAD])

    def _read(self, plan: ShardPlan) -> ShardRecord:
        return ShardRecord.from_bytes(storage.read_bytes(storage.join(self._uri, _name(plan))))


def _name(plan: ShardPlan) -> str:
    return f"{plan.name}.{plan.digest[:16]}.parquet"
