"""Checks of names and bytes: what cannot be paired or read, and what the layout seems to be."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from pipelines.config import SourceConfig
from pipelines.doctor.findings import ERROR, NOTE, WARNING, Hit, Inspection, check
from pipelines.manifest import Quarantined
from pipelines.schema import TEST, TRAIN, VAL
from pipelines.sources.name_templates import Template

_REASONS: tuple[tuple[str, str], ...] = (
    ("missing_mask", r"it has no mask"),
    ("orphan", r"it has no partner"),
    ("lonely_split", r"the other side has no picture of the split"),
    ("ambiguous_partner", r"several files could be"),
    ("duplicate_key", r"has the same key"),
    ("name_not_utf8", r"its name is not UTF-8"),
    ("hostile_name", r"its name (leads|holds)|it has no name|an earlier member"),
    ("link_leads_out", r"it is a link that leads out"),
    ("unreadable", r"cannot be listed"),
    ("irregular_file", r"it is (a|no) (link|named pipe|socket|block device|character device|device|folder|file)\b"),
    ("too_many_bytes", r"it claims \d+ bytes$"),
)
"""Kinds by the words of the records that listing and pairing leave; the first that fits counts."""


def kind_of(record: Quarantined, source: SourceConfig) -> str:
    """Which check a record of listing or pairing belongs to."""
    if source.kind == "pair_list" and record.name.startswith(f"{source.pairs_uri}:"):
        return "bad_line"
    kind = next((kind for kind, words in _REASONS if re.search(words, record.found)), "set_aside")
    if kind == "orphan":
        return _kind_of_orphan(record, source)
    return "broken_member" if kind == "set_aside" and record.remedy == "pack it again" else kind


def _kind_of_orphan(record: Quarantined, source: SourceConfig) -> str:
    if not record.expected.startswith("a degraded picture"):
        return "orphan_degraded"
    fitting = [
        (template.literal_length, side)
        for side, text in (("clean", source.clean), ("mask", source.mask))
        if text and (template := Template.parse(text)).match(record.name)
    ]
    return f"orphan_{max(fitting)[1]}" if fitting else "orphan_clean"


def _listed(kind: str, summary: str, *, expected: str, remedy: str) -> None:
    """Register the check that passes on what listing, pairing and decoding set aside, in their own words."""

    def look(inspection: Inspection) -> Iterator[Hit]:
        for record in inspection.set_aside:
            if kind_of(record, inspection.config.source) == kind:
                yield Hit((record.name,), record.found, remedy=record.remedy, expected=record.expected)
        for files in inspection.files.values():
            yield from (Hit((facts.path,), facts.found) for facts in files if facts.fault == kind)

    look.__doc__ = summary
    check(kind, ERROR, expected=expected, remedy=remedy)(look)


_add = "add the partner, correct the template, or leave the file out"
_again = "copy or download the file again, or leave it out"
_formats = "one of PNG, JPEG, TIFF, WEBP, BMP"
for _kind, _summary, _expected, _remedy in (
    ("orphan_degraded", "A degraded picture without a clean one.", "a clean picture of the same key", _add),
    ("orphan_clean", "A clean picture without a degraded one.", "a degraded picture of the same key", _add),
    ("orphan_mask", "A mask without its pair.", "a degraded picture of the same key", _add),
    ("lonely_split", "A split with pictures on one side only.", "pictures on both sides", "correct split_names"),
    ("bad_line", "A line of the list of pairs that cannot be used.", "a line that names a pair", "correct the line"),
    ("missing_mask", "A pair without its mask.", "a mask of the same key", "add the mask, or leave the pair out"),
    ("duplicate_key", "Two files of one side with one key.", "one file of each key", "rename or remove one of them"),
    ("ambiguous_partner", "Several files that could be the partner.", "one partner", "keep one of them"),
    ("name_not_utf8", "A name that no table can hold.", "a UTF-8 name", "rename the file"),
    ("hostile_name", "A member whose name leads out of its archive, or repeats.", "a plain name", "pack it again"),
    ("broken_member", "A member that its archive does not hold whole.", "a whole archive", "pack it again"),
    ("link_leads_out", "A link to a file outside the source.", "the file itself", "copy the file to its place"),
    ("irregular_file", "A link, a pipe or a folder in a file's place.", "a file", "put the file itself there"),
    ("set_aside", "What the source sets aside for other reasons.", "a picture that can be read", "leave it out"),
    ("zero_bytes", "A file of 0 bytes.", "a picture", _again),
    ("unreadable", "A file whose bytes cannot be had.", "a file that may be read", "look at its rights and its place"),
    ("too_many_bytes", "A file larger than is read.", "at most data.max_file_bytes", "leave it out"),
    ("not_a_picture", "A file that is no picture.", _formats, "leave it out"),
    ("unsupported_format", "A picture in a format that is not taken.", _formats, "convert it to PNG"),
    ("truncated", "A file that ends too early.", "a whole file", _again),
    ("damaged", "A file that does not decode.", "a whole file", _again),
    ("header_lies", "A header that claims more than the file holds.", "a header that is true", _again),
    ("animated", "Several frames or pages.", "a single picture", "keep one frame, as a file of its own"),
    ("too_many_pixels", "More pixels than are unpacked.", "at most data.max_pixels", "cut it up, or raise the limit"),
    ("cmyk", "Colours for printing.", "grey, RGB or palette", "convert it to RGB with its colour profile"),
    ("unsupported_mode", "Pixels of a kind that is not taken.", "grey, RGB or palette", "convert it to RGB"),
):
    _listed(_kind, _summary, expected=_expected, remedy=_remedy)


@check("no_pairs", ERROR, expected="at least one pair", remedy="check data.source: the root, the layout, the templates")
def no_pairs(inspection: Inspection) -> Iterable[Hit]:
    """A source in which nothing pairs."""
    if not inspection.pairs and inspection.complete:
        aside, unmatched = len(inspection.set_aside), len(inspection.unmatched)
        found = f"there is no pair; {aside} files were set aside, and {unmatched} pictures fit no template"
        yield Hit((inspection.config.source.root,), found)


@check(
    "names_differ_in_case",
    WARNING,
    expected="names that differ in more than the case of their letters",
    remedy="rename one: on many file systems one of them overwrites the other",
)
def names_differ_in_case(inspection: Inspection) -> Iterable[Hit]:
    """Names that some file systems cannot tell apart."""
    folded: dict[str, set[str]] = defaultdict(set)
    for name in _all_names(inspection):
        folded[name.casefold()].add(name)
    for names in folded.values():
        if len(names) > 1:
            yield Hit(tuple(sorted(names)), "these names differ in the case of their letters only")


@check(
    "unmatched_file",
    NOTE,
    expected="files that fit one of the templates",
    remedy="correct the templates if the file belongs to the set; otherwise leave it",
)
def unmatched_file(inspection: Inspection) -> Iterable[Hit]:
    """A picture in the source that no template fits."""
    source = inspection.config.source
    shown = " nor ".join(repr(text) for text in (source.degraded, source.clean, source.mask) if text)
    return (Hit((name,), f"its name fits neither {shown}") for name in inspection.unmatched)


@check(
    "other_layout",
    WARNING,
    expected="the layout that finds most of the files",
    remedy="set data.source.layout to it, without templates, and look again",
)
def other_layout(inspection: Inspection) -> Iterable[Hit]:
    """A preset that pairs more of the files than the config does."""
    root = inspection.config.source.root
    for layout, pairs, below in inspection.other_layouts:
        yield Hit(
            (posixpath.join(root, below),),
            f"the layout {layout} finds {pairs} pairs here, this config {len(inspection.pairs)}",
            remedy=f"set data.source.layout to {layout} and the root to this folder, without templates; look again",
        )


@check(
    "empty_split",
    WARNING,
    expected="pairs to train on and pairs to test with",
    remedy="correct data.source.split_names or the templates, or keep some pairs aside for testing",
)
def empty_split(inspection: Inspection) -> Iterable[Hit]:
    """A set without pairs to train on, or without any to test with."""
    splits = {pair.split for pair in inspection.pairs}
    if not splits or not inspection.complete:
        return
    root = (inspection.config.source.root,)
    if not splits & {TRAIN, VAL}:
        yield Hit(root, "there is no pair to train on")
    if TEST not in splits:
        yield Hit(root, "there is no pair to test with", severity=NOTE)


def _all_names(inspection: Inspection) -> set[str]:
    names = {facts.path for files in inspection.files.values() for facts in files}
    return names | {record.name for record in inspection.set_aside} | set(inspection.unmatched)
