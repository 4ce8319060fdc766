"""One worker of a training group: its place, its part of the data, and whom it tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import ray.train
import ray.train.torch
import torch
from torch import Tensor

from jobs import checkpoints, config_file
from jobs.config import RunConfig
from jobs.tracking import MlflowTracker, NullTracker, Tracker
from pipelines.shards import KeyedBatchSampler, PairShards, Position, TrainingPairs
from rddm.bundle import save_bundle
from rddm.config import build_schedule
from rddm.keyed import keyed_generator
from rddm.schedules import Schedule


class Batch(NamedTuple):
    """This worker's part of one global batch, on its device; images in [-1, 1]."""

    x_start: Tensor
    x_input: Tensor
    t: Tensor
    noise: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalModel:
    """What the last checkpoint carries beside the training's state."""

    config: Any
    net: torch.nn.Module
    card: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Worker:
    """One of the group.

    Attributes:
        config: The run.
        dataset_uri: The data set.
        rank: This worker, from 0.
        world_size: All workers.
        device: Where its network lives.
        tracker: Keeps what the first worker says; the others' keeps nothing.
        board: The driver's progress board, on the first worker only.
        schedule: Coefficients.
    """

    config: RunConfig
    dataset_uri: str
    rank: int
    world_size: int
    device: torch.device
    tracker: Tracker
    board: Any
    schedule: Schedule

    @classmethod
    def join(cls, payload: Mapping[str, Any]) -> Worker:
        """Find one's place in the group that Ray Train started.

        Args:
            payload: `config`, `dataset_uri`, `tracking_uri`, `run_id` and `board`, as the driver gave them.
        """
        config = config_file.from_mapping(payload["config"])
        context = ray.train.get_context()
        torch.set_num_threads(config.train.threads_per_worker)
        first = context.get_world_rank() == 0
        return cls(
            config=config,
            dataset_uri=payload["dataset_uri"],
            rank=context.get_world_rank(),
            world_size=context.get_world_size(),
            device=ray.train.torch.get_device(),
            tracker=MlflowTracker(payload["tracking_uri"], payload["run_id"]) if first else NullTracker(),
            board=payload["board"] if first else None,
            schedule=build_schedule(config.model),
        )

    def post(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Tell the driver how far the group is."""
        if self.board is not None:
            self.board.post.remote(stage, done, total, note)

    def mean(self, *values: Tensor) -> list[float]:
        """Averages of scalars over all workers; all of them must call this together."""
        stacked = torch.stack([value.detach().float() for value in values])
        if self.world_size > 1:
            torch.distributed.all_reduce(stacked)
            stacked /= self.world_size
        means: list[float] = stacked.tolist()
        return means

    def batches(self, phase: str, start: int, stop: int) -> Iterator[Batch]:
        """This worker's part of every global batch from step `start` to `stop`.

        Pairs, crops, times and noise are functions of (seed, phase, step, sample): the union over the workers is the
        same whatever their number.
        """
        train, seed = self.config.train, self.config.seed
        pairs = TrainingPairs(PairShards(self.dataset_uri, "train"), crop_px=train.crop_px, seed=seed)
        sampler = KeyedBatchSampler(
            len(pairs),
            global_batch=train.global_batch,
            rank=self.rank,
            world_size=self.world_size,
            seed=seed,
            start_step=start,
            num_steps=stop - start,
        )
        for step, positions in enumerate(sampler, start):
            yield self._batch(pairs, positions, phase, step)

    def last_checkpoint(self) -> dict[str, Any]:
        """The state of the last checkpoint, or nothing.

        Raises:
            TrainingError: It is damaged.
        """
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return {}
        with checkpoint.as_directory() as folder:
            return checkpoints.load(Path(folder))

    def save_checkpoint(self, state: Mapping[str, Any], final: FinalModel | None = None) -> None:
        """Hand a checkpoint to Ray Train; all workers call this together, the first one writes.

        Args:
            state: What the training must remember; holds `step`.
            final: The finished model, with the last checkpoint.
        """
        metrics = {"step": state["step"]}
        if self.rank != 0:
            ray.train.report(metrics)
            return
        with TemporaryDirectory(prefix="rddm-checkpoint-") as folder:
            checkpoints.save(Path(folder), state)
            if final is not None:
                save_bundle(Path(folder) / "bundle", config=final.config, net=final.net, card=final.card)
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))

    def _batch(self, pairs: TrainingPairs, positions: list[Position], phase: str, step: int) -> Batch:
        items = [pairs[position] for position in positions]
        times, noises = [], []
        for item, (_, visit) in zip(items, positions, strict=True):
            generator = keyed_generator(self.config.seed, phase, step, visit, item["key"])
            times.append(torch.randint(1, self.schedule.num_train_timesteps + 1, (), generator=generator))
            noises.append(torch.randn(item["x_start"].shape, generator=generator))
        return Batch(
            x_start=torch.stack([item["x_start"] for item in items]).to(self.device),
            x_input=torch.stack([item["x_input"] for item in items]).to(self.device),
            t=torch.stack(times).to(self.device),
            noise=torch.stack(noises).to(self.device),
        )
