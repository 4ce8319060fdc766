"""What every Ray Train worker runs: AOSA where the config says `auto`, then training with what it chose."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray.train
import ray.train.torch
import torch
from torch import Tensor, nn

from jobs import checkpoints, config_file, figures
from jobs.config import RunConfig
from jobs.learner import Learner, scheduled_rate
from jobs.tracking import MlflowTracker, NullTracker, Tracker
from jobs.validation import Validation
from pipelines.shards import KeyedBatchSampler, PairShards, TrainingPairs
from rddm.bundle import save_bundle
from rddm.config import build_network, build_restorer, build_schedule
from rddm.errors import TrainingError
from rddm.keyed import keyed_generator
from rddm.losses import LOSSES
from rddm.objectives import OBJECTIVES
from rddm.schedules import Schedule
from rddm.selection import Decision, ObjectiveWeight, decide, selection_loss
from rddm.training import training_loss

SELECTION, TRAINING = "selection", "training"


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """This worker's part of one global batch, on its device; images in [-1, 1]."""

    x_start: Tensor
    x_input: Tensor
    t: Tensor
    noise: Tensor


@dataclass(frozen=True, kw_only=True)
class Worker:
    """One of the group: who it is, what it was asked to do, and whom it tells."""

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
        """Find one's place in the group; only the first worker gets a tracker that keeps anything."""
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

    def batches(self, phase: str, start: int, stop: int) -> Iterator[Batch]:
        """This worker's part of every global batch from `start` to `stop`.

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
        for offset, positions in enumerate(sampler):
            yield self._batch(phase, start + offset, [pairs[position] for position in positions], positions)

    def _batch(self, phase: str, step: int, items: list[Any], positions: list[tuple[int, int]]) -> Batch:
        x_start = torch.stack([item["x_start"] for item in items])
        times, noises = [], []
        for image, item, (_, draw) in zip(x_start, items, positions, strict=True):
            generator = keyed_generator(self.config.seed, phase, step, draw, item["key"])
            times.append(torch.randint(1, self.schedule.num_train_timesteps + 1, (), generator=generator))
            noises.append(torch.randn(image.shape, generator=generator))
        return Batch(
            x_start=x_start.to(self.device),
            x_input=torch.stack([item["x_input"] for item in items]).to(self.device),
            t=torch.stack(times).to(self.device),
            noise=torch.stack(noises).to(self.device),
        )


def train_worker(payload: Mapping[str, Any]) -> None:
    """Run the whole job in this worker, from its last checkpoint where there is one."""
    worker = Worker.join(payload)
    worker.post("starting workers", 1, 1)
    state = _last_checkpoint()
    config = worker.config
    decision = Decision.from_dict(state["decision"]) if state.get("decision") else None
    if config.model.objective == "auto" and decision is None:
        decision = select_objective(worker, state)
        state = {}
    train(worker, decision, state)


def select_objective(worker: Worker, state: Mapping[str, Any]) -> Decision:
    """AOSA: train a network and the weight between its two readings until the weight leaves the middle.

    Raises:
        TrainingError: It did not decide within `train.selection.max_steps`.
    """
    config = worker.config
    settings = config.train.selection
    torch.manual_seed(config.seed)
    model = _Selecting(build_network(config.model, "pred_res"), worker.schedule, config.train.loss)
    learner = Learner(model, config.train, rate=lambda _: settings.learning_rate, wrap=ray.train.torch.prepare_model)
    curve: list[float] = []
    if state.get("phase") == SELECTION:
        learner.load_state_dict(state["learner"])
        curve = list(state["curve"])
    for batch in worker.batches(SELECTION, learner.step, settings.max_steps):
        losses: list[Tensor] = []

        def loss_of(module: nn.Module, batch: Batch = batch, losses: list[Tensor] = losses) -> Tensor:
            losses.extend(module(batch.x_start, batch.x_input, batch.t, batch.noise))
            return losses[0]

        learner.update(loss_of)
        curve.append(float(model.weight.value))
        loss_res, loss_noise = _mean_over_workers(worker, losses[1].detach(), losses[2].detach())
        worker.tracker.log(
            {"aosa/weight": curve[-1], "aosa/loss_res": loss_res, "aosa/loss_noise": loss_noise}, step=learner.step
        )
        worker.post("select objective (AOSA)", learner.step, settings.max_steps, f"weight {curve[-1]:.4f}")
        objective = decide(curve[-1], settings.threshold)
        if objective is not None:
            decision = Decision.of(objective, curve=curve, loss_res=loss_res, loss_noise=loss_noise)
            _tell(worker, decision)
            return decision
        if learner.step % config.train.checkpoint_every == 0:
            _report(worker, {"phase": SELECTION, "learner": learner.state_dict(), "curve": curve, "step": learner.step})
    raise TrainingError(
        f"AOSA did not decide in {settings.max_steps} steps: the weight is {curve[-1]:.4f}, it needs to leave "
        f"0.5 +- {settings.threshold}. Raise train.selection.max_steps or its learning_rate, or name model.objective."
    )


def train(worker: Worker, decision: Decision | None, state: Mapping[str, Any]) -> None:
    """Train the network with the chosen objective, validate its average, and leave a bundle in the last checkpoint."""
    config = worker.config
    name = decision.objective if decision else config.model.objective
    objective = OBJECTIVES[name]()
    objective.check(worker.schedule)
    torch.manual_seed(config.seed)
    net = build_network(config.model, name)
    learner = Learner(
        net, config.train, rate=lambda step: scheduled_rate(step, config.train), wrap=ray.train.torch.prepare_model
    )
    if state.get("phase") == TRAINING:
        learner.load_state_dict(state["learner"])
    validation = Validation(worker.dataset_uri, rank=worker.rank, world_size=worker.world_size, seed=config.seed)
    memory = {"phase": TRAINING, "decision": decision.to_dict() if decision else None}
    loss = LOSSES[config.train.loss]
    meter = _Meter(worker)
    for batch in worker.batches(TRAINING, learner.step, config.train.steps):
        parts: dict[str, Tensor] = {}

        def loss_of(module: nn.Module, batch: Batch = batch, parts: dict[str, Tensor] = parts) -> Tensor:
            measured = training_loss(
                module, worker.schedule, objective, loss, batch.x_start, batch.x_input, batch.t, batch.noise
            )
            parts.update(measured.per_output, total=measured.total)
            return measured.total

        norm = learner.update(loss_of)
        step = learner.step
        meter.update(step, parts, norm, learner.learning_rate)
        last = step == config.train.steps
        if last or step % config.train.validate_every == 0:
            restorer = build_restorer(config.model, name, learner.ema.module(net))
            scores = validation.score(restorer, worker.device)
            worker.tracker.log({f"val/{key}": value for key, value in scores.means.items()}, step=step)
            if worker.rank == 0 and scores.grid is not None:
                worker.tracker.image("validation", scores.grid, step=step)
            meter.note = f"val {scores.means['psnr_db']:.2f} dB"
        if last or step % config.train.checkpoint_every == 0:
            bundle = restorer.net if last else None
            _report(worker, {**memory, "learner": learner.state_dict(), "step": step}, bundle=bundle, decision=decision)


class _Selecting(nn.Module):
    """The network and AOSA's weight as one module, so that data-parallel training averages both."""

    def __init__(self, net: nn.Module, schedule: Schedule, loss: str) -> None:
        super().__init__()
        self.net = net
        self.weight = ObjectiveWeight()
        self._schedule, self._loss = schedule, LOSSES[loss]

    def forward(self, x_start: Tensor, x_input: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Total, residual and noise loss, each a scalar."""
        parts = selection_loss(self.net, self.weight, self._schedule, self._loss, x_start, x_input, t, noise)
        return parts.total, parts.res, parts.noise


class _Meter:
    """Turns updates into a point of each curve every `train.log_every` steps, and a word on the board."""

    def __init__(self, worker: Worker) -> None:
        self.note = ""
        self._worker = worker
        self._since = (time.monotonic(), 0)

    def update(self, step: int, parts: Mapping[str, Tensor], norm: float, learning_rate: float) -> None:
        train = self._worker.config.train
        if step % train.log_every and step != train.steps:
            return
        names = sorted(parts)
        values = _mean_over_workers(self._worker, *(parts[name].detach() for name in names))
        now = time.monotonic()
        started, before = self._since
        rate = (step - before) * train.global_batch / (now - started) if before else float("nan")
        self._since = (now, step)
        losses = {
            f"train/loss{'' if name == 'total' else '_' + name}": v for name, v in zip(names, values, strict=True)
        }
        speed = {"train/images_per_s": rate} if before else {}
        self._worker.tracker.log(
            {**losses, **speed, "train/gradient_norm": norm, "train/learning_rate": learning_rate}, step=step
        )
        word = f"loss {losses['train/loss']:.4f} {self.note}" + (f" {rate:.0f} images/s" if before else "")
        self._worker.post("train", step, train.steps, word)


def _mean_over_workers(worker: Worker, *values: Tensor) -> list[float]:
    stacked = torch.stack([value.float() for value in values])
    if worker.world_size > 1:
        torch.distributed.all_reduce(stacked)
        stacked /= worker.world_size
    means: list[float] = stacked.tolist()
    return means


def _tell(worker: Worker, decision: Decision) -> None:
    worker.tracker.tags(
        {"objective": decision.objective, "objective.chosen_by": "AOSA", "objective.reason": decision.reason}
    )
    worker.tracker.json("aosa.json", decision.to_dict())
    worker.tracker.figure("aosa.png", figures.plot_decision(decision, worker.config.train.selection.threshold))


def _last_checkpoint() -> dict[str, Any]:
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return {}
    with checkpoint.as_directory() as folder:
        return checkpoints.load(Path(folder))


def _report(
    worker: Worker, state: Mapping[str, Any], *, bundle: nn.Module | None = None, decision: Decision | None = None
) -> None:
    """Hand a checkpoint to Ray Train; all workers call this, the first one writes."""
    metrics = {"step": state["step"]}
    if worker.rank != 0:
        ray.train.report(metrics)
        return
    with TemporaryDirectory(prefix="rddm-checkpoint-") as folder:
        checkpoints.save(Path(folder), state)
        if bundle is not None:
            _save_bundle(worker, Path(folder) / "bundle", bundle, decision)
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))


def _save_bundle(worker: Worker, folder: Path, net: nn.Module, decision: Decision | None) -> None:
    import dataclasses

    config = worker.config
    name = decision.objective if decision else config.model.objective
    card = {
        "name": config.name,
        "steps": config.train.steps,
        "seed": config.seed,
        "objective_decision": decision.to_dict() if decision else None,
        "config_sha256": config_file.digest(config),
    }
    save_bundle(folder, config=dataclasses.replace(config.model, objective=name), net=net, card=card)
