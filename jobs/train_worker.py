"""What every Ray Train worker runs: the choice of an objective where the config says `auto`, then training with it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import ray.train.torch
import torch
from torch import nn

from jobs import config_file
from jobs.learner import Learner, Loss, LossKeeper, scheduled_rate
from jobs.select_objective import SELECTION, select_objective
from jobs.validation import Scores, Validation
from jobs.worker import Batch, FinalModel, Worker
from rddm.config import AUTO, build_network, build_restorer, build_view
from rddm.losses import LOSSES
from rddm.objectives import OBJECTIVES
from rddm.selection import Decision
from rddm.training import LossParts, training_loss

TRAINING = "training"


def train_worker(payload: Mapping[str, Any]) -> None:
    """Run the whole job in this worker, from its last checkpoint where there is one."""
    worker = Worker.join(payload)
    worker.post("starting workers", 1, 1)
    state = worker.last_checkpoint()
    decision = Decision.from_dict(state["decision"]) if state.get("decision") else None
    if worker.config.model.objective == AUTO and decision is None:
        decision = select_objective(worker, state if state.get("phase") == SELECTION else {})
    train(worker, decision, state if state.get("phase") == TRAINING else {})


def train(worker: Worker, decision: Decision | None, state: Mapping[str, Any]) -> None:
    """Train with the chosen objective, validate the averaged weights, and leave a bundle in the last checkpoint."""
    config = worker.config
    name = decision.objective if decision else config.model.objective
    objective, loss, view = OBJECTIVES[name](), LOSSES[config.train.loss], build_view(config.model)
    torch.manual_seed(config.seed)
    learner = Learner(
        build_network(config.model, name),
        config.train,
        rate=lambda step: scheduled_rate(step, config.train),
        wrap=ray.train.torch.prepare_model,
    )
    if state:
        learner.load_state_dict(state["learner"])
    validation = Validation(worker.dataset_uri, rank=worker.rank, world_size=worker.world_size, seed=config.seed)
    memory = {"phase": TRAINING, "decision": decision.to_dict() if decision else None}
    meter = _Meter(worker)

    def loss_of(module: nn.Module, batch: Batch) -> LossParts:
        return training_loss(module, worker.schedule, objective, loss, *batch, view=view)

    for batch in worker.batches(TRAINING, learner.step, config.train.steps):
        parts = LossKeeper()
        norm = learner.update(*(_keeping(parts, loss_of, part) for part in batch.split(config.train.accumulate)))
        step, last = learner.step, learner.step == config.train.steps
        meter.update(step, parts, norm, learner.learning_rate)
        if last or step % config.train.validate_every == 0:
            restorer = build_restorer(config.model, name, learner.averaged())
            meter.note = _log_scores(worker, validation.score(restorer, worker.device), step)
        if last or step % config.train.checkpoint_every == 0:
            final = _final_model(worker, name, learner.averaged(), decision) if last else None
            worker.save_checkpoint({**memory, "learner": learner.state_dict(), "step": step}, final)


def _keeping(parts: LossKeeper, loss_of: Callable[[nn.Module, Batch], LossParts], batch: Batch) -> Loss:
    return lambda module: parts.keep_named(loss_of(module, batch))


class _Meter:
    """Turns updates into a point of each curve every `train.log_every` steps, and a word on the board."""

    def __init__(self, worker: Worker) -> None:
        self.note = ""
        self._worker = worker
        self._since: tuple[float, int] | None = None

    def update(self, step: int, parts: LossKeeper, norm: float, learning_rate: float) -> None:
        train = self._worker.config.train
        if step % train.log_every and step != train.steps:
            return
        losses = dict(zip(parts.names, self._worker.mean(*parts.kept), strict=True))
        figures_now = {**losses, "gradient_norm": norm, "learning_rate": learning_rate, **self._speed(step)}
        self._worker.tracker.log({f"train/{name}": value for name, value in figures_now.items()}, step=step)
        speed = f" {figures_now['images_per_s']:.0f} images/s" if "images_per_s" in figures_now else ""
        self._worker.post("train", step, train.steps, f"loss {losses['loss']:.4f} {self.note}{speed}")

    def _speed(self, step: int) -> dict[str, float]:
        """Images a second since the last point; validation and checkpoints in between count."""
        now, since = time.monotonic(), self._since
        self._since = (now, step)
        if since is None:
            return {}
        return {"images_per_s": (step - since[1]) * self._worker.config.train.global_batch / (now - since[0])}


def _log_scores(worker: Worker, scores: Scores, step: int) -> str:
    """Track a validation; returns the word for the board."""
    worker.tracker.log({f"val/{key}": value for key, value in scores.means.items()}, step=step)
    if scores.grid is not None:
        worker.tracker.image("validation", scores.grid, step=step)
    return f"val {scores.means['psnr_db']:.2f} dB" if scores.means else ""


def _final_model(worker: Worker, objective: str, net: nn.Module, decision: Decision | None) -> FinalModel:
    config = worker.config
    card = {
        "name": config.name,
        "steps": config.train.steps,
        "seed": config.seed,
        "objective_decision": decision.to_dict() if decision else None,
        "config_sha256": config_file.digest(config),
    }
    return FinalModel(config=dataclasses.replace(config.model, objective=objective), net=net, card=card)
