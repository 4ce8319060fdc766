"""Where picture pairs come from: each kind of source lists its pairs without opening a picture."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines import storage
from pipelines.config import PreprocessConfig, SourceConfig
from pipelines.containers import Limits, SourceFile, container_kind, list_container, prepared
from pipelines.manifest import Quarantined
from pipelines.schema import SPLITS, TEST, TRAIN, VAL
from pipelines.sources import pair_list
from pipelines.sources.layouts import resolve, suggest_layout
from pipelines.sources.pairing import Joined, SourcePair, couple, held_out, join, without_collection
from rddm.errors import ConfigError, DataError, EmptyDatasetError
from rddm.registry import Registry


@dataclass(frozen=True, slots=True)
class Found:
    """What a source holds.

    Attributes:
        pairs: By split and key.
        quarantined: Files that were set aside, and why.
        root: The container that the pairs' files are read from; of a compressed archive, its unpacked copy.
        unmatched: Names of pictures that fit no template, sorted.
        listed: All files that may be opened; empty where nothing is listed.
    """

    pairs: tuple[SourcePair, ...]
    quarantined: tuple[Quarantined, ...] = ()
    root: str = ""
    unmatched: tuple[str, ...] = ()
    listed: tuple[SourceFile, ...] = ()


Source = Callable[[PreprocessConfig, str], Found]
SOURCES: Registry[Source] = Registry("source")
"""What finds the pairs of a resolved config; the second argument is a folder or prefix for what must be unpacked."""


def find_pairs(config: PreprocessConfig, *, scratch_uri: str) -> Found:
    """List the pairs of a source by split and key, with a validation split.

    Args:
        config: Of the data set; its layout fills what the source's section leaves out.
        scratch_uri: A folder or prefix that every reader reaches; a compressed tar archive is unpacked there.

    Raises:
        ConfigError: The kind of source or its layout is unknown, or a template is wrong.
        DataError: The root does not exist, or is damaged.
        EmptyDatasetError: There is no pair.
    """
    found = survey(config, scratch_uri=scratch_uri)
    if not found.pairs:
        raise EmptyDatasetError(_why_empty(resolve(config.source), found))
    return found


def survey(config: PreprocessConfig, *, scratch_uri: str) -> Found:
    """What `find_pairs` finds, even if that is no pair.

    Raises:
        ConfigError: The kind of source or its layout is unknown, or a template is wrong.
        DataError: The root does not exist, or is damaged.
    """
    source = resolve(config.source)
    found = SOURCES[source.kind](replace(config, source=source), scratch_uri)
    if source.unpaired:  # its two sides were split each by itself
        return found
    with without_collection():
        return replace(found, pairs=tuple(with_validation(found.pairs, source.val_share)))


def _why_empty(source: SourceConfig, found: Found) -> str:
    """What was found instead of pairs, and what to do."""
    words = [f"No pair below {source.root or source.pairs_uri or source.kind}"]
    if found.quarantined:
        first = found.quarantined[0]
        words[0] += f"; {len(found.quarantined)} pictures have no partner, such as {first.name}: {first.reason}"
    templates = " and ".join(repr(text) for text in (source.degraded, source.clean, source.mask) if text)
    if templates:
        words.append(f"Expected pictures that match {templates}")
    if found.unmatched:
        words.append(f"{len(found.unmatched)} pictures match nothing, such as {', '.join(found.unmatched[:3])}")
    remedy = "Set data.source.root and the templates"
    for layout, pairs, below in suggest_layout(found.listed, limit=1):
        root = f" and data.source.root to {storage.join(source.root, below)}" if below else ""
        remedy = f"The layout {layout} finds {pairs} pairs: set data.source.layout to it{root}, without templates"
    return ". ".join([*words, remedy]) + "."


def with_validation(pairs: Sequence[SourcePair], share: float) -> list[SourcePair]:
    """Move a share of the training pairs to the validation split where there is none, and sort all.

    Which ones is decided by the hashes of their keys. Pairs that share a clean picture, or what the field `{scene}`
    holds, move together, so that nothing seen in training is validated on.
    """
    if not share or any(pair.split == VAL for pair in pairs):
        return list(pairs)
    first: dict[str, str] = {}
    for pair in (pair for pair in pairs if pair.split == TRAIN):
        group = _group(pair)
        first[group] = min(first.get(group, pair.key), pair.key)
    moved = held_out(first.values(), share)
    split = [_to_validation(pair) if pair.split == TRAIN and first[_group(pair)] in moved else pair for pair in pairs]
    return sorted(split, key=lambda pair: (SPLITS.index(pair.split), pair.key))


def _group(pair: SourcePair) -> str:
    return pair.tags.get("scene") or pair.clean.path


def _to_validation(pair: SourcePair) -> SourcePair:
    return replace(pair, split=VAL, key=f"{VAL}/{pair.key.removeprefix(TRAIN + '/')}")


@SOURCES.register("paired_folders")
def paired_folders(config: PreprocessConfig, scratch_uri: str) -> Found:
    """Templates below a root, which may be an archive; pictures pair where split and key agree."""
    return _from_listing(config, scratch_uri, join)


@SOURCES.register("clean_folder")
def clean_folder(config: PreprocessConfig, scratch_uri: str) -> Found:
    """One template of clean pictures, and perhaps one of masks; `data.degrade` makes their partners."""
    return _from_listing(config, scratch_uri, lambda files, source: join(files, replace(source, degraded="")))


@SOURCES.register("unpaired_folders")
def unpaired_folders(config: PreprocessConfig, scratch_uri: str) -> Found:
    """Two templates of pictures that have nothing to do with each other."""
    return _from_listing(config, scratch_uri, couple)


@SOURCES.register("pair_list")
def pair_list_source(config: PreprocessConfig, scratch_uri: str) -> Found:
    """A CSV file of pairs; paths in it are below the root, or below the folder that it lies in."""
    source, limits = config.source, Limits.of(config)
    root = prepared(source.root or source.pairs_uri.rpartition("/")[0] or ".", scratch_uri, limits)
    # A member of a tar archive is read at its offset, which the listing knows; others need no more than their names.
    listed = list_container(root, limits).files if container_kind(root) == "tar" else ()
    joined = pair_list.paired_by_list(source, root=root, listed={file.path: file for file in listed})
    return Found(joined.pairs, joined.quarantined, root=root)


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
def sample_photographs(config: PreprocessConfig, scratch_uri: str) -> Found:
    """The colour photographs inside the scikit-image, scikit-learn and matplotlib packages."""
    del config, scratch_uri
    pairs = [
        SourcePair(key=f"{split}/{key}", split=split, root=_package_root(path), degraded=None, clean=SourceFile(path))
        for key, (split, path) in _PHOTOGRAPHS.items()
    ]
    return Found(tuple(sorted(pairs, key=lambda pair: (SPLITS.index(pair.split), pair.key))))


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


def _from_listing(
    config: PreprocessConfig, scratch_uri: str, pairing: Callable[[Sequence[SourceFile], SourceConfig], Joined]
) -> Found:
    """List a container and pair its files."""
    source, limits = config.source, Limits.of(config)
    if not source.root:
        raise ConfigError(f"data.source.root is empty; a {source.kind!r} source needs the folder to look in")
    root = prepared(source.root, scratch_uri, limits)
    listing = list_container(root, limits, shown=source.root)
    joined = pairing(listing.files, replace(source, root=root))
    quarantined = sorted([*joined.quarantined, *listing.quarantined], key=lambda record: record.name)
    return Found(joined.pairs, tuple(quarantined), root=root, unmatched=joined.unmatched, listed=listing.files)
