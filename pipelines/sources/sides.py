"""The sides of a pair: one template each, and the files that fit it by key.

A picture's key is its split and what the fields of its template hold, the extension aside.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from pipelines.config import Part, SourceConfig
from pipelines.containers import SourceFile
from pipelines.manifest import Quarantined
from pipelines.schema import SPLITS, TRAIN
from pipelines.sources.name_templates import MAX_NAME, Template, composed, is_picture
from rddm.errors import ConfigError

SKIP = "skip"
"""What `split_names` says of a folder that is left out."""
_Found = re.Match[str]
_Taker = Callable[[_Found, SourceFile], None]


def is_ignored(path: str) -> bool:
    """Whether a name is another program's note beside the pictures: hidden files, `__MACOSX`, `@eaDir`."""
    return path.startswith(".") or "/." in path or "__MACOSX/" in path or "@eaDir/" in path


def in_order(keys: Iterable[str]) -> list[str]:
    """Keys, each of which begins with its split: by split, then by name."""
    names = sorted(keys)
    after = chr(ord("/") + 1)
    return [
        name for split in SPLITS for name in names[bisect_left(names, f"{split}/") : bisect_left(names, split + after)]
    ]


class Splits(dict[str, str]):
    """Splits by folder name; names that stand for none are remembered.

    Args:
        split_names: Of the config: what folders' names stand for.
    """

    def __init__(self, split_names: Mapping[str, str]) -> None:
        """Start empty."""
        super().__init__()
        self._split_names = split_names
        self._unknown: list[str] = []

    def __missing__(self, name: str) -> str:
        """The split of a name that is new; `SKIP` where nobody says."""
        split = self._split_names.get(name, name)
        if split not in SPLITS and split != SKIP:
            self._unknown.append(name)
            split = SKIP
        self[name] = split
        return split

    def refuse_unknown(self) -> None:
        """Refuse all names that stood for none.

        Raises:
            ConfigError: There are such names.
        """
        if self._unknown:
            names = ", ".join(repr(name) for name in sorted(self._unknown))
            raise ConfigError(
                f"the split folder {names} is none of {', '.join(SPLITS)}; name it in data.source.split_names, "
                f"as one of them or, to leave it out, as {SKIP}"
            )


class Side:
    """One template, and the files that fit it by key.

    Args:
        name: `degraded`, `clean` or `mask`.
        text: The template.
        part: Which half of its files is meant.

    Attributes:
        files: By key; of files that have one in common, any.
        doubles: The others of those, by key.

    Raises:
        ConfigError: The template is wrong.
    """

    def __init__(self, name: str, text: str, part: Part = "whole") -> None:
        """Start without files."""
        self.name, self.part = name, part
        self.template = Template.parse(text)
        self.has_split = "split" in self.template.fields
        self.files: dict[str, SourceFile] = {}
        self.doubles: dict[str, list[SourceFile]] = {}

    def fields(self, key: str) -> dict[str, str]:
        """What the template's fields hold in a key's file, the extension aside."""
        found = self.template.match(self.files[key].path) or {}
        return {name: text for name, text in found.items() if name != "ext"}

    def picture(self, key: str) -> SourceFile | None:
        """The file of a key, and the half of it that is meant."""
        file = self.files.get(key)
        return file if file is None or self.part == "whole" else file._replace(part=self.part)

    def taker(self, order: Sequence[str], prefix: str, splits: Splits) -> _Taker:
        """What takes a file that fits: its key is the split, or the prefix, and the fields in the order given."""
        names = [name for name in order if name in self.template.fields]
        names = ["split", *names] if self.has_split else names
        files, doubles, has_split = self.files, self.doubles, self.has_split

        def take(found: _Found, file: SourceFile) -> None:
            values = found.group(0, 0, *names)[2:]  # always a tuple
            if has_split:
                split = splits[values[0]]
                if split == SKIP:
                    return
                values = (split, *values[1:])
            key = prefix + "/".join(values)
            if files.setdefault(key, file) is not file:
                doubles.setdefault(key, []).append(file)

        return take

    def set_doubles_aside(self) -> Iterator[Quarantined]:
        """Records of the files that have a key in common; none of them stays in `files`."""
        for key, doubles in self.doubles.items():
            paths = sorted(file.path for file in [self.files.pop(key), *doubles])
            for path in paths:
                yield Quarantined(
                    name=path,
                    found=f"{', '.join(other for other in paths if other != path)} has the same key, {key}",
                    expected=f"one file of each key ({self.template.text})",
                    remedy="keep one of them, or make what tells them apart a field of the template",
                )


class Sides:
    """The templates of a source, and the files that fit them.

    Args:
        config: Of the source.

    Attributes:
        degraded: None where the degradation is made here.
        clean: The clean side.
        mask: None where there are no masks.
        main: The side that names the pairs: the degraded one if there is one.
        others: The other sides: the clean one, then the mask.

    Raises:
        ConfigError: A template is wrong, or both sides are the same pictures.
    """

    def __init__(self, config: SourceConfig) -> None:
        """Read the templates."""
        self._split_names = config.split_names
        self.clean = Side("clean", config.clean, config.clean_part)
        self.degraded = Side("degraded", config.degraded, config.degraded_part) if config.degraded else None
        self.mask = Side("mask", config.mask) if config.mask else None
        self.main = self.degraded or self.clean
        self.key_fields = self.main.template.key_fields
        self.others = [side for side in (self.clean, self.mask) if side and side is not self.main]
        for side in (self.main, self.clean):
            if not side.template.key_fields:
                raise ConfigError(
                    f"the {side.name} template {side.template.text!r} has no field that tells pictures apart; "
                    "expected something like {split}/low/{id}.{ext}"
                )
        if self.degraded and self.degraded.template.text == self.clean.template.text:
            self._share_files(self.degraded)

    def _share_files(self, degraded: Side) -> None:
        """One file holds both pictures, side by side."""
        if degraded.part == self.clean.part:
            raise ConfigError(
                f"the degraded and the clean template are both {self.clean.template.text!r}, so that each picture "
                "would be its own partner; set data.source.degraded_part and data.source.clean_part to its halves"
            )
        self.clean.files, self.clean.doubles = degraded.files, degraded.doubles

    @property
    def reading(self) -> list[Side]:
        """The sides that files are given to: all, or one of two that share them."""
        return [self.main, *(side for side in self.others if side.files is not self.main.files)]

    def require_common_key(self) -> None:
        """Refuse templates whose pictures cannot be joined.

        Raises:
            ConfigError: A side has a field that the main one lacks.
        """
        for side in self.others:
            more = [name for name in side.template.fields if name not in {*self.main.template.fields, "ext"}]
            if more:
                raise ConfigError(
                    f"the {side.name} template {side.template.text!r} has {{{more[0]}}}, which the {self.main.name} "
                    f"template {self.main.template.text!r} has not; write {{*}} for what does not tell pictures apart"
                )

    def assign(self, files: Iterable[SourceFile], *, joint: bool = True) -> tuple[str, ...]:
        """Give every file to the template that fits it.

        A file that fits two templates, such as `1_clean.png` with `{id}_clean.png` and `{id}.png`, belongs to the one
        that says more.

        Args:
            files: In any order.
            joint: Whether the sides' keys name the same things.

        Returns:
            The names of pictures that fit no template, sorted.

        Raises:
            ConfigError: A folder's name is no split.
        """
        splits = Splits(self._split_names)
        takers = []
        for side in sorted(self.reading, key=lambda side: -side.template.literal_length):
            order = self.key_fields if joint else side.template.key_fields
            prefix = "" if side.has_split or (joint and self.main.has_split) else f"{TRAIN}/"
            takers.append((side.template.regex.fullmatch, side.taker(order, prefix, splits)))
        unmatched = _give(files, takers)
        splits.refuse_unknown()
        return tuple(sorted(unmatched))


def _give(files: Iterable[SourceFile], takers: Sequence[tuple[Callable[[str], _Found | None], _Taker]]) -> list[str]:
    """Give files to the first taker that they fit, and return the pictures that fit none."""
    unmatched = []
    for file in files:
        path = file.path if file.path.isascii() else composed(file.path)
        if len(path) > MAX_NAME or is_ignored(path):
            continue
        for fullmatch, take in takers:
            if found := fullmatch(path):
                take(found, file)
                break
        else:
            if is_picture(path):
                unmatched.append(file.path)
    return unmatched
