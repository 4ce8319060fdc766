"""The graph that makes a data set: source -> decode -> check -> pair -> (degrade) -> patch -> shards and manifest.

One Ray Data row is one planned shard. Its task does everything for that shard and gives back only counts, so pictures
never pass through the driver or the object store, and the shards' bytes do not depend on the number of workers.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import ray
import ray.data

from pipelines import storage
from pipelines.config import PreprocessConfig
from pipelines.config_checks import settled
from pipelines.dataset import assembly
from pipelines.dataset.assembly import QUARANTINE
from pipelines.dataset.plans import ShardPlan, plan_shards
from pipelines.dataset.records import STAGING, Records, ShardRecord
from pipelines.dataset.shard_writer import write_shard
from pipelines.dataset.text import one_line
from pipelines.graphs import told_plainly
from pipelines.manifest import Quarantined, refuse_finished
from pipelines.ops.degrade import Degrade
from pipelines.ops.pairs import PictureStatistics, WorkItem, checked
from pipelines.schema import INDEX
from pipelines.sources import find_pairs
from rddm.errors import DataError, RDDMError, TooManyQuarantinedError

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class PreprocessReport:
    """What became of a source.

    Attributes:
        dataset_uri: Where the data set lies.
        fingerprint: Equal for equal content.
        rows: Rows of each split.
        num_shards: Parquet files.
        num_shards_kept: How many of them an earlier run, cut short, had committed.
        num_nodes: Machines that worked on the others.
        num_quarantined: Inputs set aside.
        quarantine_uri: Their list.
    """

    dataset_uri: str
    fingerprint: str
    rows: dict[str, int]
    num_shards: int
    num_shards_kept: int
    num_nodes: int
    num_quarantined: int
    quarantine_uri: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def preprocess(
    config: PreprocessConfig, output_uri: str, *, title: str = "", progress: Progress | None = None
) -> PreprocessReport:
    """Write a data set; Ray must be initialised.

    The manifest comes last: a data set that has one is whole. A run that was cut short is simply started again: shards
    that were committed under the same config, input and package versions are kept.

    Args:
        config: What it is made from and how.
        output_uri: A folder or prefix without a finished data set.
        title: Name of the data set, unless its card says another.
        progress: Told of (pairs done, pairs in all).

    Raises:
        ConfigError: A name or a number in the config is wrong.
        DataError: The source is missing or empty, or the output is a finished data set.
        ClusterError: Workers failed.
        TooManyQuarantinedError: More pairs are bad than `max_quarantined_share` allows; there is their list, and no
            data set.
    """
    staging_uri = storage.join(output_uri, STAGING)
    try:
        refuse_finished(output_uri)
    except DataError:
        storage.remove(staging_uri)  # a run that was killed at its very end leaves it
        raise
    config = settled(config)
    found = find_pairs(config, scratch_uri=staging_uri)
    plans = plan_shards(found.pairs, config)
    records = Records(output_uri)
    missing = records.missing(plans)
    budget = _Budget(config, len(found.quarantined), sum(len(plan.items) for plan in plans), output_uri)
    try:
        with told_plainly("Preprocessing"):
            num_nodes = _run(plans, missing, config, output_uri, budget, progress)
        manifest, quarantined = assembly.assemble(
            output_uri,
            records.read(plans),
            found.quarantined,
            config,
            title=config.card.title or title or "data set",
            accept=lambda quarantined: budget.check(len(quarantined)),
        )
    except TooManyQuarantinedError:
        assembly.publish_quarantine(output_uri, [*found.quarantined, *records.forget_quarantined(plans)])
        raise
    assembly.publish_quarantine(output_uri, quarantined)
    assembly.publish_manifest(output_uri, manifest)
    storage.remove(staging_uri)
    return PreprocessReport(
        dataset_uri=output_uri,
        fingerprint=manifest.fingerprint,
        rows=manifest.rows,
        num_shards=len(manifest.shards),
        num_shards_kept=len(plans) - len(missing),
        num_nodes=num_nodes,
        num_quarantined=len(quarantined),
        quarantine_uri=storage.join(output_uri, QUARANTINE),
    )


def make_shard(plan: ShardPlan, config: PreprocessConfig, output_uri: str) -> ShardRecord:
    """Carry out one plan, from files to a committed shard; what it holds in memory at a time is one row group.

    Raises:
        DataError: The shard cannot be written; what cannot be read is set aside instead.
    """
    degrade = _degradation(config.degrade.name, config.degrade.strength, config.seed)
    statistics: list[PictureStatistics] = []
    quarantined: list[Quarantined] = []

    def rows() -> Iterator[dict[str, Any]]:
        for item in plan.items:
            result = _processed(item, config, degrade)
            if isinstance(result, Quarantined):
                quarantined.append(result)
            else:
                statistics.append(result[0])
                yield from result[1]

    written = write_shard(
        output_uri,
        plan.path,
        plan.split,
        rows(),
        row_group_size=config.row_group_size,
        row_group_bytes=config.row_group_bytes,
    )
    shard, index = written or (None, INDEX.empty_table())
    record = ShardRecord(shard=shard, index=index, statistics=tuple(statistics), quarantined=tuple(quarantined))
    Records(output_uri).commit(plan, record)
    return record


def _processed(
    item: WorkItem, config: PreprocessConfig, degrade: Degrade
) -> tuple[PictureStatistics, Iterator[dict[str, Any]]] | Quarantined:
    """A pair's figures and rows, or why it is set aside: what a library cannot do with one picture ends no run."""
    try:
        result = checked(item, config, degrade)
        if isinstance(result, Quarantined):
            return result
        statistics, rows = result.statistics(), result.rows()
        return statistics, itertools.chain([next(rows)], rows)
    except (RDDMError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - as many kinds as there are libraries
        return Quarantined(
            name=item.key,
            found=f"it cannot be processed ({one_line(str(error), 300) or type(error).__name__})",
            expected="a pair that the steps of the config can be applied to",
            remedy="leave it out, or change the config",
        )


@dataclass(frozen=True, slots=True)
class _Budget:
    """How many pairs may be bad."""

    config: PreprocessConfig
    orphans: int
    items: int
    output_uri: str

    def check(self, bad: int) -> None:
        """Stop the run as soon as it is certain that too many are.

        Raises:
            TooManyQuarantinedError: They are.
        """
        total = self.items + self.orphans
        if bad > self.config.max_quarantined_share * total or bad == total:
            raise TooManyQuarantinedError(
                f"{bad} of {total} pairs are bad, at most {self.config.max_quarantined_share:.0%} may be "
                f"(data.max_quarantined_share); see {storage.join(self.output_uri, QUARANTINE)}. No data set was "
                "written; what is done is kept for the next try."
            )


def _run(
    plans: list[ShardPlan],
    missing: list[ShardPlan],
    config: PreprocessConfig,
    output_uri: str,
    budget: _Budget,
    progress: Progress | None,
) -> int:
    """Carry out the missing plans; returns the number of machines that did."""
    total = sum(len(plan.items) for plan in plans)
    done, bad, nodes = total - sum(len(plan.items) for plan in missing), budget.orphans, set()
    if progress is not None:
        progress(done, total)
    if not missing:
        return 0
    graph = ray.data.from_items([{"plan": plan.to_json()} for plan in missing], override_num_blocks=len(missing)).map(
        _make, fn_kwargs={"config": config, "output_uri": output_uri}, num_cpus=1
    )
    for row in graph.iter_rows():
        nodes.add(row["node"])
        done, bad = done + row["items"], bad + row["bad"]
        if progress is not None:
            progress(done, total)
        budget.check(bad)
    return len(nodes)


def _make(row: dict[str, Any], *, config: PreprocessConfig, output_uri: str) -> dict[str, Any]:
    """The task: a plan as JSON -> its counts."""
    cv2.setNumThreads(1)
    plan = ShardPlan.from_json(row["plan"])
    record = make_shard(plan, config, output_uri)
    return {
        "items": len(plan.items),
        "bad": len(record.quarantined),
        "node": ray.get_runtime_context().get_node_id(),
    }


@functools.lru_cache(maxsize=4)
def _degradation(name: str, strength: float, seed: int) -> Degrade:
    return Degrade(name, strength=strength, seed=seed)
