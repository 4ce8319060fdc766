"""The pair doctor: everything suspicious about a paired set, before anything of it is written."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import cv2

from pipelines.config import PreprocessConfig
from pipelines.containers import SourceFile
from pipelines.doctor.checks import find_all
from pipelines.doctor.findings import NOTE, SEVERITIES, Finding, Inspection
from pipelines.ops.facts import PairFacts
from pipelines.ops.inspect_files import inspect_pairs
from pipelines.sources import Found, survey
from pipelines.sources.layouts import Suggestion, resolve, suggest_layout
from pipelines.sources.pairing import SourcePair

MANY_PAIRS = 500
"""From so many pairs on, starting Ray takes less time than it saves on a machine of a few cores."""

Progress = Callable[[int, int], None]
Session = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """What the doctor found.

    Attributes:
        findings: The gravest first.
        num_pairs: Pairs that the source has.
        num_inspected: Pairs whose files were opened.
        num_files: Files that were opened.
        seconds: Time that it took.
        places: Where the files that findings name lie: their container, and how it lists them.
    """

    findings: tuple[Finding, ...]
    num_pairs: int
    num_inspected: int
    num_files: int
    seconds: float
    places: Mapping[str, tuple[str, SourceFile]] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """Findings of each severity, the gravest first."""
        found = Counter(finding.severity for finding in self.findings)
        return {severity: found[severity] for severity in SEVERITIES}

    @property
    def is_well(self) -> bool:
        """Whether there is nothing but notes."""
        return all(finding.severity == NOTE for finding in self.findings)

    def by_kind(self) -> list[tuple[str, list[Finding]]]:
        """Findings by kind, the gravest kinds first, then the most frequent."""
        groups: dict[str, list[Finding]] = {}
        for finding in self.findings:
            groups.setdefault(finding.kind, []).append(finding)
        return sorted(groups.items(), key=lambda item: (SEVERITIES.index(item[1][0].severity), -len(item[1]), item[0]))

    def to_dict(self) -> dict[str, Any]:
        """Plain values: all findings, and how many there are of each severity and kind."""
        return {
            "pairs": self.num_pairs,
            "inspected": self.num_inspected,
            "files": self.num_files,
            "seconds": round(self.seconds, 3),
            "counts": self.counts,
            "kinds": {kind: len(findings) for kind, findings in self.by_kind()},
            "findings": [finding.to_dict() for finding in self.findings],
        }


def diagnose(
    config: PreprocessConfig,
    *,
    max_pairs: int | None = None,
    scratch_uri: str = "",
    session: Session | None = None,
    progress: Progress | None = None,
) -> Diagnosis:
    """Look at every pair of a source; nothing of a data set is written.

    Args:
        config: What the set is made from.
        max_pairs: Most pairs whose files are opened, chosen by the hashes of their keys; none means all.
        scratch_uri: Where a compressed tar archive is unpacked to.
        session: Opens Ray, where there are many pairs; without it everything happens in this process.
        progress: Told of (pairs done, pairs in all).

    Raises:
        ConfigError: The source's config is wrong.
        DataError: The source does not exist or cannot be listed.
        ClusterError: Workers failed.
    """
    began = time.monotonic()
    config = replace(config, source=resolve(config.source))
    found = survey(config, scratch_uri=scratch_uri)
    chosen = _chosen(found.pairs, max_pairs)
    facts = _inspected(chosen, config, session if len(chosen) >= MANY_PAIRS else None, progress)
    inspection = Inspection(
        config=config,
        pairs=facts,
        set_aside=found.quarantined,
        unmatched=found.unmatched,
        other_layouts=_other_layouts(found, config),
        complete=len(chosen) == len(found.pairs),
    )
    findings = find_all(inspection)
    return Diagnosis(
        findings=findings,
        num_pairs=len(found.pairs),
        num_inspected=len(chosen),
        num_files=sum(len(files) for files in inspection.files.values()),
        seconds=time.monotonic() - began,
        places=_places(findings, found),
    )


def _other_layouts(found: Found, config: PreprocessConfig) -> list[Suggestion]:
    """A layout that finds at least twice as many pairs, where much of the source is left over."""
    left_over = len(found.unmatched) + len(found.quarantined)
    if config.source.kind != "paired_folders" or left_over <= len(found.pairs):
        return []
    return [one for one in suggest_layout(found.listed, limit=1) if one.pairs >= 2 * max(1, len(found.pairs))]


def _chosen(pairs: Sequence[SourcePair], max_pairs: int | None) -> Sequence[SourcePair]:
    if max_pairs is None or len(pairs) <= max_pairs:
        return pairs
    by_hash = sorted(pairs, key=lambda pair: hashlib.sha256(pair.key.encode()).digest())
    kept = {pair.key for pair in by_hash[:max_pairs]}
    return [pair for pair in pairs if pair.key in kept]


def _inspected(
    pairs: Sequence[SourcePair], config: PreprocessConfig, session: Session | None, progress: Progress | None
) -> list[PairFacts]:
    """The same facts, here or over Ray, by key."""
    facts: list[PairFacts] = []
    batches = _here(pairs, config) if session is None else _over_ray(pairs, config, session)
    for batch in batches:
        facts += batch
        if progress is not None:
            progress(len(facts), len(pairs))
    return sorted(facts, key=lambda pair: pair.key)


def _here(pairs: Sequence[SourcePair], config: PreprocessConfig) -> Iterator[list[PairFacts]]:
    cv2.setNumThreads(1)
    for facts in inspect_pairs(pairs, config):
        yield [facts]


def _over_ray(pairs: Sequence[SourcePair], config: PreprocessConfig, session: Session) -> Iterator[list[PairFacts]]:
    with session():
        from pipelines.doctor.graph import inspect_over_ray  # seconds that a small set need not wait

        yield from inspect_over_ray(pairs, config)


def _places(findings: Sequence[Finding], found: Found) -> dict[str, tuple[str, SourceFile]]:
    named = {path for finding in findings for path in finding.files}
    places = {file.path: (found.root, file) for file in found.listed if file.path in named}
    for pair in found.pairs:
        for file in (pair.degraded, pair.clean, pair.mask):
            if file is not None and file.path in named:
                places[file.path] = (pair.root, file._replace(part="whole"))
    return places
