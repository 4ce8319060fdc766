"""Lists of pairs: a CSV file that says which picture belongs to which."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pipelines import storage
from pipelines.config import SourceConfig
from pipelines.containers import SourceFile
from pipelines.manifest import Quarantined
from pipelines.schema import SPLITS, TRAIN
from pipelines.sources.pairing import Joined, SourcePair
from pipelines.sources.sides import SKIP, in_order
from rddm.errors import ConfigError

_DELIMITERS = ",;\t"
_OWN = ("degraded", "clean", "mask", "split", "key")
_EXPECTED = "a row with as many cells as there are columns, a degraded and a clean picture in it"
_REMEDY = "correct the line or take it out"


class Row(NamedTuple):
    """A line of the list, or what is wrong with it; lines count from 1, the column names' included."""

    line: int
    cells: Mapping[str, str]
    fault: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reader:
    """What makes pairs of rows."""

    config: SourceConfig
    root: str
    listed: Mapping[str, SourceFile]

    def pair(self, row: Row) -> SourcePair | str | None:
        """A row's pair, None where its split is left out, or what is wrong with it."""
        if row.fault:
            return row.fault
        cells = row.cells
        for name in ("degraded", "clean"):
            if not cells[name]:
                return f"it names no {name} picture"
        wrong = [cells[name] for name in ("degraded", "clean", "mask") if ".." in cells.get(name, "").split("/")]
        if wrong:
            return f"{wrong[0]} leads out of the root"
        folder = cells.get("split") or TRAIN
        split = self.config.split_names.get(folder, folder)
        if split == SKIP:
            return None
        if split not in SPLITS:
            return f"its split {folder!r} is none of {', '.join(SPLITS)}"
        return SourcePair(
            key=f"{split}/{cells.get('key') or _default_key(cells['degraded'])}",
            split=split,
            root=self.root,
            degraded=self._file(cells["degraded"])._replace(part=self.config.degraded_part),
            clean=self._file(cells["clean"])._replace(part=self.config.clean_part),
            mask=self._file(cells["mask"]) if cells.get("mask") else None,
            tags={name: text for name, text in cells.items() if text and name not in _OWN},
        )

    def _file(self, path: str) -> SourceFile:
        return self.listed.get(path) or SourceFile(path)


def paired_by_list(config: SourceConfig, *, root: str, listed: Mapping[str, SourceFile]) -> Joined:
    """The pairs of a list; pictures that are missing show when they are read.

    Args:
        config: With the list's URI.
        root: The container of the paths in it.
        listed: Files of the container by path, where reading one takes more than its path; others stand as named.

    Raises:
        ConfigError: The list has no columns `degraded` and `clean`.
        DataError: It cannot be read.
    """
    reader = _Reader(config=config, root=root, listed=listed)
    pairs: dict[str, SourcePair] = {}
    lines: dict[str, list[int]] = {}
    quarantined = []
    for row in rows(config.pairs_uri):
        pair = reader.pair(row)
        if isinstance(pair, str):
            quarantined.append(_bad(config.pairs_uri, row.line, pair))
        elif pair is not None:
            pairs[pair.key] = pair
            lines.setdefault(pair.key, []).append(row.line)
    for key, places in lines.items():
        if len(places) > 1:
            del pairs[key]
            shown = ", ".join(map(str, places))
            quarantined += [
                _bad(config.pairs_uri, line, f"the lines {shown} have one key, {key}", "a key of its own in each line")
                for line in places
            ]
    quarantined.sort(key=lambda record: int(record.name.rpartition(":")[2]))
    return Joined(pairs=tuple(pairs[key] for key in in_order(pairs)), quarantined=tuple(quarantined))


def rows(uri: str) -> Iterator[Row]:
    """The lines of a CSV file as cells by column name; commas, semicolons or tabs, UTF-8.

    Raises:
        ConfigError: There are no columns `degraded` and `clean`.
        DataError: It cannot be read.
    """
    text = storage.read_bytes(uri).decode("utf-8-sig", "surrogateescape")
    head = text.partition("\n")[0].rstrip("\r")
    delimiter = max(_DELIMITERS, key=head.count)
    table = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    columns = [name.strip() for name in next(table, [])]
    if not {"degraded", "clean"} <= set(columns) or len(set(columns)) < len(columns):
        raise ConfigError(
            f"data.source.pairs_uri: {uri} begins with the line {head[:200]!r}; expected column names, each once, "
            "degraded and clean among them, and perhaps mask, split, key and others, which become tags"
        )
    while True:
        try:
            cells = next(table)
        except StopIteration:
            return
        except csv.Error as error:
            yield Row(table.line_num, {}, f"it is no CSV ({error})")
            continue
        if any(cells):
            yield _row(table.line_num, columns, [cell.strip() for cell in cells])


def _row(line: int, columns: list[str], cells: list[str]) -> Row:
    if len(cells) != len(columns):
        return Row(line, {}, f"it has {len(cells)} cells, not {len(columns)}")
    if not "".join(cells).isprintable():
        return Row(line, {}, "it holds bytes that are not UTF-8, or control characters")
    return Row(line, dict(zip(columns, cells, strict=True)))


def _default_key(path: str) -> str:
    """A picture's path without scheme and extension."""
    name = path.partition("://")[2] or path
    stem, dot, extension = name.rpartition(".")
    return (stem if dot and "/" not in extension else name).strip("/")


def _bad(uri: str, line: int, found: str, expected: str = _EXPECTED) -> Quarantined:
    return Quarantined(name=f"{uri}:{line}", found=found, expected=expected, remedy=_REMEDY)
