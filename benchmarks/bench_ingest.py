"""How fast pairs of pictures are read for training: this project's shards, PNG files and other containers.

Everybody stores the same pairs of 256 px photographs and gives them out in shuffled batches of uint8 (batch, height,
width, 3), degraded and clean; before anything is timed it is checked that a pass gives exactly what was stored, in
another order. Then all take turns in one run. A turn opens the data set, takes the first batch (the time to it counts
from opening, with the packages imported and the files in the page cache), finishes that pass, and times whole passes
with the loader processes already running. Everybody has turns with each number of loader processes in `--workers`, and
counts with the one that suits it best. `encoded` and `raw` are leagues of their own.

`--images` takes a folder of photographs; otherwise those inside scikit-image and scikit-learn are cut up. Packages that
are not installed are named and left out; `ingest_peers.py` says how to install them. `--quick` only shows that the
script works. With `--json` the last line is one object:

* `raw_over_png`, `encoded_over_png`: pairs/s of our best reader over those of a DataLoader with Pillow on PNG files;
* `over_best_peer_raw`, `over_best_peer_encoded`: over those of the fastest peer of the league;
* `first_batch_s`: our slower league's time to the first batch; null, like all of these, where a side is missing;
* `pairs_per_s`, `first_batch_by_s`, `bytes_on_disk`, `best_workers`: by contender; `left_out`: who is missing and why.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from ingest_ours import ours
from ingest_peers import SIDE_PX, Contender, Pair, Picture, peers
from interleaved import interleave, machine
from torch import Tensor

from pipelines.ops.degrade import Degrade

PHOTOGRAPHS = (
    *(f"skimage/data/{name}" for name in ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png")),
    *("skimage/data/rocket.jpg", "sklearn/datasets/images/china.jpg", "sklearn/datasets/images/flower.jpg"),
)
DEGRADATIONS = ("low_light", "gaussian_noise")
SUFFIXES = {".png", ".jpg", ".jpeg"}
_PAGE_BYTES = 4096


@dataclass(slots=True)
class Side:
    """A contender with a number of loader processes, and what its turns gave."""

    contender: Contender
    workers: int
    first_batch_s: list[float] = field(default_factory=list)
    pairs_per_s: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Pairs a second."""
        return statistics.median(self.pairs_per_s)


def main() -> None:
    """Store, check, measure, print a table, and with `--json` one line for programs."""
    options, head = _options(), machine()
    # PyTorch stacks pictures with OpenMP, whose threads wait for each other by spinning: no faster than one thread on
    # an idle machine, far slower on a busy one. Our loader stacks with numpy, and would profit from that unfairly.
    torch.set_num_threads(1)
    contenders, left_out = [], {}
    for contender in [*peers(), *ours(with_ray=options.ray)]:
        reason = contender.missing()
        if reason:
            left_out[str(contender)] = reason
            print(f"left out: {contender}: {reason}")
        else:
            contenders.append(contender)
    with tempfile.TemporaryDirectory() as scratch:
        folders = {str(contender): Path(scratch) / str(number) for number, contender in enumerate(contenders)}
        stored = store(contenders, folders, options)
        print(f"{head}; {options.pairs} pairs of {SIDE_PX} px, batches of {options.batch}")
        best = measure(contenders, folders, options)
    results = {**ratios(best), **figures(best), "bytes_on_disk": stored, "left_out": left_out}
    if options.json:
        print(json.dumps(results))


def store(contenders: Sequence[Contender], folders: dict[str, Path], options: argparse.Namespace) -> dict[str, int]:
    """Write the pairs in everybody's way, and check that they come back; bytes on disk by name."""
    stored = {}
    pairs = [*make_pairs(options.pairs, photographs(options.images))]
    expected = [fingerprint(degraded, clean) for _, degraded, clean in pairs]
    for contender in contenders:
        folder = folders[str(contender)]
        folder.mkdir()
        contender.write(pairs, folder)
        stored[str(contender)] = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        check(contender, folder, expected, options)
    return stored


def check(contender: Contender, folder: Path, expected: list[int], options: argparse.Namespace) -> None:
    """One pass gives each stored pair once, and not in the order in which they were stored.

    Raises:
        ValueError: It does not.
    """
    loader = contender.loader(folder, batch=options.batch, workers=max(options.workers), seed=1)
    seen = [fingerprint(*pair) for batch in loader for pair in zip(*(side.numpy() for side in batch), strict=True)]
    del loader
    gc.collect()  # ends its processes
    if sorted(seen) != sorted(expected):
        raise ValueError(f"{contender} gave {len(seen)} pairs that are not the {len(expected)} that were stored")
    if seen == expected:
        raise ValueError(f"{contender} does not shuffle")


def fingerprint(degraded: Picture, clean: Picture) -> int:
    """Of a pair."""
    return zlib.crc32(clean.tobytes(), zlib.crc32(degraded.tobytes()))


def measure(contenders: Sequence[Contender], folders: dict[str, Path], options: argparse.Namespace) -> list[Side]:
    """Everybody's best side, after turns of all of them."""
    sides = [Side(contender, workers) for contender in contenders for workers in options.workers]
    turns = {f"{side.contender}, {side.workers}": _turn(side, folders[str(side.contender)], options) for side in sides}
    interleave(turns, repeats=options.repeats, warmup=0)
    for side in sides:
        _print(side)
    return [max((side for side in sides if side.contender is one), key=lambda side: side.median) for one in contenders]


def _turn(side: Side, folder: Path, options: argparse.Namespace) -> Callable[[], None]:
    def turn() -> None:
        seed = len(side.pairs_per_s)
        start = time.perf_counter()
        loader = side.contender.loader(folder, batch=options.batch, workers=side.workers, seed=seed)
        batches = iter(loader)
        _touch(next(batches))
        side.first_batch_s.append(time.perf_counter() - start)
        for batch in batches:
            _touch(batch)
        side.pairs_per_s.append(_rate(loader, options.seconds))
        del batches, loader
        gc.collect()  # processes end and shared memory is given back here, not in the next turn

    return turn


def _rate(loader: Any, seconds: float) -> float:
    """Pairs a second over as many passes as that time takes, at least one."""
    num_pairs, start = 0, time.perf_counter()
    while True:
        for batch in loader:
            num_pairs += _touch(batch)
        took = time.perf_counter() - start
        if took >= seconds:
            return num_pairs / took


def _touch(batch: Sequence[Tensor]) -> int:
    """Read a byte of every page, so that nobody gets away with giving out what it has not read."""
    for side in batch:
        side.view(-1)[::_PAGE_BYTES].sum()
    return len(batch[0])


def _print(side: Side) -> None:
    rates = side.pairs_per_s
    first = 1e3 * statistics.median(side.first_batch_s)
    print(
        f"{side.contender!s:<42} {side.workers} workers {side.median:8.0f} pairs/s ({min(rates):.0f}..{max(rates):.0f})"
        f"   first batch {first:6.0f} ms"
    )


def ratios(best: Sequence[Side]) -> dict[str, float | None]:
    """Ours over the others: medians over rounds of the ratio within a round."""
    baseline = _fastest(best, "baseline", "encoded")
    results: dict[str, float | None] = {}
    for league in ("raw", "encoded"):
        mine = _fastest(best, "ours", league)
        results[f"{league}_over_png"] = _over(mine, baseline)
        results[f"over_best_peer_{league}"] = _over(mine, _fastest(best, "peer", league))
    ours_by_league = [_fastest(best, "ours", league) for league in ("raw", "encoded")]
    first = [statistics.median(side.first_batch_s) for side in ours_by_league if side]
    results["first_batch_s"] = round(max(first), 4) if first else None
    return results


def _fastest(best: Sequence[Side], role: str, league: str) -> Side | None:
    fitting = [side for side in best if (side.contender.role, side.contender.league) == (role, league)]
    return max(fitting, key=lambda side: side.median, default=None)


def _over(side: Side | None, other: Side | None) -> float | None:
    if side is None or other is None:
        return None
    rounds = zip(side.pairs_per_s, other.pairs_per_s, strict=True)
    return round(statistics.median(mine / theirs for mine, theirs in rounds), 4)


def figures(best: Sequence[Side]) -> dict[str, dict[str, float]]:
    """What else is worth keeping, by contender."""
    return {
        "pairs_per_s": {str(side.contender): round(side.median, 1) for side in best},
        "first_batch_by_s": {str(side.contender): round(statistics.median(side.first_batch_s), 4) for side in best},
        "best_workers": {str(side.contender): side.workers for side in best},
    }


def photographs(folder: Path | None) -> list[Picture]:
    """Colour photographs of at least the pairs' size, below a folder or from installed packages.

    Raises:
        FileNotFoundError: There is none.
    """
    paths = sorted(folder.rglob("*")) if folder else [_in_package(name) for name in PHOTOGRAPHS]
    read = [cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) for path in paths if path.suffix.lower() in SUFFIXES]
    fitting = [
        np.asarray(picture, dtype=np.uint8)
        for picture in read
        if picture is not None and min(picture.shape[:2]) >= SIDE_PX
    ]
    if not fitting:
        raise FileNotFoundError(f"no photograph of at least {SIDE_PX} px below {folder}")
    return fitting


def _in_package(name: str) -> Path:
    spec = importlib.util.find_spec(name.partition("/")[0])
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"{name} is not installed; pip install 'rddm[demo]' or give --images")
    return Path(spec.submodule_search_locations[0]).parent / name


def make_pairs(count: int, pictures: Sequence[Picture]) -> Iterator[Pair]:
    """Random squares of photographs, in turn too dark and noisy."""
    random = np.random.default_rng(0)
    degrade = [Degrade(name) for name in DEGRADATIONS]
    for index in range(count):
        picture = pictures[index % len(pictures)]
        y, x = (random.integers(side - SIDE_PX + 1) for side in picture.shape[:2])
        clean = np.ascontiguousarray(picture[y : y + SIDE_PX, x : x + SIDE_PX])
        key = f"{index:06d}"
        yield key, degrade[index // len(pictures) % len(degrade)](clean, key=key), clean


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few pairs and one round: only shows that it works")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--images", type=Path, help="a folder of photographs")
    parser.add_argument("--pairs", type=int, default=1024, help="how many are stored (1024)")
    parser.add_argument("--batch", type=int, default=16, help="pairs in a batch (16)")
    parser.add_argument("--repeats", type=int, default=7, help="rounds (7)")
    parser.add_argument("--seconds", type=float, default=1.0, help="that the timed passes of a turn take at least (1)")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2], help="numbers of loader processes (0 2)")
    parser.add_argument("--ray", action="store_true", help="measure Ray Data on our shards too, which takes minutes")
    options = parser.parse_args()
    if options.quick:
        options.pairs, options.repeats, options.seconds = 48, 1, 0.0
    return options


if __name__ == "__main__":
    main()
