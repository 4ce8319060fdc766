"""Pairs of picture files, not yet opened, and the join on keys that finds them.

The degraded side names the pairs; the other sides may have fewer fields, so that several degraded pictures share one
clean original, or one mask. The result depends on the set of names alone, not on their order.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from pipelines.config import SourceConfig
from pipelines.containers import SourceFile
from pipelines.manifest import Quarantined
from pipelines.schema import SPLITS, TRAIN, VAL
from pipelines.sources.sides import Side, Sides, in_order
from rddm.errors import ConfigError

_NO_TAGS: Mapping[str, str] = {}
_PLACES = {"degraded": "a degraded picture", "clean": "a clean picture", "mask": "a mask"}


@dataclass(frozen=True, kw_only=True, slots=True)
class SourcePair:
    """A degraded picture and its clean original, not yet opened.

    Attributes:
        key: Unique among the pairs: the split and what the templates' fields hold.
        split: `train`, `val` or `test`.
        root: The container that the files lie in.
        degraded: The degraded picture, or None where the degradation is made here.
        clean: The clean picture.
        mask: The mask of what is degraded, or None.
        tags: What else the source says of the pair: the templates' fields or the list's columns.
    """

    key: str
    split: str
    root: str
    degraded: SourceFile | None
    clean: SourceFile
    mask: SourceFile | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Joined:
    """What became of a listing.

    Attributes:
        pairs: Sorted by split and key.
        quarantined: Pictures without a partner, or with more than one; sorted by name.
        unmatched: Names of pictures that fit no template, sorted.
    """

    pairs: tuple[SourcePair, ...] = ()
    quarantined: tuple[Quarantined, ...] = ()
    unmatched: tuple[str, ...] = ()


def join(files: Iterable[SourceFile], config: SourceConfig) -> Joined:
    """Pair pictures whose split and key agree, whatever their extensions; the time is linear.

    Args:
        files: What the container lists, in any order.
        config: With the templates; without one of degraded pictures, each clean picture makes a pair of its own.

    Raises:
        ConfigError: A template is wrong, they do not fit together, or a folder's name is no split.
    """
    sides = Sides(config)
    sides.require_common_key()
    with without_collection():
        unmatched = sides.assign(files)
        keys = in_order(sides.main.files)
        asked = [_asked(sides, side, keys) for side in sides.others]
        quarantined = [record for side in sides.reading for record in side.set_doubles_aside()]
        pairs = _pairs(sides, keys, asked, config.root, quarantined)
        for side, names in zip(sides.others, asked, strict=True):
            quarantined += _unasked(sides.main, side, keys, names)
    return _joined(pairs, quarantined, unmatched)


def couple(files: Iterable[SourceFile], config: SourceConfig) -> Joined:
    """Put pictures of two kinds side by side that have nothing to do with each other.

    A split has as many rows as the larger of its two sides has pictures, and their keys; the smaller side begins anew
    when it ends. Where a side has no validation split, `val_share` of its own training pictures becomes it, so that no
    picture is in both.

    Raises:
        ConfigError: A template is wrong, or a folder's name is no split.
    """
    sides = Sides(config)
    if sides.mask or not sides.degraded:
        raise ConfigError("unpaired pictures have a degraded and a clean template, and no masks")
    unmatched = sides.assign(files, joint=False)
    quarantined = [record for side in sides.reading for record in side.set_doubles_aside()]
    both = (sides.degraded, sides.clean)
    share = config.val_share if all(map(_can_validate, both)) else 0.0
    degraded, clean = (_by_split(side, share) for side in both)
    pairs: list[SourcePair] = []
    for split in SPLITS:
        if degraded[split] and clean[split]:
            pairs += _coupled(split, degraded[split], clean[split], config.root)
        else:
            quarantined += [_alone(file, split) for file in (*degraded[split].values(), *clean[split].values())]
    return _joined(pairs, quarantined, unmatched)


def held_out(keys: Iterable[str], share: float) -> set[str]:
    """A share of keys, at least one and never all, chosen by their hashes: the same ones wherever it is asked."""
    names = sorted(keys, key=lambda key: hashlib.sha256(key.encode()).digest())
    return set(names[: min(max(1, round(share * len(names))), len(names) - 1)]) if share else set()


def _joined(pairs: list[SourcePair], quarantined: list[Quarantined], unmatched: tuple[str, ...]) -> Joined:
    quarantined.sort(key=lambda record: record.name)
    return Joined(pairs=tuple(pairs), quarantined=tuple(quarantined), unmatched=unmatched)


@contextmanager
def without_collection() -> Iterator[None]:
    """Millions of new objects, none of them part of a cycle, are not searched for cycles time and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _values(sides: Sides, key: str) -> list[str]:
    """What the fields of a pair's key hold, in order."""
    values = key.split("/")[1:]
    if len(values) == len(sides.key_fields):
        return values
    fields = sides.main.fields(key)  # a field's pattern spans folders
    return [fields[name] for name in sides.key_fields]


def _asked(sides: Sides, side: Side, keys: list[str]) -> list[str]:
    """The key of another side that belongs to each key of the main one."""
    places = [place for place, name in enumerate(sides.key_fields) if name in side.template.fields]
    if len(places) == len(sides.key_fields) and side.has_split == sides.main.has_split:
        return keys
    with_split = side.has_split or not sides.main.has_split
    asked = []
    for key in keys:
        values = _values(sides, key)
        split = [key.partition("/")[0]] if with_split else []
        asked.append("/".join([*split, *(values[place] for place in places)]))
    return asked


def _pairs(
    sides: Sides, keys: list[str], asked: list[list[str]], root: str, quarantined: list[Quarantined]
) -> list[SourcePair]:
    """A pair of each main key, if all its partners are there; a record otherwise."""
    main, pairs = sides.main, []
    pictures = [side.files.get if side.part == "whole" else side.picture for side in sides.others]
    for key, *wanted in zip(keys, *asked, strict=True):
        if key not in main.files:  # its files were set aside
            continue
        partners = [picture(name) for picture, name in zip(pictures, wanted, strict=True)]
        if None in partners:
            place = partners.index(None)
            other = sides.others[place]
            quarantined.append(_orphan(main, key, other, several=wanted[place] in other.doubles))
        else:
            pairs.append(_pair(sides, key, partners, root))
    return pairs


def _pair(sides: Sides, key: str, partners: Sequence[SourceFile | None], root: str) -> SourcePair:
    main = sides.main.picture(key)
    clean = partners[0] if sides.degraded else main
    assert clean is not None
    several = len(sides.key_fields) > 1
    return SourcePair(
        key=key,
        split=key.partition("/")[0],
        root=root,
        degraded=main if sides.degraded else None,
        clean=clean,
        mask=partners[-1] if sides.mask else None,
        tags=dict(zip(sides.key_fields, _values(sides, key), strict=True)) if several else _NO_TAGS,
    )


def _unasked(main: Side, side: Side, keys: list[str], asked: list[str]) -> list[Quarantined]:
    """Records of a side's files that no pair uses."""
    used = set(asked)
    if main.doubles:
        used = {name for key, name in zip(keys, asked, strict=True) if key in main.files}
    doubtful = set(asked) - used if main.doubles else ()
    return [_orphan(side, key, main, several=key in doubtful) for key in side.files.keys() - used]


def _orphan(side: Side, key: str, other: Side, *, several: bool) -> Quarantined:
    if several:
        found, remedy = f"several files could be its {other.name} picture", "keep one of them"
    else:
        found = "it has no mask" if other.name == "mask" else "it has no partner"
        remedy = "add it, or leave this file out"
    return Quarantined(
        name=side.files[key].path,
        found=found,
        expected=f"{_PLACES[other.name]} at {other.template.format(**side.fields(key))}",
        remedy=remedy,
    )


def _keys_of(side: Side, split: str) -> list[str]:
    return [key for key in side.files if key.startswith(f"{split}/")]


def _can_validate(side: Side) -> bool:
    return bool(_keys_of(side, VAL)) or len(_keys_of(side, TRAIN)) > 1


def _by_split(side: Side, val_share: float) -> dict[str, dict[str, SourceFile]]:
    """A side's files by split and by key below it, in order."""
    files: dict[str, dict[str, SourceFile]] = {split: {} for split in SPLITS}
    moved = set() if _keys_of(side, VAL) else held_out(_keys_of(side, TRAIN), val_share)
    for key in in_order(side.files):
        split, _, name = key.partition("/")
        file = side.picture(key)
        assert file is not None
        files[VAL if key in moved else split][name] = file
    return files


def _coupled(
    split: str, degraded: Mapping[str, SourceFile], clean: Mapping[str, SourceFile], root: str
) -> Iterator[SourcePair]:
    names = list(degraded if len(degraded) > len(clean) else clean)
    ours, theirs = list(degraded.values()), list(clean.values())
    for place, name in enumerate(names):
        yield SourcePair(
            key=f"{split}/{name}",
            split=split,
            root=root,
            degraded=ours[place % len(ours)],
            clean=theirs[place % len(theirs)],
            tags=_NO_TAGS,
        )


def _alone(file: SourceFile, split: str) -> Quarantined:
    return Quarantined(
        name=file.path,
        found=f"the other side has no picture of the split {split}",
        expected="pictures on both sides of a split",
        remedy="add some, or set data.source.split_names or val_share",
    )
