"""Reading a data set for training and scoring: random access, and an order that is a function of seed and step only."""

from __future__ import annotations

import bisect
import functools
import itertools
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch.utils.data import Dataset, Sampler

from pipelines import storage
from pipelines.manifest import DatasetManifest
from pipelines.ops.codec import decode_lossless
from rddm.errors import DataError, EmptyDatasetError
from rddm.images import from_pixels, to_signed
from rddm.keyed import keyed_generator, keyed_seed

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations as A

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CACHED_ROW_GROUPS = 64
_MANIFEST = "manifest.json"

Position = tuple[int, int]
"""Which row, and which pass over the data: together they fix crop and flips."""


def read_dataset_manifest(dataset_uri: str) -> DatasetManifest:
    """The manifest of a finished data set.

    Raises:
        DataError: There is none, or it is of another version.
    """
    place = storage.join(dataset_uri, _MANIFEST)
    if not storage.exists(place):
        raise DataError(f"No data set at {dataset_uri}; make it first: rddm preprocess --config FILE")
    return DatasetManifest.from_json(storage.read_bytes(place), where=place)


class PairShards:
    """One split of a data set, row by row; opens files when they are needed and keeps a few row groups.

    Args:
        dataset_uri: A finished data set.
        split: `train`, `val` or `test`.

    Raises:
        DataError: There is no such data set.
    """

    def __init__(self, dataset_uri: str, split: str) -> None:
        """Read the manifest and the keys."""
        manifest = read_dataset_manifest(dataset_uri)
        self._paths = [storage.join(dataset_uri, shard.path) for shard in manifest.shards if shard.split == split]
        self._files: dict[int, pq.ParquetFile] = {}
        self._groups: list[tuple[int, int]] = []
        starts = [0]
        self.keys: list[str] = []
        for number in range(len(self._paths)):
            file = self._file(number)
            self.keys += file.read(columns=["key"])["key"].to_pylist()
            for group in range(file.num_row_groups):
                self._groups.append((number, group))
                starts.append(starts[-1] + file.metadata.row_group(group).num_rows)
        self._starts = starts
        self._read_group = functools.lru_cache(maxsize=_CACHED_ROW_GROUPS)(self._read_group_uncached)

    def __len__(self) -> int:
        """Rows."""
        return len(self.keys)

    def pair(self, index: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Degraded and clean pixels of a row, uint8 or uint16 RGB of shape (height, width, 3).

        Raises:
            DataError: The shard is damaged.
            IndexError: There is no such row.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        group = bisect.bisect_right(self._starts, index) - 1
        degraded, clean = self._read_group(group)[index - self._starts[group]]
        return decode_lossless(degraded), decode_lossless(clean)

    def _read_group_uncached(self, group: int) -> list[tuple[bytes, bytes]]:
        number, inner = self._groups[group]
        try:
            table = self._file(number).read_row_group(inner, columns=["degraded", "clean"])
        except (OSError, ValueError) as error:
            raise DataError(f"{self._paths[number]} is damaged ({error}); make the data set again") from None
        return list(zip(table["degraded"].to_pylist(), table["clean"].to_pylist(), strict=True))

    def _file(self, number: int) -> pq.ParquetFile:
        if number not in self._files:
            try:
                self._files[number] = pq.ParquetFile(storage.open_input(self._paths[number]))
            except (OSError, ValueError) as error:
                raise DataError(f"{self._paths[number]} is damaged ({error}); make the data set again") from None
        return self._files[number]


class TrainingPairs(Dataset[dict[str, Any]]):
    """Random crops of pairs, flipped and turned; what happens to a row is a function of (seed, pass, key).

    Args:
        pairs: The rows.
        crop_px: Side of the square crop; smaller pictures are padded by reflection.
        seed: The run's seed.
        unpaired: Whether a sample's degraded picture is another row's, drawn anew on each pass: two domains, no pairs.

    Raises:
        EmptyDatasetError: There is no row.
    """

    def __init__(self, pairs: PairShards, *, crop_px: int, seed: int, unpaired: bool = False) -> None:
        """Build the augmentation."""
        if len(pairs) == 0:
            raise EmptyDatasetError("The training split is empty; look at the data set's manifest and quarantine list.")
        self._pairs, self._seed, self._unpaired = pairs, seed, unpaired
        self._augment: Any = A.Compose(
            [
                A.PadIfNeeded(min_height=crop_px, min_width=crop_px, border_mode=4),
                A.RandomCrop(height=crop_px, width=crop_px),
                A.D4(p=1.0),  # each of the eight symmetries of the square is as likely
            ],
            additional_targets={"clean": "image"},
        )

    def __len__(self) -> int:
        """Rows."""
        return len(self._pairs)

    def __getitem__(self, position: Position) -> dict[str, Any]:
        """`key`, and `x_input` and `x_start`: float32 in [-1, 1] of shape (3, crop, crop)."""
        index, visit = position
        key = self._pairs.keys[index]
        degraded, clean = self._pairs.pair(index)
        if self._unpaired:
            other, _ = self._pairs.pair(keyed_seed(self._seed, "partner", visit, key) % len(self._pairs))
            degraded = self._augmented("augment partner", visit, key, image=other)["image"]
            clean = self._augmented("augment", visit, key, image=clean)["image"]
        else:
            both = self._augmented("augment", visit, key, image=degraded, clean=clean)
            degraded, clean = both["image"], both["clean"]
        return {"key": key, "x_input": _signed(degraded), "x_start": _signed(clean)}

    def _augmented(self, purpose: str, visit: int, key: str, **images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        self._augment.set_random_seed(keyed_seed(self._seed, purpose, visit, key) % 2**32)
        augmented: dict[str, NDArray[Any]] = self._augment(**images)
        return augmented


class KeyedBatchSampler(Sampler[list[Position]]):
    """This worker's share of every global batch; the union over the workers is the same whatever their number.

    Args:
        num_samples: Rows.
        global_batch: Samples of a step, over all workers.
        rank: This worker.
        world_size: All workers.
        seed: The run's seed.
        start_step: First step.
        num_steps: How many.
    """

    def __init__(
        self,
        num_samples: int,
        *,
        global_batch: int,
        rank: int,
        world_size: int,
        seed: int,
        start_step: int,
        num_steps: int,
    ) -> None:
        """Keep the numbers; nothing is drawn before a step is asked for."""
        self._num_samples, self._global_batch = num_samples, global_batch
        self._rank, self._world_size, self._seed = rank, world_size, seed
        self._steps = range(start_step, start_step + num_steps)
        self._order = functools.lru_cache(maxsize=2)(self._order_of)

    def __len__(self) -> int:
        """Steps."""
        return len(self._steps)

    def __iter__(self) -> Iterator[list[Position]]:
        """Positions of each step."""
        for step in self._steps:
            drawn = range(step * self._global_batch, (step + 1) * self._global_batch)
            yield [self._position(number) for number in itertools.islice(drawn, self._rank, None, self._world_size)]

    def _position(self, number: int) -> Position:
        visit, place = divmod(number, self._num_samples)
        return self._order(visit)[place], visit

    def _order_of(self, visit: int) -> list[int]:
        order: list[int] = torch.randperm(
            self._num_samples, generator=keyed_generator(self._seed, "order", visit)
        ).tolist()
        return order


def _signed(pixels: NDArray[Any]) -> torch.Tensor:
    return to_signed(from_pixels(torch.from_numpy(np.ascontiguousarray(pixels))))
