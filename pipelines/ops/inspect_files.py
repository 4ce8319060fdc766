"""Pairs of files -> their facts: read, look, compare."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipelines.config import PreprocessConfig
from pipelines.containers import Limits, SourceFile, read_file
from pipelines.ops.facts import PairFacts
from pipelines.ops.inspect import Picture, inspect_pair, look, unreadable
from pipelines.sources.pairing import SourcePair
from rddm.errors import DataError, StorageUnreachableError


def inspect_pairs(pairs: Iterable[SourcePair], config: PreprocessConfig) -> Iterator[PairFacts]:
    """The facts of pairs, in their order; a clean picture that consecutive pairs share is read once.

    Args:
        pairs: From one source.
        config: With the limits, and how the sides go together.
    """
    clean: tuple[tuple[str, SourceFile], Picture] | None = None
    for pair in pairs:
        place = (pair.root, pair.clean)
        if clean is None or clean[0] != place:
            clean = (place, see(pair.root, pair.clean, config))
        yield inspect_pair(
            pair.key,
            pair.split,
            clean=clean[1],
            degraded=None if pair.degraded is None else see(pair.root, pair.degraded, config),
            mask=None if pair.mask is None else see(pair.root, pair.mask, config),
            scale=config.source.degraded_scale,
            unpaired=config.source.unpaired,
        )


def see(root: str, file: SourceFile, config: PreprocessConfig) -> Picture:
    """A file, read within the limits, and what it looks like; whatever is wrong with it stands in its facts.

    Raises:
        StorageUnreachableError: The storage does not answer.
    """
    try:
        data = read_file(root, file, Limits.of(config))
    except StorageUnreachableError:
        raise  # no fault of the file
    except DataError as error:
        return unreadable(file.path, error, part=file.part, size_bytes=max(0, file.size_bytes))
    return look(data, file.path, part=file.part, max_pixels=config.max_pixels)
