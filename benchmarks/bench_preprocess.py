"""Does the graph that makes data sets cost more than a plain loop over processes? Pairs/s, memory, and the join.

    python benchmarks/bench_preprocess.py [--images FOLDER] [--pairs 480] [--repeats 3] [--quick] [--json]

Both sides read the same PNG pairs, decode, check and measure them with the same functions, cut nothing, encode lossless
WebP and write Parquet. `plain` is a `multiprocessing.Pool` over chunks of pairs, in which each task writes a file of
its own; it keeps no record, cannot go on after a kill, and writes no index, statistics, card or manifest. `ours` is
`pipelines.preprocess.preprocess` on a private Ray, which does all of that; its workers are up before the clock starts,
as the pool's are. The time outside decode and encode is what remains of both cores' time after what decoding and
encoding alone take in one process. Memory is the sum of the unique set sizes of all processes of a run, ten times the
pairs against one time. The join pairs a million shuffled names of each side. With `--json` the last line is one object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from interleaved import Timing, interleave, machine, speedup
from pair_files import crops, photographs, write_folder

from jobs.cluster import ray_session
from jobs.config import ClusterConfig
from pipelines.config import PreprocessConfig, SourceConfig
from pipelines.containers import SourceFile
from pipelines.dataset.plans import plan_shards
from pipelines.dataset.shard_writer import write_shard
from pipelines.manifest import Quarantined
from pipelines.ops.codec import decode_image
from pipelines.ops.degrade import Degrade
from pipelines.ops.lossless import encode
from pipelines.ops.pairs import WorkItem, checked
from pipelines.preprocess import preprocess
from pipelines.sources import find_pairs, pairing

CORES = 2


def main() -> None:
    """Measure, print a table, and with `--json` one line for programs."""
    options = _options()
    if options.watched:
        _watched_run(options)
        return
    print(machine())
    with tempfile.TemporaryDirectory(prefix="rddm-bench-") as folder:
        base = Path(folder)
        write_folder(base / "pairs", crops(photographs(options.images), options.pairs, height=400, width=600))
        results = _against_a_plain_loop(base, options)
        results |= _memory(base, options)
    results |= _join(options.names)
    if options.json:
        print(json.dumps(results))


def config_of(root: Path) -> PreprocessConfig:
    """What both sides make of a folder of pairs."""
    source = SourceConfig(
        root=str(root), degraded="{split}/low/{key}.{ext}", clean="{split}/high/{key}.{ext}", val_share=0.0
    )
    return PreprocessConfig(source=source, max_quarantined_share=0.5)


def _against_a_plain_loop(base: Path, options: argparse.Namespace) -> dict[str, float]:
    config = config_of(base / "pairs")
    pairs = find_pairs(config, scratch_uri=str(base / "scratch")).pairs
    counter = iter(range(1_000_000))
    with ray_session(ClusterConfig(num_cpus=CORES)), multiprocessing.get_context("spawn").Pool(CORES) as pool:
        sides: dict[str, Callable[[], object]] = {
            "plain": lambda: _plain(pool, pairs, config, base / f"plain{next(counter)}"),
            "ours": lambda: preprocess(config, str(base / f"ours{next(counter)}")),
        }
        timings = interleave(sides, repeats=options.repeats)
    codec_s = _codec_alone(pairs, config)
    for name, timing in timings.items():
        speed = f"{len(pairs) / timing.median:.1f} pairs/s"
        print(f"{name:<8} {timing!s:<36} {speed}, {_outside(codec_s, timing):.0%} outside decode and encode")
    return {
        "over_plain_loop": round(speedup(timings, slow="plain", fast="ours"), 4),
        "pairs_per_s": round(len(pairs) / timings["ours"].median, 2),
        "outside_decode_and_encode": round(_outside(codec_s, timings["ours"]), 4),
        "outside_decode_and_encode_plain": round(_outside(codec_s, timings["plain"]), 4),
    }


def _plain(pool: Any, pairs: Any, config: PreprocessConfig, output: Path) -> None:
    """The loop that people write: a pool, a file for each chunk."""
    chunks = [plan.items for plan in plan_shards(pairs, config)]
    jobs = [(number, items, config, str(output)) for number, items in enumerate(chunks)]
    written = sum(pool.imap_unordered(_plain_chunk, jobs))
    if written != len(pairs):
        raise RuntimeError(f"the plain loop wrote {written} of {len(pairs)} pairs")


def _plain_chunk(job: tuple[int, tuple[WorkItem, ...], PreprocessConfig, str]) -> int:
    number, items, config, output = job
    degrade = Degrade(config.degrade.name)
    rows = []
    for item in items:
        result = checked(item, config, degrade)
        if not isinstance(result, Quarantined):
            result.statistics()
            rows.extend(result.rows())
    write_shard(
        output,
        f"part-{number:05d}.parquet",
        "train",
        rows,
        row_group_size=config.row_group_size,
        row_group_bytes=config.row_group_bytes,
    )
    return len(rows)


def _codec_alone(pairs: Any, config: PreprocessConfig) -> float:
    """Seconds that decoding and encoding take in one process."""
    total = 0.0
    for pair in pairs:
        for file in (pair.degraded, pair.clean):
            data = (Path(pair.root) / file.path).read_bytes()
            start = time.perf_counter()
            encode(decode_image(data, name=file.path).pixels, config.encoding)
            total += time.perf_counter() - start
    return total


def _outside(codec_s: float, timing: Timing) -> float:
    return max(0.0, 1 - codec_s / (CORES * timing.median))


def _memory(base: Path, options: argparse.Namespace) -> dict[str, float]:
    """Peak memory of a run in a process tree of its own, for a tenth of ten times the pairs, and for all of them."""
    small = max(16, options.pairs // 8)
    pictures = photographs(options.images)
    peaks = {}
    for times in (1, 10):
        root = base / f"memory{times}"
        write_folder(root, crops(pictures, small * times, height=400, width=600, seed=times))
        command = [sys.executable, __file__, "--watched", str(root)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
        if done.returncode:
            raise RuntimeError(done.stderr)
        peaks[times] = float(done.stdout.splitlines()[-1])
        print(f"memory   {peaks[times] / 2**20:.0f} MiB at the peak with {small * times} pairs")
    return {
        "peak_rss_1x_mib": round(peaks[1] / 2**20, 1),
        "peak_rss_10x_mib": round(peaks[10] / 2**20, 1),
        "peak_rss_10x_over_1x": round(peaks[10] / peaks[1], 4),
    }


def _watched_run(options: argparse.Namespace) -> None:
    """One run, with its peak memory on the last line."""
    peak, stop = [0], threading.Event()

    def watch() -> None:
        me = psutil.Process()
        while not stop.wait(0.1):
            peak[0] = max(peak[0], sum(_unique_bytes(process) for process in [me, *me.children(recursive=True)]))

    watcher = threading.Thread(target=watch)
    watcher.start()
    with tempfile.TemporaryDirectory(prefix="rddm-bench-") as folder, ray_session(ClusterConfig(num_cpus=CORES)):
        preprocess(config_of(options.watched), folder + "/out")
    stop.set()
    watcher.join()
    print(peak[0])


def _unique_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().uss)
    except psutil.Error:
        return 0


def _join(names: int) -> dict[str, float]:
    """A million names of each side, in any order, with other extensions."""
    files = [
        SourceFile(f"train/{side}/scene{i % 997:04d}/{i:07d}.{ext}", 1)
        for side, ext in (("low", "png"), ("high", "jpg"))
        for i in range(names)
    ]
    random.Random(0).shuffle(files)
    config = SourceConfig(degraded="{split}/low/{scene}/{id}.{ext}", clean="{split}/high/{scene}/{id}.{ext}")
    start = time.perf_counter()
    joined = pairing.join(files, config)
    seconds = time.perf_counter() - start
    if len(joined.pairs) != names or joined.quarantined:
        raise RuntimeError(f"{len(joined.pairs)} pairs of {names}")
    print(f"join     {names} pairs of names in {seconds:.1f} s")
    return {"million_pairs_s": round(seconds * 1_000_000 / names, 2)}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=Path, help="a folder of photographs; by default those inside scikit-image")
    parser.add_argument("--pairs", type=int, default=480, help="of 600 x 400 pixels (480)")
    parser.add_argument("--names", type=int, default=1_000_000, help="pairs of names to join (1000000)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a few pairs, once: only shows that it works")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--watched", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.pairs, options.names, options.repeats = 16, 1000, 1
    return options


if __name__ == "__main__":
    main()
