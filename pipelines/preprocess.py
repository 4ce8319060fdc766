"""The graph that makes a data set: source -> decode -> check -> pair -> (degrade) -> patch -> shards and manifest.

One Ray Data row is one planned shard. Its task does everything for that shard and returns only a record, so pictures
never pass through the driver, and the shards' bytes do not depend on the number of workers.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import cv2
import pyarrow as pa
import pyarrow.parquet as pq
import ray.data

from pipelines import manifest as records
from pipelines import schema, storage
from pipelines.config import PreprocessConfig
from pipelines.graphs import actor_options, told_plainly
from pipelines.manifest import DatasetManifest, Quarantined, Shard
from pipelines.ops.degrade import Degrade
from pipelines.ops.pairs import WorkItem, rows_of
from pipelines.sources import SourcePair, find_pairs
from rddm.errors import ConfigError, DataError, TooManyQuarantinedError

MANIFEST, QUARANTINE, DATA = "manifest.json", "quarantine.jsonl", "data"
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class PreprocessReport:
    """What became of a source.

    Attributes:
        dataset_uri: Where the data set lies.
        fingerprint: Equal for equal content.
        rows: Rows of each split.
        num_shards: Parquet files.
        num_quarantined: Inputs set aside.
        quarantine_uri: Their list.
    """

    dataset_uri: str
    fingerprint: str
    rows: dict[str, int]
    num_shards: int
    num_quarantined: int
    quarantine_uri: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardPlan:
    """A Parquet file to be: its place, and the items whose rows it will hold."""

    path: str
    split: str
    items: tuple[WorkItem, ...]

    def to_json(self) -> str:
        """The plan as a row can carry it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ShardPlan:
        """What `to_json` gave."""
        values = json.loads(text)
        items = (WorkItem(pair=SourcePair(**item["pair"]), variant=item["variant"]) for item in values["items"])
        return cls(path=values["path"], split=values["split"], items=tuple(items))


class WriteShard:
    """Carries out one plan: everything from files to a published Parquet file.

    Args:
        config: The data set's config.
        output_uri: The data set.
    """

    def __init__(self, config: PreprocessConfig, output_uri: str) -> None:
        """Build the degradation once a worker."""
        cv2.setNumThreads(1)
        self._config, self._output_uri = config, output_uri
        self._degrade = Degrade(config.degrade.name, strength=config.degrade.strength, seed=config.seed)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """A plan as JSON -> its record: the shard's JSON, empty if no row is left, and the quarantined items'."""
        plan = ShardPlan.from_json(row["plan"])
        rows: list[dict[str, Any]] = []
        quarantined: list[Quarantined] = []
        for item in plan.items:
            result = rows_of(item, self._config, self._degrade)
            if isinstance(result, Quarantined):
                quarantined.append(result)
            else:
                rows.extend(result)
        shard = self._write(plan, rows) if rows else None
        return {
            "items": len(plan.items),
            "shard": json.dumps(asdict(shard)) if shard else "",
            "quarantined": json.dumps([asdict(record) for record in quarantined]),
        }

    def _write(self, plan: ShardPlan, rows: list[dict[str, Any]]) -> Shard:
        buffer = io.BytesIO()
        table = pa.Table.from_pylist(rows, schema=schema.PAIRS)
        pq.write_table(
            table, buffer, row_group_size=self._config.row_group_size, compression="none", use_dictionary=False
        )
        data = buffer.getvalue()
        storage.publish_bytes(storage.join(self._output_uri, plan.path), data, overwrite=True)
        return Shard(path=plan.path, split=plan.split, rows=len(rows), sha256=records.sha256(data))


def preprocess(config: PreprocessConfig, output_uri: str, *, progress: Progress | None = None) -> PreprocessReport:
    """Write a data set; Ray must be initialised.

    The manifest comes last: a data set that has one is whole. A run that was cut short is simply started again.

    Args:
        config: What it is made from and how.
        output_uri: A folder or prefix without a finished data set.
        progress: Told of (pairs done, pairs in all).

    Raises:
        ConfigError: A name or a number in the config is wrong.
        DataError: The source is missing or empty, or the output is a finished data set.
        ClusterError: Workers failed.
        TooManyQuarantinedError: More pairs are bad than `max_quarantined_share` allows; only their list is left.
    """
    if storage.exists(storage.join(output_uri, MANIFEST)):
        raise DataError(
            f"{output_uri} is a finished data set already; nothing is overwritten, choose another workspace"
        )
    _check(config)
    found = find_pairs(config)
    plans = plan_shards(found.pairs, config)
    try:
        with told_plainly("Preprocessing"):
            shards, bad = _run(plans, config, output_uri, progress)
        quarantined = [*found.quarantined, *bad]
        records.publish_jsonl(storage.join(output_uri, QUARANTINE), map(asdict, quarantined), overwrite=True)
        _check_share(
            len(quarantined), sum(len(plan.items) for plan in plans) + len(found.quarantined), config, output_uri
        )
    except BaseException:
        storage.remove(storage.join(output_uri, DATA))
        raise
    whole = _manifest(shards, len(quarantined), config)
    storage.publish_bytes(storage.join(output_uri, MANIFEST), whole.to_json())
    return PreprocessReport(
        dataset_uri=output_uri,
        fingerprint=whole.fingerprint,
        rows=whole.rows,
        num_shards=len(shards),
        num_quarantined=len(quarantined),
        quarantine_uri=storage.join(output_uri, QUARANTINE),
    )


def plan_shards(pairs: tuple[SourcePair, ...], config: PreprocessConfig) -> list[ShardPlan]:
    """Decide, from the sorted pairs alone, which items go into which file."""
    plans = []
    for split in schema.SPLITS:
        items = [item for pair in pairs if pair.split == split for item in _variants(pair, config)]
        for number, start in enumerate(range(0, len(items), config.pictures_per_shard)):
            path = f"{DATA}/split={split}/part-{number:05d}.parquet"
            batch = tuple(items[start : start + config.pictures_per_shard])
            plans.append(ShardPlan(path=path, split=split, items=batch))
    return plans


def _variants(pair: SourcePair, config: PreprocessConfig) -> Iterator[WorkItem]:
    if pair.degraded is not None or pair.split != schema.TRAIN:
        yield WorkItem(pair=pair)
    else:
        yield from (WorkItem(pair=pair, variant=variant) for variant in range(config.degrade.variants))


def _run(
    plans: list[ShardPlan], config: PreprocessConfig, output_uri: str, progress: Progress | None
) -> tuple[list[Shard], list[Quarantined]]:
    graph = ray.data.from_items([{"plan": plan.to_json()} for plan in plans], override_num_blocks=len(plans)).map(
        WriteShard, fn_constructor_args=(config, output_uri), **actor_options(len(plans))
    )
    shards, quarantined, done = [], [], 0
    total = sum(len(plan.items) for plan in plans)
    for record in graph.iter_rows():
        if record["shard"]:
            shards.append(Shard(**json.loads(record["shard"])))
        quarantined += [Quarantined(**values) for values in json.loads(record["quarantined"])]
        done += record["items"]
        if progress is not None:
            progress(done, total)
    order = {split: number for number, split in enumerate(schema.SPLITS)}
    shards.sort(key=lambda shard: (order[shard.split], shard.path))
    return shards, sorted(quarantined, key=lambda item: item.name)


def _check(config: PreprocessConfig) -> None:
    if not 0 <= config.degrade.strength <= 1 or config.degrade.variants < 1:
        raise ConfigError(
            f"data.degrade has strength {config.degrade.strength} and {config.degrade.variants} variants; "
            "expected a strength in [0, 1] and 1 or more variants"
        )
    if config.pictures_per_shard < 1 or config.row_group_size < 1:
        raise ConfigError("data.pictures_per_shard and data.row_group_size must be 1 or more")
    Degrade(config.degrade.name, strength=config.degrade.strength)


def _check_share(bad: int, total: int, config: PreprocessConfig, output_uri: str) -> None:
    if bad > config.max_quarantined_share * total or bad == total:
        raise TooManyQuarantinedError(
            f"{bad} of {total} pairs are bad, at most {config.max_quarantined_share:.0%} may be "
            f"(data.max_quarantined_share); see {storage.join(output_uri, QUARANTINE)}. No data set was written."
        )


def _manifest(shards: list[Shard], num_quarantined: int, config: PreprocessConfig) -> DatasetManifest:
    rows = {split: sum(shard.rows for shard in shards if shard.split == split) for split in schema.SPLITS}
    return DatasetManifest(
        schema_version=records.SCHEMA_VERSION,
        fingerprint=records.fingerprint(shards),
        rows=rows,
        shards=tuple(shards),
        num_quarantined=num_quarantined,
        config=asdict(config),
        versions={name: version(name) for name in ("albumentations", "numpy", "pillow", "pyarrow")},
    )
