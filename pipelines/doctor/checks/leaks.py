"""Checks across splits: pictures that training sees and that a score is then taken on."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from pipelines.doctor.findings import NOTE, WARNING, Hit, Inspection, Severity, check
from pipelines.ops.facts import FileFacts, PairFacts, is_blank
from pipelines.schema import SPLITS, TEST

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BANDS, _BAND_BITS = 4, 16
_LARGEST_DISTANCE = 2 * _BANDS - 1
_LEAST_CORRELATION = 0.95
_LEAST_STD = 0.02
_BUCKET = 256
_CHUNK = 4096
_SHOWN = 4
_remedy = "remove it from one of the splits; scores on what was trained on mean nothing"


@check("leak_exact", WARNING, expected="splits that have no picture in common", remedy=_remedy)
def leak_exact(inspection: Inspection) -> Iterator[Hit]:
    """The same pixels in two splits, whatever the files' names and formats."""
    places: dict[str, list[tuple[PairFacts, FileFacts]]] = defaultdict(list)
    for pair in inspection.sound_pairs:
        for facts in pair.sides:
            if not is_blank(facts):
                places[facts.pixels_sha256].append((pair, facts))
    merged: dict[frozenset[str], list[tuple[PairFacts, FileFacts]]] = defaultdict(list)
    for place in places.values():
        if len({pair.split for pair, _ in place}) > 1:
            merged[frozenset(pair.key for pair, _ in place)] += place
    for place in merged.values():
        splits = [split for split in SPLITS if any(pair.split == split for pair, _ in place)]
        files = tuple(sorted({facts.path for _, facts in place}))
        again = len({facts.sha256 for _, facts in place}) == len({facts.pixels_sha256 for _, facts in place})
        how = "the same file" if again else "the same pixels"
        yield Hit(files, f"{how} in {_and(splits)}", severity=_severity(splits))


@check("leak_near", WARNING, expected="splits that have no picture in common", remedy=_remedy)
def leak_near(inspection: Inspection) -> Iterator[Hit]:
    """Clean pictures of two splits that look the same, such as one saved anew, resized or brightened."""
    by_split = {split: _hashable(inspection, split) for split in SPLITS}
    for other, split in combinations(SPLITS, 2):
        if not by_split[other] or not by_split[split]:
            continue
        near: dict[int, list[FileFacts]] = defaultdict(list)
        for a, b in near_pairs(_hashes(by_split[split]), _hashes(by_split[other])):
            one, two = by_split[split][a], by_split[other][b]
            if one.pixels_sha256 != two.pixels_sha256 and likeness(one, two) >= _LEAST_CORRELATION:
                near[a].append(two)
        for a, found in sorted(near.items()):
            files = (by_split[split][a].path, *sorted(facts.path for facts in found)[:_SHOWN])
            words = f"in {split}, and {len(found)} that look the same in {other}"
            yield Hit(files, words, severity=_severity((split, other)))


def near_pairs(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> list[tuple[int, int]]:
    """Which of two lists of 64-bit hashes are within 7 bits of each other, in order; the time is about linear.

    Seven differing bits leave one of four bands of 16 bits with at most one: looking up each band, and each band with
    one bit turned, finds all of them. Of more than 256 hashes with one band in common only that many are looked at.

    Args:
        a: Hashes that are looked up.
        b: Hashes that they are looked up in.
    """
    found: set[tuple[int, int]] = set()
    turns = np.array([0, *(1 << bit for bit in range(_BAND_BITS))], np.uint16)
    for band in range(_BANDS):
        bands_a, bands_b = (_band(hashes, band) for hashes in (a, b))
        order = np.argsort(bands_b, kind="stable")
        ordered = bands_b[order]
        for start in range(0, len(a), _CHUNK):
            probes = (bands_a[start : start + _CHUNK, None] ^ turns).ravel()
            first = np.searchsorted(ordered, probes, "left")
            count = np.minimum(np.searchsorted(ordered, probes, "right") - first, _BUCKET)
            of_a = np.repeat(np.arange(len(probes)) // len(turns) + start, count)
            within = np.arange(len(of_a)) - np.repeat(np.cumsum(count) - count, count)
            of_b = order[np.repeat(first, count) + within]
            near = np.bitwise_count(a[of_a] ^ b[of_b]) <= _LARGEST_DISTANCE
            found.update(zip(of_a[near].tolist(), of_b[near].tolist(), strict=True))
    return sorted(found)


def likeness(a: FileFacts, b: FileFacts) -> float:
    """Correlation of two pictures at 16 x 16, in [-1, 1]."""
    x, y = (np.frombuffer(base64.b64decode(facts.thumb), np.uint8).astype(np.float64) for facts in (a, b))
    x, y = x - x.mean(), y - y.mean()
    norm = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / norm if norm else 0.0


def _hashable(inspection: Inspection, split: str) -> Sequence[FileFacts]:
    """The clean pictures of a split, each once, that have enough in them for a perceptual hash."""
    clean = {pair.clean.path: pair.clean for pair in inspection.sound_pairs if pair.split == split}
    return [clean[path] for path in sorted(clean) if clean[path].std >= _LEAST_STD]


def _hashes(files: Sequence[FileFacts]) -> NDArray[np.uint64]:
    return np.array([int(facts.phash, 16) for facts in files], np.uint64)


def _band(hashes: NDArray[np.uint64], band: int) -> NDArray[np.uint16]:
    return (hashes >> np.uint64(_BAND_BITS * band)).astype(np.uint16)


def _severity(splits: Sequence[str]) -> Severity:
    """A score on the test split is published; the validation split is watched while training."""
    return WARNING if TEST in splits else NOTE


def _and(words: Sequence[str]) -> str:
    return " and ".join((", ".join(words[:-1]), words[-1])) if len(words) > 1 else words[0]
