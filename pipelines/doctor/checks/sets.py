"""Checks of the set as a whole: what occurs twice, what contradicts, and which side is which."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

from pipelines.doctor.findings import NOTE, WARNING, Hit, Inspection, check, files_of
from pipelines.ops.facts import FileFacts, PairFacts, is_blank

_LEAST_VOTES = 3
_SWAPPED_SHARE, _CONTRADICTING_SHARE = 0.6, 0.1
_RULE_PAIRS, _RULE_SHARE = 10, 0.8
_SHOWN_VOTES = 6


@check(
    "duplicate_pair",
    WARNING,
    expected="pairs that differ",
    remedy="keep one of them: the others only count its pictures more often",
)
def duplicate_pair(inspection: Inspection) -> Iterator[Hit]:
    """Pairs of one split with the same pixels under different names."""
    if inspection.config.source.unpaired:
        for side in ("degraded", "clean"):
            yield from _repeated_files(inspection, side)
        return
    for group in _groups(inspection, _content_of_pair):
        files = [files_of(pair) for pair in group]
        if len(set(files)) > 1:
            yield Hit(_flat(files), f"{len(files)} pairs hold the same pictures")


@check(
    "conflicting_clean",
    WARNING,
    expected="one clean picture for a degraded one",
    remedy="find out which of them is right, and leave the others out",
)
def conflicting_clean(inspection: Inspection) -> Iterator[Hit]:
    """The same degraded picture with different clean ones."""
    for group in _groups(inspection, lambda pair: pair.degraded and pair.degraded.pixels_sha256):
        cleans = {pair.clean.pixels_sha256 for pair in group}
        if len(cleans) > 1 and not inspection.config.source.unpaired:
            yield Hit(
                _flat(files_of(pair) for pair in group),
                f"one degraded picture has {len(cleans)} different clean ones",
            )


@check(
    "repeated_clean",
    NOTE,
    expected="each clean picture once, or one file that its degraded ones share",
    remedy="nothing, if it is meant; keep all of its pairs in one split",
)
def repeated_clean(inspection: Inspection) -> Iterator[Hit]:
    """The same clean picture in several files, with different degraded ones."""
    if inspection.config.source.unpaired:
        return
    for group in _groups(inspection, lambda pair: pair.degraded and pair.clean.pixels_sha256):
        paths = sorted({pair.clean.path for pair in group})
        degraded = {pair.degraded.pixels_sha256 for pair in group if pair.degraded}
        if len(paths) > 1 and len(degraded) == len(group):
            yield Hit(tuple(paths), f"{len(paths)} clean files hold the same picture")


@check(
    "swapped_sides",
    WARNING,
    expected="the degraded pictures on the degraded side",
    remedy="swap data.source.degraded and data.source.clean, or look at the pairs and leave it",
)
def swapped_sides(inspection: Inspection) -> Iterator[Hit]:
    """A set whose clean side looks degraded: dark, noisy, blurred or streaked beside the other."""
    pairs = inspection.compared_pairs
    wrong = [pair for pair in pairs if pair.leaning > 0]
    right = sum(pair.leaning < 0 for pair in pairs)
    if len(wrong) < max(_LEAST_VOTES, _SWAPPED_SHARE * len(pairs)) or right > _CONTRADICTING_SHARE * len(wrong):
        return
    (reason, _), *_ = Counter(pair.leaning_reason for pair in wrong).most_common()
    yield Hit(
        _flat(files_of(pair) for pair in wrong[:_SHOWN_VOTES]),
        f"in {len(wrong)} of {len(pairs)} pairs the clean side looks degraded ({reason}), in {right} the other one",
    )


@check("swapped_pair", WARNING, expected="the degraded picture on the degraded side", remedy="swap the two files")
def swapped_pair(inspection: Inspection) -> Iterator[Hit]:
    """A pair whose sides look the other way round than those of nearly all others."""
    pairs = inspection.compared_pairs
    leaning = sum(pair.leaning != 0 for pair in pairs)
    right = Counter(pair.leaning_reason for pair in pairs if pair.leaning < 0)
    for reason, count in right.items():
        wrong = [pair for pair in pairs if pair.leaning > 0 and pair.leaning_reason == reason]
        is_rule = count >= max(_RULE_PAIRS, _RULE_SHARE * leaning, len(pairs) / 2)
        if is_rule and len(wrong) <= _CONTRADICTING_SHARE * count:
            for pair in wrong:
                found = f"its clean side looks degraded ({reason}); in {count} of {len(pairs)} pairs the other one does"
                yield Hit(files_of(pair), found)


def _groups(inspection: Inspection, content: Callable[[PairFacts], Hashable | None]) -> Iterable[Sequence[PairFacts]]:
    """Pairs of one split with the same content, where there are several; blank pictures are left out."""
    groups: dict[Hashable, list[PairFacts]] = defaultdict(list)
    for pair in inspection.sound_pairs:
        named = content(pair)
        if named and not any(is_blank(facts) for facts in pair.sides):
            groups[pair.split, named].append(pair)
    return [group for group in groups.values() if len(group) > 1]


def _content_of_pair(pair: PairFacts) -> Hashable:
    return tuple(facts.pixels_sha256 for facts in pair.sides)


def _repeated_files(inspection: Inspection, side: str) -> Iterator[Hit]:
    def of(pair: PairFacts) -> FileFacts | None:
        return pair.degraded if side == "degraded" else pair.clean

    for group in _groups(inspection, lambda pair: (facts := of(pair)) and facts.pixels_sha256):
        paths = sorted({facts.path for pair in group if (facts := of(pair))})
        if len(paths) > 1:
            yield Hit(tuple(paths), f"{len(paths)} files of the {side} side hold the same picture")


def _flat(files: Iterable[Sequence[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(path for group in files for path in group))
