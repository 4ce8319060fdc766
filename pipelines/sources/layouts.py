"""What a layout says where a config is silent, and which layout a listing looks like."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from itertools import takewhile
from typing import NamedTuple

from pipelines.config import SourceConfig
from pipelines.containers import SourceFile
from pipelines.sources import public_sets
from pipelines.sources.layout_table import LAYOUTS, Layout
from pipelines.sources.pairing import join
from pipelines.sources.sides import is_ignored
from rddm.errors import ConfigError

__all__ = ["FILLED", "LAYOUTS", "Layout", "Suggestion", "filled", "resolve", "suggest_layout"]

_ENROLLED = (public_sets,)  # importing it is what puts its layouts into the registry
_NEEDED = {
    "paired_folders": ("degraded", "clean"),
    "unpaired_folders": ("degraded", "clean"),
    "clean_folder": ("clean",),
    "pair_list": ("pairs_uri",),
}
FILLED = ("kind", "degraded", "clean", "mask", "degraded_part", "clean_part", "degraded_scale")
"""Fields of a `SourceConfig` that a layout fills, beside `split_names`."""
_DEFAULTS = {field.name: field.default for field in fields(SourceConfig)}
_FILES_OF_A_FOLDER, _FILES = 20, 20_000


class Suggestion(NamedTuple):
    """A layout that finds pairs.

    Attributes:
        layout: A name in `LAYOUTS`.
        pairs: How many it finds.
        below: The folder below the root that it wants as its root, with a slash; mostly empty.
    """

    layout: str
    pairs: int
    below: str


def resolve(config: SourceConfig) -> SourceConfig:
    """Fill whatever of a section stands at its default from its layout; what a person set stays.

    Folder names are merged: the layout's, and over them the person's. Local paths become absolute.

    Raises:
        ConfigError: The layout is unknown, or neither it nor the section says what is needed.
    """
    if config.layout:
        config = filled(config, LAYOUTS[config.layout])
    missing = [name for name in _NEEDED.get(config.kind, ()) if not getattr(config, name)]
    if missing:
        remedy = f"name a layout ({', '.join(LAYOUTS)}) in data.source.layout, or set data.source.{missing[0]}"
        if missing == ["pairs_uri"]:
            remedy = "set it to a CSV file with the columns degraded and clean"
        raise ConfigError(
            f"data.source.{' and data.source.'.join(missing)} {'are' if len(missing) > 1 else 'is'} empty, which a "
            f"{config.kind!r} source needs; {remedy}"
        )
    return replace(config, root=_absolute(config.root), pairs_uri=_absolute(config.pairs_uri))


def _absolute(uri: str) -> str:
    """A local path from the root of the file system, because workers have other working folders than the driver."""
    if not uri or "://" in uri:
        return uri
    return os.path.abspath(os.path.expanduser(uri)) + ("/" if uri.endswith("/") else "")


def suggest_layout(files: Sequence[SourceFile], *, limit: int = 3) -> list[Suggestion]:
    """Paired layouts that find pairs in a listing, those that find most first.

    Of a large listing, a few files of each folder are looked at first.

    Args:
        files: What the container lists, in any order.
        limit: Layouts that are named at most.
    """
    files = [file for file in files if not is_ignored(file.path)]
    sample = _sample(files)
    paired = {name: layout for name, layout in LAYOUTS.items() if layout.kind == "paired_folders"}
    best = []
    for name, layout in paired.items():
        tried = [(_count(layout, _lowered(sample, below)), below) for below in ("", *_common_folders(files))]
        pairs, below = max(tried, key=lambda one: one[0])  # of equals the first, which is the uppermost
        best.append(Suggestion(name, pairs, below))
    best = sorted((one for one in best if one.pairs), key=lambda one: -one.pairs)[:limit]
    if len(sample) < len(files):
        best = [one._replace(pairs=_count(paired[one.layout], _lowered(files, one.below))) for one in best]
    return sorted(best, key=lambda one: -one.pairs)


def filled(config: SourceConfig, layout: Layout) -> SourceConfig:
    """A section with a layout's values where it stands at its defaults."""
    changes = {name: getattr(layout, name) for name in FILLED if getattr(config, name) == _DEFAULTS[name]}
    return replace(config, **changes, split_names={**layout.split_names, **config.split_names})


def _count(layout: Layout, files: Iterable[SourceFile]) -> int:
    """Pairs that a layout finds; none where it finds folders that are no splits."""
    try:
        return len(join(files, filled(SourceConfig(), layout)).pairs)
    except ConfigError:
        return 0


def _common_folders(files: Sequence[SourceFile]) -> list[str]:
    """The folders that all files lie in, the uppermost first, with slashes."""
    if not files:
        return []
    first, last = (path.split("/")[:-1] for path in (min(files).path, max(files).path))
    common = [ours for ours, theirs in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))]
    return ["/".join(common[:end]) + "/" for end in range(1, len(common) + 1)]


def _lowered(files: Iterable[SourceFile], below: str) -> list[SourceFile]:
    return [file._replace(path=file.path[len(below) :]) for file in files if file.path.startswith(below)]


def _sample(files: Sequence[SourceFile]) -> Sequence[SourceFile]:
    """The first names of each folder, since partners have neighbouring places in their folders."""
    if len(files) <= _FILES:
        return files
    seen: Counter[str] = Counter()
    sample = []
    for file in sorted(files):
        folder = file.path.rpartition("/")[0]
        seen[folder] += 1
        if seen[folder] <= _FILES_OF_A_FOLDER:
            sample.append(file)
    return sample[:_FILES]
