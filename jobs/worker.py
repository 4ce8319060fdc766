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
from pipelines.shards import PairShards
from pipelines.training_pairs import KeyedBatchSampler, PixelBatch, TrainingPairs, training_loader
from rddm.bundle import save_bundle
from rddm.config import build_schedule
from rddm.keyed import keyed_generator
from rddm.schedules import Schedule
from rddm.tasks import TASKS, Sample, Task


class Batch(NamedTuple):
    """This worker's part of one global batch, on its device; images in [-1, 1], the mask in [0, 1] if there is one."""

    x_start: Tensor
    x_input: Tensor
    t: Tensor
    noise: Tensor
    mask: Tensor | None

    def split(self, count: int) -> list[Batch]:
        """Equal micro-batches, in order."""
        if count == 1:
            return [self]
        parts = [[None] * count if tensor is None else tensor.chunk(count) for tensor in self]
        return [Batch(*part) for part in zip(*parts, strict=True)]


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
        task: What stands for the degraded image.
    """

    config: RunConfig
    dataset_uri: str
    rank: int
    world_size: int
    device: torch.device
    tracker: Tracker
    board: Any
    schedule: Schedule
    task: Task

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
            task=TASKS[config.model.task](),
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

    def batches(self, phase: str, start: int, stop: int, *, seed: int | None = None) -> Iterator[Batch]:
        """This worker's part of every global batch from step `start` to `stop`.

        Pairs, crops, times and noise are functions of (seed, phase, step, sample): the union over the workers is the
        same whatever their number. The seed is the run's unless another one is given.
        """
        train, seed = self.config.train, self.config.seed if seed is None else seed
        rows = PairShards(self.dataset_uri, "train")
        pairs = TrainingPairs(rows, crop_px=train.crop_px, seed=seed, unpaired=self.task.unpaired)
        sampler = KeyedBatchSampler(
            len(pairs),
            global_batch=train.global_batch,
            rank=self.rank,
            world_size=self.world_size,
            seed=seed,
            start_step=start,
            num_steps=stop - start,
        )
        loader = training_loader(
            pairs, sampler, num_workers=train.loader_processes, pin_memory=self.device.type == "cuda"
        )
        for step, pixels in enumerate(loader, start):
            yield self._batch(pixels, seed, phase, step)

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

    def _batch(self, pixels: PixelBatch, seed: int, phase: str, step: int) -> Batch:
        """Draw each sample's time and noise, and make of it what the task wants."""
        samples, times, noises = [], [], []
        x_inputs, x_starts, masks = pixels.images()
        for place, (key, visit) in enumerate(zip(pixels.keys, pixels.visits, strict=True)):
            generator = keyed_generator(seed, phase, step, visit, key)
            times.append(torch.randint(1, self.schedule.num_train_timesteps + 1, (), generator=generator))
            noises.append(torch.randn(x_starts[place].shape, generator=generator))
            mask = None if masks is None else masks[place]
            samples.append(self.task.sample(Sample(x_starts[place], x_inputs[place], mask), generator))
        drawn = [sample.mask for sample in samples if sample.mask is not None]
        return Batch(
            x_start=torch.stack([sample.x_start for sample in samples]).to(self.device),
            x_input=torch.stack([sample.x_input for sample in samples]).to(self.device),
            t=torch.stack(times).to(self.device),
            noise=torch.stack(noises).to(self.device),
            mask=torch.stack(drawn).to(self.device) if drawn else None,
        )
