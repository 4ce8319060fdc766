"""Validation inside a training: the averaged network restores fixed pairs, shared out over the workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from jobs.scoring import Scored, before_and_after, mean_figures, restore_and_score
from pipelines.shards import PairShards

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rddm.restorer import Restorer

_GRID_ROWS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """One validation.

    Attributes:
        means: Mean of every metric over the pairs, and of the unrestored input as `input_...`.
        grid: Rows of input | restored | clean, uint8 (height, width, 3); only on the first worker.
    """

    means: dict[str, float]
    grid: NDArray[np.uint8] | None


class Validation:
    """The fixed pairs of the validation split; pair i is scored by worker i mod the number of workers."""

    def __init__(self, dataset_uri: str, *, rank: int, world_size: int, seed: int) -> None:
        """Open the split."""
        self._pairs = PairShards(dataset_uri, "val")
        self._rank, self._world_size, self._seed = rank, world_size, seed

    def score(self, restorer: Restorer, device: torch.device) -> Scores:
        """Restore and score every pair; all workers must call this together."""
        mine = [
            restore_and_score(restorer, self._pairs.keys[i], self._pairs.pictures(i), seed=self._seed, device=device)
            for i in range(self._rank, len(self._pairs), self._world_size)
        ]
        scored = sorted(self._gather(mine), key=lambda pair: pair.key)
        shown = scored[:_GRID_ROWS] if self._rank == 0 else []
        return Scores(means=mean_figures(scored), grid=before_and_after(shown) if shown else None)

    def _gather(self, mine: list[Scored]) -> list[Scored]:
        if self._world_size == 1:
            return mine
        everyone: list[Any] = [None] * self._world_size
        torch.distributed.all_gather_object(everyone, mine)
        return [pair for part in everyone for pair in part]
