"""What a training sees of a data set: keyed order, keyed crops, the same stream for any number of workers.

The order of a pass is a function of (seed, pass), and what happens to a row one of (seed, pass, key). So workers share
each step among them without talking, and a training that goes on at step n reads nothing of the steps before.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from pipelines.shards import PairShards, Pictures
from rddm.errors import EmptyDatasetError
from rddm.images import from_pixels, to_signed
from rddm.keyed import keyed_generator, keyed_seed

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations as A

if TYPE_CHECKING:
    from numpy.typing import NDArray

Position = tuple[int, int]
"""Which row, and which pass over the data: together they fix crop and flips."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrainingSample:
    """One crop: pixels as `Pictures` has them, whose they are, and in which pass."""

    key: str
    visit: int
    pictures: Pictures


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PixelBatch:
    """Crops of equal size, still as pixels: a quarter of what floats would weigh on their way to the device.

    Attributes:
        keys: Whose each crop is.
        visits: In which pass.
        degraded: uint8 or uint16 (batch, height, width, 3).
        clean: The same.
        mask: uint8 (batch, height, width), or None.
    """

    keys: list[str]
    visits: list[int]
    degraded: Tensor
    clean: Tensor
    mask: Tensor | None

    def pin_memory(self) -> PixelBatch:
        """The same in page-locked memory, from which a GPU copies while it computes; torch's loader asks for it."""
        pinned = None if self.mask is None else self.mask.pin_memory()
        return PixelBatch(
            keys=self.keys,
            visits=self.visits,
            degraded=self.degraded.pin_memory(),
            clean=self.clean.pin_memory(),
            mask=pinned,
        )

    def images(self, device: torch.device | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
        """x_input and x_start, float32 in [-1, 1] (batch, 3, height, width), and the mask in [0, 1], as large."""

        def unit(pixels: Tensor) -> Tensor:
            return from_pixels(pixels.to(device, non_blocking=True)).contiguous()

        x_start = to_signed(unit(self.clean))
        mask = None if self.mask is None else unit(self.mask[..., None]).expand_as(x_start)
        return to_signed(unit(self.degraded)), x_start, mask


class TrainingPairs(Dataset[TrainingSample]):
    """Random crops of pairs, flipped and turned, both sides and the mask alike.

    Args:
        pairs: The rows.
        crop_px: Side of the square crop; smaller pictures are padded by reflection. 0 leaves pictures as they are.
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
        self._augment: Any = _augmentation(crop_px) if crop_px else None

    def __len__(self) -> int:
        """Rows."""
        return len(self._pairs)

    def __getitem__(self, position: Position) -> TrainingSample:
        """The crop of a row in a pass."""
        index, visit = position
        key = self._pairs.keys[index]
        pictures = self._pairs.pictures(index)
        if self._unpaired:
            partner = keyed_seed(self._seed, "partner", visit, key) % len(self._pairs)
            other = self._augmented("augment partner", visit, key, image=self._pairs.pictures(partner).degraded)
            clean = self._augmented("augment", visit, key, image=pictures.clean)
            pictures = Pictures(other["image"], clean["image"])
        else:
            # Masks of some rows only would fall to their neighbours in a batch.
            masks = {"mask": pictures.mask} if self._pairs.has_masks and pictures.mask is not None else {}
            both = self._augmented("augment", visit, key, image=pictures.degraded, clean=pictures.clean, **masks)
            pictures = Pictures(both["image"], both["clean"], both.get("mask"))
        return TrainingSample(key=key, visit=visit, pictures=pictures)

    def _augmented(self, purpose: str, visit: int, key: str, **images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        if self._augment is None:
            return images
        self._augment.set_random_seed(keyed_seed(self._seed, purpose, visit, key) % 2**32)
        augmented: dict[str, NDArray[Any]] = self._augment(**images)
        return augmented


def _stacked(pixels: Sequence[NDArray[Any]]) -> Tensor:
    """One tensor; where depths differ, all get 16 bits of the same brightness."""
    if len({one.dtype for one in pixels}) > 1:
        pixels = [one if one.dtype == np.uint16 else one.astype(np.uint16) * np.uint16(257) for one in pixels]
    return torch.from_numpy(np.stack(pixels))


def collate(samples: Sequence[TrainingSample]) -> PixelBatch:
    """Samples of equal size -> a batch.

    Raises:
        ValueError: They differ in size.
    """
    pictures = [sample.pictures for sample in samples]
    masks = [picture.mask for picture in pictures if picture.mask is not None]
    return PixelBatch(
        keys=[sample.key for sample in samples],
        visits=[sample.visit for sample in samples],
        degraded=_stacked([picture.degraded for picture in pictures]),
        clean=_stacked([picture.clean for picture in pictures]),
        mask=torch.from_numpy(np.stack(masks)) if masks else None,
    )


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
        rank: int = 0,
        world_size: int = 1,
        seed: int,
        start_step: int = 0,
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
        return int(self._order(visit)[place]), visit

    def _order_of(self, visit: int) -> Tensor:
        return torch.randperm(self._num_samples, generator=keyed_generator(self._seed, "order", visit))


def training_loader(
    pairs: TrainingPairs, sampler: KeyedBatchSampler, *, num_workers: int = 0, pin_memory: bool = False
) -> DataLoader[PixelBatch]:
    """Torch's loader over the keyed stream; the batches do not depend on the number of loader processes.

    Args:
        pairs: What is read.
        sampler: In which order.
        num_workers: Processes that read and crop ahead; 0 does it in this one.
        pin_memory: Whether batches come in page-locked memory, for a GPU.
    """
    return DataLoader(
        pairs,  # type: ignore[arg-type]
        batch_sampler=sampler,
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        worker_init_fn=_begin_in_a_process if num_workers else None,
        prefetch_factor=4 if num_workers else None,
    )


def _augmentation(crop_px: int) -> Any:
    return A.Compose(
        [
            A.PadIfNeeded(min_height=crop_px, min_width=crop_px, border_mode=cv2.BORDER_REFLECT_101),
            A.RandomCrop(height=crop_px, width=crop_px),
            A.D4(p=1.0),  # each of the eight symmetries of the square is as likely: half of all crops are mirrored
        ],
        additional_targets={"clean": "image"},
    )


def _begin_in_a_process(number: int) -> None:
    cv2.setNumThreads(1)  # one core a process; the processes are the parallelism
