"""What may be wrong with a paired set: findings, and the registry of checks that make them from plain facts.

A check is one decorated function. It sees the whole collection, opens no file, and gives the same findings whatever the
order in which the pairs come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

from pipelines.config import PreprocessConfig
from pipelines.manifest import Quarantined
from pipelines.ops.facts import FileFacts, PairFacts
from rddm.registry import Registry

Severity = Literal["error", "warning", "note"]
ERROR: Severity = "error"
"""Preprocessing would set it aside."""
WARNING: Severity = "warning"
"""It goes into the data set, and harms there."""
NOTE: Severity = "note"
"""It is good to know."""
SEVERITIES = (ERROR, WARNING, NOTE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong, or good to know.

    Attributes:
        kind: A name in `CHECKS`.
        severity: `error`, `warning` or `note`.
        files: The files that it is about, as the source names them.
        found: What was found.
        expected: What would have been right.
        remedy: What to do.
    """

    kind: str
    severity: Severity
    files: tuple[str, ...]
    found: str
    expected: str
    remedy: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @property
    def order(self) -> tuple[int, str, tuple[str, ...], str]:
        """Where it stands among others: the gravest first, then by kind and files."""
        return (SEVERITIES.index(self.severity), self.kind, self.files, self.found)


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """All that is known of a set before anything of it is written.

    Attributes:
        config: What the set is made from.
        pairs: What the pairs look like.
        set_aside: What could not be paired, and why.
        unmatched: Pictures in the source that fit no template.
        other_layouts: Presets that fit the files better: name, pairs that it finds, and the folder that it begins at.
        complete: Whether every pair was looked at.
    """

    config: PreprocessConfig = field(default_factory=PreprocessConfig)
    pairs: Sequence[PairFacts] = ()
    set_aside: Sequence[Quarantined] = ()
    unmatched: Sequence[str] = ()
    other_layouts: Sequence[tuple[str, int, str]] = ()
    complete: bool = True

    @cached_property
    def files(self) -> Mapping[str, Sequence[FileFacts]]:
        """By side, each file once, in order; a clean picture may belong to many degraded ones."""
        by_side: dict[str, dict[tuple[str, str], FileFacts]] = {"degraded": {}, "clean": {}, "mask": {}}
        for pair in self.pairs:
            for side, facts in (("degraded", pair.degraded), ("clean", pair.clean), ("mask", pair.mask)):
                if facts is not None:
                    by_side[side].setdefault((facts.path, facts.part), facts)
        return {side: [files[name] for name in sorted(files)] for side, files in by_side.items()}

    @cached_property
    def sound_pairs(self) -> Sequence[PairFacts]:
        """Pairs whose pictures could be decoded, by key; those of two files first of all."""
        sound = (pair for pair in self.pairs if not any(facts.fault for facts in pair.sides))
        return sorted(sound, key=lambda pair: (pair.key, files_of(pair)))

    @property
    def compared_pairs(self) -> Sequence[PairFacts]:
        """Sound pairs of two files that show one scene."""
        return [] if self.config.source.unpaired else [pair for pair in self.sound_pairs if pair.degraded is not None]


class Hit(NamedTuple):
    """What a check found: the files and the words; the rest is the check's own, unless it says otherwise."""

    files: tuple[str, ...]
    found: str
    remedy: str = ""
    expected: str = ""
    severity: Severity | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """A check, and what it says of all that it finds.

    Attributes:
        kind: Its name.
        severity: Of its findings.
        summary: What it looks for.
        expected: What would have been right.
        remedy: What to do.
        look: What finds it.
    """

    kind: str
    severity: Severity
    summary: str
    expected: str
    remedy: str
    look: Callable[[Inspection], Iterable[Hit]]

    def __call__(self, inspection: Inspection) -> Iterator[Finding]:
        """Its findings, in any order."""
        for hit in self.look(inspection):
            yield Finding(
                kind=self.kind,
                severity=hit.severity or self.severity,
                files=hit.files,
                found=hit.found,
                expected=hit.expected or self.expected,
                remedy=hit.remedy or self.remedy,
            )


CHECKS: Registry[Check] = Registry("check")


def check(
    kind: str, severity: Severity, *, expected: str, remedy: str
) -> Callable[[Callable[[Inspection], Iterable[Hit]]], Check]:
    """Register a check of the whole collection; its docstring's first line says what it looks for."""

    def enrol(look: Callable[[Inspection], Iterable[Hit]]) -> Check:
        summary = (look.__doc__ or kind).strip().splitlines()[0]
        made = Check(kind=kind, severity=severity, summary=summary, expected=expected, remedy=remedy, look=look)
        return CHECKS.register(kind)(made)

    return enrol


def file_check(
    kind: str,
    severity: Severity,
    *,
    expected: str,
    remedy: str,
    sides: tuple[str, ...] = ("degraded", "clean", "mask"),
) -> Callable[[Callable[[FileFacts, PreprocessConfig], str | None]], Check]:
    """Register a check of each picture on its own: it gives what it found in words, or None.

    Args:
        kind: Its name.
        severity: Of its findings.
        expected: What would have been right.
        remedy: What to do.
        sides: Whose files it looks at.
    """

    def enrol(found_in: Callable[[FileFacts, PreprocessConfig], str | None]) -> Check:
        def look(inspection: Inspection) -> Iterator[Hit]:
            for side in sides:
                for facts in inspection.files[side]:
                    if not facts.fault and (found := found_in(facts, inspection.config)):
                        yield Hit((facts.path,), found)

        look.__doc__ = found_in.__doc__
        return check(kind, severity, expected=expected, remedy=remedy)(look)

    return enrol


def pair_check(
    kind: str, severity: Severity, *, expected: str, remedy: str
) -> Callable[[Callable[[PairFacts, PreprocessConfig], str | Hit | None]], Check]:
    """Register a check of each pair of two decoded pictures: it gives what it found in words, or None."""

    def enrol(found_in: Callable[[PairFacts, PreprocessConfig], str | Hit | None]) -> Check:
        def look(inspection: Inspection) -> Iterator[Hit]:
            for pair in inspection.compared_pairs:
                if found := found_in(pair, inspection.config):
                    yield found if isinstance(found, Hit) else Hit(files_of(pair), found)

        look.__doc__ = found_in.__doc__
        return check(kind, severity, expected=expected, remedy=remedy)(look)

    return enrol


def files_of(pair: PairFacts) -> tuple[str, ...]:
    """The files of a pair's two sides, the degraded one first; one file that holds both is named once."""
    return tuple(dict.fromkeys(facts.path for facts in pair.sides))


def find_all(inspection: Inspection) -> tuple[Finding, ...]:
    """What all registered checks find, in order, each finding once; `pipelines.doctor.checks` registers ours."""
    found = {finding for _, check_ in CHECKS.items() for finding in check_(inspection)}
    return tuple(sorted(found, key=lambda finding: finding.order))
