"""Where picture pairs come from: each kind of source lists its pairs; pairing is a join on keys."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines import storage
from pipelines.config import PreprocessConfig, SourceConfig
from pipelines.manifest import Quarantined, set_misnamed_aside
from pipelines.schema import SPLITS, TEST, TRAIN, VAL
from rddm.errors import ConfigError, DataError, EmptyDatasetError
from rddm.registry import Registry

EXTENSIONS = "png|jpg|jpeg|tif|tiff|webp|bmp"


@dataclass(frozen=True, kw_only=True, slots=True)
class SourcePair:
    """A degraded picture and its clean original, not yet opened.

    Attributes:
        key: Unique among the pairs.
        split: `train`, `val` or `test`.
        degraded: Path below the root, or None where the degradation is made here.
        clean: Path below the root.
        root: URI of the root.
    """

    key: str
    split: str
    degraded: str | None
    clean: str
    root: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a source holds: pairs by split and key, and the pictures that have no partner."""

    pairs: tuple[SourcePair, ...]
    quarantined: tuple[Quarantined, ...] = ()


Source = Callable[[SourceConfig], Found]
SOURCES: Registry[Source] = Registry("source")


def find_pairs(config: PreprocessConfig) -> Found:
    """List the pairs of a source, sorted, with a validation split.

    Raises:
        ConfigError: The kind of source is unknown, or a template is wrong.
        DataError: The root does not exist.
        EmptyDatasetError: There is no pair.
    """
    found = SOURCES[config.source.kind](config.source)
    if not found.pairs:
        orphans = f"; {len(found.quarantined)} pictures have no partner" if found.quarantined else ""
        raise EmptyDatasetError(
            f"No pair below {config.source.root or config.source.kind!r}{orphans}; expected pictures that match "
            f"{config.source.degraded!r} and {config.source.clean!r}. Set data.source.root and the templates."
        )
    pairs = _with_validation(found.pairs, config.source.val_share)
    return Found(tuple(sorted(pairs, key=lambda pair: (SPLITS.index(pair.split), pair.key))), found.quarantined)


@SOURCES.register("paired_folders")
def paired_folders(config: SourceConfig) -> Found:
    """Two templates below a root; pictures pair where split and key agree, whatever their extensions."""
    files, misnamed = set_misnamed_aside(_files_below(config))
    sides = [_matches(template, files, config.split_names) for template in (config.degraded, config.clean)]
    degraded, clean = sides
    pairs = tuple(
        SourcePair(
            key=f"{split}/{key}", split=split, degraded=degraded[split, key], clean=clean[split, key], root=config.root
        )
        for split, key in degraded.keys() & clean.keys()
    )
    orphans = [
        Quarantined(
            name=path,
            found="it has no partner",
            expected=f"a picture of the same key at {template}",
            remedy="add the partner or leave it out",
        )
        for side, other, template in ((degraded, clean, config.clean), (clean, degraded, config.degraded))
        for name, path in side.items()
        if name not in other
    ]
    return Found(pairs, tuple(sorted([*orphans, *misnamed], key=lambda record: record.name)))


@SOURCES.register("clean_folder")
def clean_folder(config: SourceConfig) -> Found:
    """One template of clean pictures; `data.degrade` makes their partners."""
    files, misnamed = set_misnamed_aside(_files_below(config))
    clean = _matches(config.clean, files, config.split_names)
    pairs = tuple(_to_degrade(split, key, path, config.root) for (split, key), path in clean.items())
    return Found(pairs, tuple(misnamed))


_PHOTOGRAPHS: Mapping[str, tuple[str, str]] = {
    "astronaut": (TRAIN, "skimage/data/astronaut.png"),
    "grace_hopper": (TRAIN, "matplotlib/mpl-data/sample_data/grace_hopper.jpg"),
    "hubble_deep_field": (TRAIN, "skimage/data/hubble_deep_field.jpg"),
    "immunohistochemistry": (TRAIN, "skimage/data/ihc.png"),
    "motorcycle_left": (TRAIN, "skimage/data/motorcycle_left.png"),
    "motorcycle_right": (TRAIN, "skimage/data/motorcycle_right.png"),
    "retina": (TRAIN, "skimage/data/retina.jpg"),
    "rocket": (VAL, "skimage/data/rocket.jpg"),
    "chelsea": (TEST, "skimage/data/chelsea.png"),
    "china": (TEST, "sklearn/datasets/images/china.jpg"),
    "coffee": (TEST, "skimage/data/coffee.png"),
    "flower": (TEST, "sklearn/datasets/images/flower.jpg"),
}
"""Colour photographs that ship inside packages, split by scene: both motorcycles show the same one."""


@SOURCES.register("sample_photographs")
def sample_photographs(config: SourceConfig) -> Found:
    """The colour photographs inside the scikit-image, scikit-learn and matplotlib packages."""
    return Found(
        tuple(_to_degrade(split, key, path, _package_root(path)) for key, (split, path) in _PHOTOGRAPHS.items())
    )


def _to_degrade(split: str, key: str, path: str, root: str) -> SourcePair:
    return SourcePair(key=f"{split}/{key}", split=split, degraded=None, clean=path, root=root)


def _package_root(path: str) -> str:
    package = path.split("/", 1)[0]
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            f"The sample photographs need the package {package}; install them with: pip install 'rddm[demo]'"
        )
    root = Path(spec.submodule_search_locations[0]).parent
    if not (root / path).is_file():
        raise DataError(f"{root / path} is missing from the installed package {package}; reinstall it")
    return str(root)


def _files_below(config: SourceConfig) -> list[str]:
    if not config.root:
        raise ConfigError(f"data.source.root is empty; a {config.kind!r} source needs the folder to look in")
    return storage.list_files(config.root)


def _matches(template: str, files: list[str], split_names: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """Paths by (split, key)."""
    pattern = _pattern(template)
    matched: dict[tuple[str, str], str] = {}
    for path in files:
        if match := pattern.fullmatch(path):
            fields = match.groupdict()
            name = (_split(fields.get("split") or TRAIN, split_names), fields["key"])
            if name in matched:
                raise DataError(f"{matched[name]} and {path} both have the key {name[1]!r}; rename one of them")
            matched[name] = path
    return matched


def _pattern(template: str) -> re.Pattern[str]:
    if "{key}" not in template:
        raise ConfigError(
            f"the template {template!r} has no {{key}}; expected something like {{split}}/low/{{key}}.{{ext}}"
        )
    groups = {"split": r"(?P<split>[^/]+)", "key": r"(?P<key>[^/]+)", "ext": f"(?i:{EXTENSIONS})"}
    parts = re.split(r"\{(\w+)\}", template)
    unknown = [name for name in parts[1::2] if name not in groups]
    if unknown:
        raise ConfigError(f"the template {template!r} has an unknown field {unknown[0]!r}; one of: {', '.join(groups)}")
    seen: set[str] = set()
    pieces = []
    for index, part in enumerate(parts):
        if index % 2 == 0:
            pieces.append(re.escape(part))
        else:
            pieces.append(f"(?P={part})" if part in seen and part != "ext" else groups[part])
            seen.add(part)
    return re.compile("".join(pieces))


def _split(name: str, split_names: Mapping[str, str]) -> str:
    split = split_names.get(name, name)
    if split not in SPLITS:
        raise ConfigError(
            f"the split folder {name!r} is none of {', '.join(SPLITS)}; name it in data.source.split_names"
        )
    return split


def _with_validation(pairs: tuple[SourcePair, ...], share: float) -> list[SourcePair]:
    """Move a share of the training pairs, chosen by the hash of their keys, where there is no validation split."""
    train = [pair for pair in pairs if pair.split == TRAIN]
    if any(pair.split == VAL for pair in pairs) or not share or len(train) < 2:
        return list(pairs)
    by_hash = sorted(train, key=lambda pair: hashlib.sha256(pair.key.encode()).digest())
    moved = {pair.key for pair in by_hash[: max(1, round(share * len(train)))]}
    return [
        replace(pair, split=VAL, key=f"{VAL}/{pair.key.removeprefix(TRAIN + '/')}")
        if pair.split == TRAIN and pair.key in moved
        else pair
        for pair in pairs
    ]
