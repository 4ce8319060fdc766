"""What every Ray Train worker runs: AOSA where the config says `auto`, then training with what it chose."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import ray.train.torch
import torch
from torch import Tensor, nn

from jobs import config_file, figures
from jobs.learner import Learner, scheduled_rate
from jobs.validation import Scores, Validation
from jobs.worker import Batch, FinalModel, Worker
from rddm.config import AUTO, build_network, build_restorer
from rddm.errors import TrainingError
from rddm.losses import LOSSES, Loss
from rddm.objectives import OBJECTIVES
from rddm.schedules import Schedule
from rddm.selection import Decision, ObjectiveWeight, decide, selection_loss
from rddm.training import LossParts, training_loss

SELECTION, TRAINING = "selection", "training"


def train_worker(payload: Mapping[str, Any]) -> None:
    """Run the whole job in this worker, from its last checkpoint where there is one."""
    worker = Worker.join(payload)
    worker.post("starting workers", 1, 1)
    state = worker.last_checkpoint()
    decision = Decision.from_dict(state["decision"]) if state.get("decision") else None
    if worker.config.model.objective == AUTO and decision is None:
        decision = select_objective(worker, state)
    train(worker, decision, state if state.get("phase") == TRAINING else {})


def select_objective(worker: Worker, state: Mapping[str, Any]) -> Decision:
    """AOSA: train a network and the weight between its two readings until the weight leaves the middle.

    Raises:
        TrainingError: It did not decide within `train.selection.max_steps`.
    """
    config, settings = worker.config, worker.config.train.selection
    torch.manual_seed(config.seed)
    model = _Selecting(build_network(config.model, "pred_res"), worker.schedule, LOSSES[config.train.loss])
    learner = Learner(model, config.train, rate=lambda _: settings.learning_rate, wrap=ray.train.torch.prepare_model)
    curve: list[float] = []
    if state.get("phase") == SELECTION:
        learner.load_state_dict(state["learner"])
        curve = list(state["curve"])
    for batch in worker.batches(SELECTION, learner.step, settings.max_steps):
        parts = _Parts()
        learner.update(lambda module, batch=batch, parts=parts: parts.keep(*module(*batch)))  # type: ignore[misc]
        curve.append(float(model.weight.value))
        _, loss_res, loss_noise = worker.mean(*parts.kept)
        figures_now = {"aosa/weight": curve[-1], "aosa/loss_res": loss_res, "aosa/loss_noise": loss_noise}
        worker.tracker.log(figures_now, step=learner.step)
        worker.post("select objective (AOSA)", learner.step, settings.max_steps, f"weight {curve[-1]:.4f}")
        if objective := decide(curve[-1], settings.threshold):
            decision = Decision.of(objective, curve=curve, loss_res=loss_res, loss_noise=loss_noise)
            _tell(worker, decision)
            return decision
        if learner.step % config.train.checkpoint_every == 0:
            memory = {"phase": SELECTION, "curve": curve, "decision": None}
            worker.save_checkpoint({**memory, "learner": learner.state_dict(), "step": learner.step})
    raise TrainingError(
        f"AOSA did not decide in {settings.max_steps} steps: the weight is {curve[-1]:.4f}, it needs to leave "
        f"0.5 +- {settings.threshold}. Raise train.selection.max_steps or its learning_rate, or name model.objective."
    )


def train(worker: Worker, decision: Decision | None, state: Mapping[str, Any]) -> None:
    """Train with the chosen objective, validate the averaged weights, and leave a bundle in the last checkpoint."""
    config = worker.config
    name = decision.objective if decision else config.model.objective
    objective, loss = OBJECTIVES[name](), LOSSES[config.train.loss]
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
        return training_loss(module, worker.schedule, objective, loss, *batch)

    for batch in worker.batches(TRAINING, learner.step, config.train.steps):
        parts = _Parts()
        norm = learner.update(lambda module, batch=batch, parts=parts: parts.keep_named(loss_of(module, batch)))  # type: ignore[misc]
        step, last = learner.step, learner.step == config.train.steps
        meter.update(step, parts, norm, learner.learning_rate)
        if last or step % config.train.validate_every == 0:
            restorer = build_restorer(config.model, name, learner.averaged())
            meter.note = _log_scores(worker, validation.score(restorer, worker.device), step)
        if last or step % config.train.checkpoint_every == 0:
            final = _final_model(worker, name, learner.averaged(), decision) if last else None
            worker.save_checkpoint({**memory, "learner": learner.state_dict(), "step": step}, final)


class _Selecting(nn.Module):
    """The network and AOSA's weight as one module, so that data-parallel training averages both."""

    def __init__(self, net: nn.Module, schedule: Schedule, loss: Loss) -> None:
        super().__init__()
        self.net = net
        self.weight = ObjectiveWeight()
        self._schedule, self._loss = schedule, loss

    def forward(self, x_start: Tensor, x_input: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Total, residual and noise loss, each a scalar."""
        parts = selection_loss(self.net, self.weight, self._schedule, self._loss, x_start, x_input, t, noise)
        return parts.total, parts.res, parts.noise


class _Parts:
    """Keeps the parts of a loss while its total goes on to the learner."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.kept: list[Tensor] = []

    def keep(self, total: Tensor, *others: Tensor) -> Tensor:
        self.kept = [total.detach(), *(other.detach() for other in others)]
        return total

    def keep_named(self, parts: LossParts) -> Tensor:
        self.names = ["loss", *(f"loss_{name}" for name in parts.per_output)]
        return self.keep(parts.total, *parts.per_output.values())


class _Meter:
    """Turns updates into a point of each curve every `train.log_every` steps, and a word on the board."""

    def __init__(self, worker: Worker) -> None:
        self.note = ""
        self._worker = worker
        self._since: tuple[float, int] | None = None

    def update(self, step: int, parts: _Parts, norm: float, learning_rate: float) -> None:
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


def _tell(worker: Worker, decision: Decision) -> None:
    chosen = {"objective": decision.objective, "objective.chosen_by": "AOSA", "objective.reason": decision.reason}
    worker.tracker.tags(chosen)
    worker.tracker.json("aosa.json", decision.to_dict())
    worker.tracker.figure("aosa.png", figures.plot_decision(decision, worker.config.train.selection.threshold))


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
