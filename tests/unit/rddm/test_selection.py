"""AOSA and the trial: on constructed tasks, over several seeds, and on two processes as on one."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from rddm.keyed import keyed_generator
from rddm.losses import LOSSES
from rddm.nets import NETWORKS
from rddm.schedules import CURVES, make_schedule
from rddm.selection import Decision, ObjectiveWeight, Search, SelectionModel, decide, selection_loss
from rddm.trials import Rung, successive_halving

GLOBAL_BATCH, MAX_STEPS = 8, 400


@pytest.mark.parametrize(("weight", "objective"), [(0.515, "pred_res"), (0.485, "pred_noise"), (0.505, None)])
def test_the_decision_rule(weight: float, objective: str | None) -> None:
    assert decide(weight, 0.01) == objective


def batch(step: int, hopeless: str) -> tuple[torch.Tensor, ...]:
    """A global batch of a task on which one of the two readings cannot be learnt; a function of the step alone."""
    generator = keyed_generator(hopeless, step)
    x_start = torch.rand(GLOBAL_BATCH, 3, 8, 8, generator=generator) * 2 - 1
    other = torch.rand(x_start.shape, generator=generator) * 2 - 1
    # Where the input is the image itself, the residual is 0 and the noise the only unknown: the residual is easy. Where
    # the input leaves the range of images twenty times over, so does the residual, and the noise is the easier one.
    x_input = x_start if hopeless == "noise" else 20 * other
    t = torch.randint(1, 100, (GLOBAL_BATCH,), generator=generator)
    return x_start, x_input, t, torch.randn(x_start.shape, generator=generator)


def search(rank: int, world_size: int, *, hopeless: str, seed: int = 0) -> Search:
    """AOSA on this process's share of every global batch."""
    torch.manual_seed(seed)
    schedule = make_schedule(CURVES["decreasing"](100), CURVES["increasing"](100))
    model = SelectionModel(NETWORKS["tiny"](6, 3), schedule, LOSSES["l1"])
    wrapped = DistributedDataParallel(model) if world_size > 1 else model
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve: list[float] = []
    for step in range(MAX_STEPS):
        share = [part[rank::world_size] for part in batch(step, hopeless)]
        total, loss_res, loss_noise = wrapped(*share)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        curve.append(model.weight.value.item())
        if objective := decide(curve[-1], 0.01):
            losses = torch.stack([loss_res.detach(), loss_noise.detach()])
            if world_size > 1:
                torch.distributed.all_reduce(losses)
            res, noise = (losses / world_size).tolist()
            return Search.ended(objective, seed=seed, curve=curve, loss_res=res, loss_noise=noise)
    raise AssertionError(f"undecided at {curve[-1]}")


@pytest.mark.parametrize(("hopeless", "objective"), [("noise", "pred_res"), ("residual", "pred_noise")])
def test_aosa_takes_the_reading_that_can_be_learnt(hopeless: str, objective: str) -> None:
    ended = search(0, 1, hopeless=hopeless)
    assert ended.objective == objective
    assert ended.step == len(ended.curve)
    assert ended.margin == pytest.approx(abs(ended.weight - 0.5))
    assert ended.margin >= 0.01
    assert f"{ended.weight:.4f}" in str(ended)


def _process(rank: int, port: int, hopeless: str, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    ended = search(rank, 2, hopeless=hopeless)
    (Path(folder) / f"{rank}.json").write_text(json.dumps(ended.to_dict()))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("hopeless", ["noise", "residual"])
def test_two_processes_decide_the_same_at_the_same_step_as_one(hopeless: str, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(_process, (port, hopeless, str(tmp_path)), nprocs=2)  # type: ignore[no-untyped-call]
    both = [Search.from_dict(json.loads((tmp_path / f"{rank}.json").read_text())) for rank in range(2)]
    alone = search(0, 1, hopeless=hopeless)
    for ended in both:
        assert (ended.objective, ended.step) == (alone.objective, alone.step)
        assert ended.curve == both[0].curve
        assert ended.curve == pytest.approx(alone.curve, abs=1e-6)
        assert [ended.loss_res, ended.loss_noise] == pytest.approx([alone.loss_res, alone.loss_noise], rel=1e-4)


def ended(objective: str, weight: float, seed: int = 0) -> Search:
    return Search.ended(objective, seed=seed, curve=[0.5, weight], loss_res=1.0, loss_noise=2.0)


@pytest.mark.parametrize(
    ("weights", "objective"),
    [([0.511], "pred_res"), ([0.489, 0.511, 0.488], "pred_noise"), ([0.489, 0.520], "pred_res"),
     ([0.470, 0.520], "pred_noise")],
)  # fmt: skip
def test_most_seeds_decide_and_their_weights_break_ties(weights: list[float], objective: str) -> None:
    searches = [ended("pred_res" if w > 0.5 else "pred_noise", w, seed) for seed, w in enumerate(weights)]
    decision = Decision.by_aosa(searches)
    assert (decision.objective, decision.method, decision.num_steps) == (objective, "AOSA", 2 * len(weights))
    assert decision.searches == tuple(searches)
    assert Decision.from_dict(json.loads(json.dumps(decision.to_dict()))) == decision


def test_a_trial_s_decision_names_what_it_was_compared_with() -> None:
    rungs = [
        Rung(num_steps=10, scores={"a": 20.0, "b": 21.0, "c": 12.0}, kept=("b", "a")),
        Rung(num_steps=15, scores={"a": 25.0, "b": 24.0}, kept=("a",)),
    ]
    decision = Decision.by_trial(rungs)
    assert (decision.objective, decision.method, decision.num_steps) == ("a", "trial", 60)
    assert all(word in decision.reason for word in ("25.00", "b 24.00", "c 12.00"))
    assert Decision.from_dict(json.loads(json.dumps(decision.to_dict()))) == decision


@given(scores=st.lists(st.integers(0, 9), min_size=1, max_size=9), budget=st.integers(40, 1000))
def test_halving_keeps_the_best_within_the_budget(scores: list[int], budget: int) -> None:
    spent: dict[str, int] = {}
    names = {str(place): score for place, score in enumerate(scores)}

    def train(name: str, num_steps: int) -> float:
        spent[name] = spent.get(name, 0) + num_steps
        return float(names[name])

    rungs = successive_halving(list(names), budget_steps=budget, train=train)
    (best,) = rungs[-1].kept
    assert names[best] == max(scores)
    assert sum(spent.values()) <= budget
    assert spent[best] == max(spent.values())


def test_a_candidate_that_went_astray_comes_last() -> None:
    scores = {"good": 1.0, "bad": float("nan")}
    assert successive_halving(list(scores), budget_steps=2, train=lambda name, _: scores[name])[-1].kept == ("good",)


@pytest.mark.parametrize(("candidates", "budget"), [([], 10), (["a", "b", "c"], 5)])
def test_a_budget_for_nobody_is_refused(candidates: list[str], budget: int) -> None:
    with pytest.raises(ValueError, match="budget_steps"):
        successive_halving(candidates, budget_steps=budget, train=lambda name, steps: 0.0)


def test_at_the_end_of_the_schedule_the_selection_loss_is_finite() -> None:
    schedule = make_schedule(CURVES["decreasing"](10), CURVES["increasing"](10))
    weight = ObjectiveWeight()
    x = torch.rand(2, 3, 8, 8)
    parts = selection_loss(
        NETWORKS["tiny"](6, 3),
        weight,
        schedule,
        LOSSES["l1"],
        x,
        x.flip(0),
        torch.tensor([10, 10]),
        torch.randn(x.shape),
    )
    parts.total.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(parts.total)
    assert weight.value.grad is not None
    assert torch.isfinite(weight.value.grad)
