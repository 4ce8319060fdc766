"""Makes shards and diagnoses, each time in a process of its own, and says what that has held in memory at most.

Usage: python -m tests.integration.hostile_run make|diagnose CONFIG.json OUTPUT [...]

The three arguments are repeated for more jobs. Each line on stdout is the result of one job as JSON. Ray is not
started: what it does beside the work would drown what is measured.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
from pydantic import TypeAdapter

from pipelines import storage
from pipelines.config import PreprocessConfig
from pipelines.dataset.plans import plan_shards
from pipelines.dataset.records import STAGING
from pipelines.doctor import diagnose
from pipelines.preprocess import make_shard
from pipelines.sources import find_pairs


def make(config: PreprocessConfig, output: str) -> dict[str, Any]:
    """All shards of a source, as `preprocess` makes them on its workers."""
    found = find_pairs(config, scratch_uri=storage.join(output, STAGING))
    records = [make_shard(plan, config, output) for plan in plan_shards(found.pairs, config)]
    quarantined = [*found.quarantined, *(bad for record in records for bad in record.quarantined)]
    return {
        "keys": [key for record in records for key in record.index["key"].to_pylist()],
        "quarantined": [[record.name, record.reason] for record in quarantined],
    }


def diagnosed(config: PreprocessConfig, output: str) -> dict[str, Any]:
    """What the doctor says."""
    found = diagnose(config, scratch_uri=output)
    return {"findings": [[f.severity, f.kind, list(f.files), f.found] for f in found.findings]}


JOBS: dict[str, Callable[[PreprocessConfig, str], dict[str, Any]]] = {
    "make": make,
    "diagnose": diagnosed,
}


def job(kind: str, config_path: str, output: str) -> dict[str, Any]:
    """Do one and measure it: time, and how far memory has grown at most."""
    config = TypeAdapter(PreprocessConfig).validate_json(Path(config_path).read_bytes())
    before, began = _megabytes("VmRSS"), time.monotonic()
    result = JOBS[kind](config, output)
    return {**result, "seconds": time.monotonic() - began, "megabytes": _megabytes("VmHWM") - before}


def _megabytes(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1000


if __name__ == "__main__":
    cv2.setNumThreads(1)
    arguments = sys.argv[1:]
    for place in range(0, len(arguments), 3):
        with multiprocessing.get_context("fork").Pool(1) as pool:
            print(json.dumps(pool.apply(job, arguments[place : place + 3])), flush=True)
