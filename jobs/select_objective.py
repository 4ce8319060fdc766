"""The choice of an objective, inside a training's workers: AOSA, or short trials of each candidate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ray.train.torch
import torch

from jobs import figures
from jobs.learner import Learner, LossKeeper, scheduled_rate
from jobs.validation import Validation
from jobs.worker import Worker
from rddm.config import build_network, build_restorer, build_view
from rddm.errors import TrainingError
from rddm.losses import LOSSES
from rddm.objectives import OBJECTIVES
from rddm.selection import Decision, Search, SelectionModel, decide
from rddm.training import training_loss
from rddm.trials import successive_halving

SELECTION = "selection"


def select_objective(worker: Worker, state: Mapping[str, Any]) -> Decision:
    """Choose, and tell the tracker.

    Args:
        worker: One of the group; all of them decide the same at the same step.
        state: A checkpoint of the selection, or nothing. A trial begins again from its first round.

    Raises:
        TrainingError: AOSA did not decide within `train.selection.max_steps`, or a trial has nothing to compare on.
    """
    method = worker.config.train.selection.method
    decision = _by_aosa(worker, state) if method == "aosa" else _by_trial(worker)
    chosen = {
        "objective": decision.objective,
        "objective.chosen_by": decision.method,
        "objective.reason": decision.reason,
    }
    worker.tracker.tags(chosen)
    worker.tracker.json(f"{method}.json", decision.to_dict())
    worker.tracker.figure(f"{method}.png", figures.plot_decision(decision, worker.config.train.selection.threshold))
    return decision


def _by_aosa(worker: Worker, state: Mapping[str, Any]) -> Decision:
    searches = [Search.from_dict(search) for search in state.get("searches", [])]
    for number in range(len(searches), worker.config.train.selection.num_seeds):
        searches.append(_search(worker, number, searches, state))
        state = {}
    return Decision.by_aosa(searches)


def _search(worker: Worker, number: int, before: list[Search], state: Mapping[str, Any]) -> Search:
    """Train a network and the weight between its two readings until the weight leaves the middle."""
    config, settings = worker.config, worker.config.train.selection
    seed = config.seed + number
    torch.manual_seed(seed)
    model = SelectionModel(
        build_network(config.model, "pred_res"), worker.schedule, LOSSES[config.train.loss], build_view(config.model)
    )
    learner = Learner(model, config.train, rate=lambda _: settings.learning_rate, wrap=ray.train.torch.prepare_model)
    curve: list[float] = list(state.get("curve", []))
    if state:
        learner.load_state_dict(state["learner"])
    told = "aosa" if number == 0 else f"aosa_seed_{seed}"
    for batch in worker.batches(SELECTION, learner.step, settings.max_steps, seed=seed):
        parts = LossKeeper()
        learner.update(lambda module, batch=batch, parts=parts: parts.keep(*module(*batch)))  # type: ignore[misc]
        curve.append(float(model.weight.value))
        _, loss_res, loss_noise = worker.mean(*parts.kept)
        figures_now = {"weight": curve[-1], "loss_res": loss_res, "loss_noise": loss_noise}
        worker.tracker.log({f"{told}/{name}": value for name, value in figures_now.items()}, step=learner.step)
        worker.post("select objective (AOSA)", learner.step, settings.max_steps, f"weight {curve[-1]:.4f}")
        if objective := decide(curve[-1], settings.threshold):
            return Search.ended(objective, seed=seed, curve=curve, loss_res=loss_res, loss_noise=loss_noise)
        if learner.step % config.train.checkpoint_every == 0:
            memory = {"phase": SELECTION, "curve": curve, "searches": [search.to_dict() for search in before]}
            worker.save_checkpoint({**memory, "learner": learner.state_dict(), "step": learner.step})
    raise TrainingError(
        f"AOSA did not decide in {settings.max_steps} steps: the weight is {curve[-1]:.4f}, it needs to leave "
        f"0.5 +- {settings.threshold}. Raise train.selection.max_steps or its learning_rate, or name model.objective."
    )


def _by_trial(worker: Worker) -> Decision:
    settings = worker.config.train.selection
    candidates = {name: _Candidate(worker, name) for name in settings.candidates}

    def train(name: str, num_steps: int) -> float:
        return candidates[name].train(num_steps)

    try:
        rungs = successive_halving(settings.candidates, budget_steps=settings.budget_steps, train=train)
    except ValueError as error:
        raise TrainingError(f"train.selection: {error}") from None
    return Decision.by_trial(rungs)


class _Candidate:
    """A short training with one objective, on the batches that all candidates see."""

    def __init__(self, worker: Worker, name: str) -> None:
        config = worker.config
        torch.manual_seed(config.seed)
        self._worker, self._name = worker, name
        self._learner = Learner(
            build_network(config.model, name),
            config.train,
            rate=lambda step: scheduled_rate(step, config.train),
            wrap=ray.train.torch.prepare_model,
        )
        self._validation = Validation(
            worker.dataset_uri, rank=worker.rank, world_size=worker.world_size, seed=config.seed
        )

    def train(self, num_steps: int) -> float:
        """Go on for some updates; mean PSNR of the validation pairs, in dB."""
        worker, learner = self._worker, self._learner
        config, goal = worker.config, self._learner.step + num_steps
        objective, loss, view = OBJECTIVES[self._name](), LOSSES[config.train.loss], build_view(config.model)
        for batch in worker.batches(SELECTION, learner.step, goal):
            learner.update(
                lambda module, batch=batch: (
                    training_loss(  # type: ignore[misc]
                        module, worker.schedule, objective, loss, *batch, view=view
                    ).total
                )
            )
            worker.post(f"trial of {self._name}", learner.step, goal)
        restorer = build_restorer(config.model, self._name, learner.averaged())
        means = self._validation.score(restorer, worker.device).means
        if not means:
            raise TrainingError(
                "There is no validation pair to compare the trials on; raise data.source.val_share, choose "
                "train.selection.method: aosa, or name model.objective."
            )
        worker.tracker.log({f"trial/{self._name}/psnr_db": means["psnr_db"]}, step=learner.step)
        return means["psnr_db"]
