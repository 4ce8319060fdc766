"""Validation inside a training: the averaged network restores fixed pairs, shared out over the workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from jobs import figures
from pipelines.shards import PairShards
from rddm.images import from_pixels, to_pixels
from rddm.keyed import keyed_seed
from rddm.metrics import METRICS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rddm.restorer import Restorer

_GRID_ROWS = 4
_GRID_WIDTH_PX = 320


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """One validation.

    Attributes:
        means: Mean of every metric over the pairs, and of the unrestored input as `input_...`.
        grid: Rows of input | restored | clean, uint8 (height, width, 3); only on the first worker.
    """

    means: dict[str, float]
    grid: NDArray[np.uint8] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredPair:
    """One pair's figures and its three pictures, uint8 (height, width, 3)."""

    key: str
    figures: dict[str, float]
    pictures: tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]


class Validation:
    """The fixed pairs of the validation split; pair i is scored by worker i mod the number of workers."""

    def __init__(self, dataset_uri: str, *, rank: int, world_size: int, seed: int) -> None:
        """Open the split."""
        self._pairs = PairShards(dataset_uri, "val")
        self._rank, self._world_size, self._seed = rank, world_size, seed

    def score(self, restorer: Restorer, device: torch.device) -> Scores:
        """Restore and score every pair; all workers must call this together."""
        mine = [
            score_pair(restorer, *self._pairs.pair(i), key=self._pairs.keys[i], seed=self._seed, device=device)
            for i in range(self._rank, len(self._pairs), self._world_size)
        ]
        scored = sorted(self._gather(mine), key=lambda pair: pair.key)
        names = scored[0].figures if scored else {}
        means = {name: float(np.mean([pair.figures[name] for pair in scored])) for name in names}
        return Scores(means=means, grid=_grid(scored[:_GRID_ROWS]) if self._rank == 0 and scored else None)

    def _gather(self, mine: list[ScoredPair]) -> list[ScoredPair]:
        if self._world_size == 1:
            return mine
        everyone: list[Any] = [None] * self._world_size
        torch.distributed.all_gather_object(everyone, mine)
        return [pair for part in everyone for pair in part]


def score_pair(
    restorer: Restorer,
    degraded: NDArray[Any],
    clean: NDArray[Any],
    *,
    key: str,
    seed: int,
    device: torch.device | None = None,
) -> ScoredPair:
    """Restore one pair at its native resolution and measure it against the clean image (RGB, no resize).

    Args:
        restorer: What is measured.
        degraded: uint8 or uint16 (height, width, 3).
        clean: The same shape and type.
        key: The pair's name; with `seed` it fixes the noise.
        seed: The run's seed.
        device: Where the network lives.
    """
    x_input = from_pixels(torch.from_numpy(degraded))[None]
    target = from_pixels(torch.from_numpy(clean))[None]
    restored = restorer.restore(x_input.to(device), seeds=[keyed_seed(seed, key)]).cpu()
    # What a person gets has 8 or 16 bits: measure that, not the floating-point image.
    restored = from_pixels(to_pixels(restored[0], bit_depth=16 if degraded.dtype == np.uint16 else 8))[None]
    measured = {name: float(metric(restored, target)) for name, metric in METRICS.items()}
    before = {f"input_{name}": float(metric(x_input, target)) for name, metric in METRICS.items()}
    pictures = tuple(to_pixels(image[0], bit_depth=8).numpy() for image in (x_input, restored, target))
    return ScoredPair(key=key, figures={**measured, **before}, pictures=pictures)  # type: ignore[arg-type]


def _grid(scored: Sequence[ScoredPair]) -> NDArray[np.uint8]:
    rows = [
        (
            f"{pair.key}: {pair.figures['input_psnr_db']:.2f} -> {pair.figures['psnr_db']:.2f} dB",
            [figures.thumbnail(picture, _GRID_WIDTH_PX) for picture in pair.pictures],
        )
        for pair in scored
    ]
    return figures.comparison_grid(rows, ["input", "restored", "clean"])
