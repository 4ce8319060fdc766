"""`rddm preprocess`: image sets -> a checked data set of pairs in Parquet."""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import Any

from jobs.cluster import ray_session
from jobs.config import RunConfig
from jobs.terminal import Terminal
from jobs.workspace import Workspace
from pipelines.config_checks import settled
from pipelines.manifest import refuse_finished
from pipelines.preprocess import PreprocessReport, preprocess
from pipelines.sources import find_pairs


def run(config: RunConfig, terminal: Terminal) -> PreprocessReport:
    """Write the run's data set below its workspace.

    Raises:
        DataError: The source is missing or empty, too much of it is bad, or the data set exists already.
        ClusterUnreachableError: Ray did not start or does not answer.
    """
    with ray_session(config.cluster), terminal.progress("preprocess") as advance:
        return preprocess(config.data, Workspace.of(config).dataset_uri, title=config.name, progress=advance)


def plan(config: RunConfig, terminal: Terminal) -> dict[str, Any]:
    """Find the pairs, and write nothing.

    Raises:
        ConfigError: A name or a number in the config is wrong.
        DataError: As `run`.
    """
    dataset_uri = Workspace.of(config).dataset_uri
    refuse_finished(dataset_uri)
    settled(config.data)
    with TemporaryDirectory(prefix="rddm-dry-run-") as scratch:
        found = find_pairs(config.data, scratch_uri=scratch)
    splits = sorted({pair.split for pair in found.pairs})
    return {
        "pairs": {split: sum(pair.split == split for pair in found.pairs) for split in splits},
        "orphans": len(found.quarantined),
        "would_write": dataset_uri,
    }
