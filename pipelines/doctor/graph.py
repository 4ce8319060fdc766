"""The graph of the pair doctor: pairs -> facts, a batch a row, on every machine of a cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import ray.data

from pipelines.config import PreprocessConfig
from pipelines.graphs import told_plainly
from pipelines.ops.facts import PairFacts
from pipelines.ops.inspect_files import inspect_pairs
from pipelines.ops.pairs import WorkItem
from pipelines.sources.pairing import SourcePair

_PAIRS_A_ROW = 20
_MOST_BLOCKS = 2000


def inspect_over_ray(pairs: Sequence[SourcePair], config: PreprocessConfig) -> Iterator[list[PairFacts]]:
    """The facts of pairs, in batches, in any order; Ray must be initialised.

    Args:
        pairs: Sorted by key, so that a clean picture that several share is read once in most batches.
        config: What the set is made from.

    Raises:
        ClusterError: Workers failed.
    """
    rows = [
        {"pairs": json.dumps([WorkItem(pair=pair).to_list() for pair in pairs[start : start + _PAIRS_A_ROW]])}
        for start in range(0, len(pairs), _PAIRS_A_ROW)
    ]
    with told_plainly("Inspecting"):
        graph = ray.data.from_items(rows, override_num_blocks=min(len(rows), _MOST_BLOCKS))
        for row in graph.map(inspect_row, fn_kwargs={"config": config}, num_cpus=1).iter_rows():
            yield [PairFacts.from_dict(values) for values in json.loads(row["facts"])]


def inspect_row(row: dict[str, Any], config: PreprocessConfig) -> dict[str, Any]:
    """A row of pairs as JSON -> their facts as JSON."""
    cv2.setNumThreads(1)
    pairs = [WorkItem.from_list(values).pair for values in json.loads(row["pairs"])]
    return {"facts": json.dumps([facts.to_dict() for facts in inspect_pairs(pairs, config)])}
