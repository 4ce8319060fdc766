"""This project's own side of the ingest benchmark: its shards, read by its loader and by Ray Data."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from ingest_peers import Batches, Contender, Pair, Role, batch_of
from torch import Tensor

from jobs.cluster import prepare_environment
from pipelines.config import Encoding, PreprocessConfig, SourceConfig
from pipelines.dataset import assembly
from pipelines.dataset.plans import plan_shards
from pipelines.ops.lossless import decode
from pipelines.preprocess import make_shard
from pipelines.shards import PairShards
from pipelines.sources import find_pairs
from pipelines.training_pairs import KeyedBatchSampler, TrainingPairs, training_loader


class Shards(Contender):
    """Shards as `rddm preprocess` writes them, read by the loader that trains; whole pictures, nothing cropped."""

    name: ClassVar[str] = "rddm shards"
    role: ClassVar[Role] = "ours"

    def __init__(self, encoding: Encoding) -> None:
        """Raw pixels are one league, all encodings the other."""
        super().__init__("raw" if encoding == "raw" else "encoded")
        self.encoding = encoding

    def __str__(self) -> str:
        """Its name, with the encoding."""
        return f"{self.name}, {self.encoding} ({self.league})"

    def write(self, pairs: Sequence[Pair], folder: Path) -> None:
        """What the graph's tasks do, one after the other, from PNG files."""
        with tempfile.TemporaryDirectory() as source:
            for side, place in (("low", 1), ("high", 2)):
                (Path(source) / "train" / side).mkdir(parents=True)
                for pair in pairs:
                    pixels = cv2.cvtColor(pair[place], cv2.COLOR_RGB2BGR)
                    cv2.imwrite(f"{source}/train/{side}/{pair[0]}.png", pixels, (cv2.IMWRITE_PNG_COMPRESSION, 1))
            found = SourceConfig(
                root=source, degraded="{split}/low/{id}.{ext}", clean="{split}/high/{id}.{ext}", val_share=0.0
            )
            config = PreprocessConfig(source=found, encoding=self.encoding)
            plans = plan_shards(find_pairs(config, scratch_uri=str(folder)).pairs, config)
            records = [make_shard(plan, config, str(folder)) for plan in plans]
        manifest, _ = assembly.assemble(str(folder), records, [], config, title="bench")
        assembly.publish_manifest(str(folder), manifest)

    def loader(self, folder: Path, *, batch: int, workers: int, seed: int) -> Batches:
        """Passes over the keyed stream."""
        return _Passes(folder, batch, workers, seed)


class _Passes:
    """One loader a pass, each going on where the last one ended, as a training does."""

    def __init__(self, folder: Path, batch: int, workers: int, seed: int) -> None:
        self._pairs = TrainingPairs(PairShards(str(folder), "train"), crop_px=0, seed=seed)
        self._steps, rest = divmod(len(self._pairs), batch)
        if rest:
            raise ValueError(f"{len(self._pairs)} pairs are no multiple of the batch of {batch}: passes would overlap")
        sampler = KeyedBatchSampler(len(self._pairs), global_batch=batch, seed=seed, num_steps=1_000_000_000)
        self._stream = iter(training_loader(self._pairs, sampler, num_workers=workers))

    def __iter__(self) -> Iterator[Sequence[Tensor]]:
        for _ in range(self._steps):
            pixels = next(self._stream)
            yield pixels.degraded, pixels.clean


class RayShards(Shards):
    """The same shards through `iter_torch_batches`, shuffled in a buffer of an eighth of the pairs."""

    name: ClassVar[str] = "Ray Data on rddm shards"
    role: ClassVar[Role] = "reference"

    def loader(self, folder: Path, *, batch: int, workers: int, seed: int) -> Batches:
        """Ray is started once, before the clock."""
        prepare_environment()
        import ray
        import ray.data

        if not ray.is_initialized():
            ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
            ray.data.DataContext.get_current().enable_progress_bars = False
        columns = ["degraded", "clean", "height_px", "width_px"]
        rows = ray.data.read_parquet(str(folder / "data" / "train"), columns=columns, shuffle="files")
        return _RayPasses(rows, self.encoding, batch, seed)


class _RayPasses:
    def __init__(self, rows: Any, encoding: str, batch: int, seed: int) -> None:
        self._rows, self._encoding, self._batch, self._seed = rows, encoding, batch, seed
        self._buffer = max(2 * batch, rows.count() // 8)

    def __iter__(self) -> Iterator[Sequence[Tensor]]:
        self._seed += 1
        yield from self._rows.iter_torch_batches(
            batch_size=self._batch,
            collate_fn=self._collate,
            local_shuffle_buffer_size=self._buffer,
            local_shuffle_seed=self._seed,
            prefetch_batches=4,
        )

    def _collate(self, rows: dict[str, Any]) -> Sequence[Tensor]:
        shapes = [
            (int(height), int(width), 3) for height, width in zip(rows["height_px"], rows["width_px"], strict=True)
        ]
        sides = (
            [
                np.array(decode(data, self._encoding, shape=shape, bit_depth=8))
                for data, shape in zip(rows[side], shapes, strict=True)
            ]
            for side in ("degraded", "clean")
        )
        return batch_of([tuple(map(torch.from_numpy, pair)) for pair in zip(*sides, strict=True)])


def ours(*, with_ray: bool) -> list[Contender]:
    """All of them; each pass of Ray Data's costs it seconds."""
    encodings: tuple[Encoding, ...] = ("raw", "zstd", "png", "webp")
    return [*map(Shards, encodings), *map(RayShards, encodings[:2] if with_ray else ())]
