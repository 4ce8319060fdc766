"""Which pairs go into which file: a function of the sorted pairs and the config, not of workers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any

from pipelines import schema
from pipelines.config import CardConfig, PreprocessConfig
from pipelines.ops.pairs import WorkItem
from pipelines.sources.pairing import SourcePair

DATA = "data"
PACKAGES = ("albumentations", "numpy", "opencv-python-headless", "pillow", "pyarrow", "rddm")
"""What decides the bytes of a data set beside our own code."""
_FEWEST, _MOST, _FILES = 8, 256, 64


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardPlan:
    """A Parquet file to be.

    Attributes:
        name: Of the file without its folder and ending, such as `train-00003`.
        path: The file, relative to the data set.
        split: Of all its items.
        items: Whose rows it will hold.
        digest: SHA-256 of all that decides its bytes; a file made under another one is not taken for this one.
    """

    name: str
    path: str
    split: str
    items: tuple[WorkItem, ...]
    digest: str

    def to_json(self) -> str:
        """The plan as a row can carry it."""
        return json.dumps([self.name, self.path, self.split, self.digest, [item.to_list() for item in self.items]])

    @classmethod
    def from_json(cls, text: str) -> ShardPlan:
        """What `to_json` gave."""
        name, path, split, digest, items = json.loads(text)
        return cls(name=name, path=path, split=split, digest=digest, items=tuple(map(WorkItem.from_list, items)))


def plan_shards(pairs: Sequence[SourcePair], config: PreprocessConfig) -> list[ShardPlan]:
    """Decide, from the sorted pairs alone, which items go into which file."""
    foundation = _foundation(config)
    plans = []
    for split in schema.SPLITS:
        items = [item for pair in pairs if pair.split == split for item in _variants(pair, config)]
        size = config.pictures_per_shard or min(_MOST, max(_FEWEST, len(items) // _FILES))
        for number, start in enumerate(range(0, len(items), size)):
            batch = tuple(items[start : start + size])
            plans.append(
                ShardPlan(
                    name=f"{split}-{number:05d}",
                    path=f"{DATA}/{split}/part-{number:05d}.parquet",
                    split=split,
                    items=batch,
                    digest=_digest(foundation, [item.to_list() for item in batch]),
                )
            )
    return plans


def versions() -> dict[str, str]:
    """Packages that decide the bytes of a data set, with their versions."""
    return {name: version(name) for name in PACKAGES}


def _foundation(config: PreprocessConfig) -> str:
    """All that decides the bytes of every shard alike: what the card says and how much may be bad do not."""
    values: dict[str, Any] = asdict(replace(config, card=CardConfig(), max_quarantined_share=0.0))
    return _digest(schema.VERSION, values, versions())


def _digest(*values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _variants(pair: SourcePair, config: PreprocessConfig) -> Iterator[WorkItem]:
    if pair.degraded is not None or pair.split != schema.TRAIN:
        yield WorkItem(pair=pair)
    else:
        yield from (WorkItem(pair=pair, variant=variant) for variant in range(config.degrade.variants))
