from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from jobs import checkpoints
from jobs.config import TrainConfig
from jobs.learner import Learner, Loss, LossKeeper, scheduled_rate
from rddm.errors import TrainingError
from rddm.nets import NETWORKS
from rddm.training import LossParts

CONFIG = TrainConfig(steps=10, learning_rate=1e-2, warmup_steps=2, decay="cosine", ema_decay=0.9)


def learner() -> Learner:
    torch.manual_seed(0)
    net = NETWORKS["tiny"](6, 3)
    return Learner(net, CONFIG, rate=lambda step: scheduled_rate(step, CONFIG), wrap=lambda module: module)


def loss_at(step: int) -> Tensor:
    return torch.randn(2, 6, 8, 8, generator=torch.Generator().manual_seed(step))


def advance(trained: Learner, steps: int) -> None:
    for _ in range(steps):
        x = loss_at(trained.step)
        trained.update(lambda module, x=x: (module(x, torch.zeros(2)) - x[:, :3]).square().mean())  # type: ignore[misc]


def test_a_resumed_training_is_bit_for_bit_the_unbroken_one(tmp_path: Path) -> None:
    unbroken = learner()
    advance(unbroken, 8)
    broken = learner()
    advance(broken, 5)
    checkpoints.save(tmp_path, {"step": 5, "learner": broken.state_dict()})
    resumed = learner()
    resumed.load_state_dict(checkpoints.load(tmp_path)["learner"])
    advance(resumed, 3)
    assert resumed.step == unbroken.step == 8
    for ours, theirs in [
        (resumed.net.state_dict(), unbroken.net.state_dict()),
        (resumed.ema.module(resumed.net).state_dict(), unbroken.ema.module(unbroken.net).state_dict()),
    ]:
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_rate_warms_up_and_falls_to_nothing() -> None:
    rates = [scheduled_rate(step, CONFIG) for step in range(11)]
    assert 0 < rates[0] < rates[1] < rates[2] == CONFIG.learning_rate
    assert rates[10] == pytest.approx(0, abs=1e-9)
    assert rates[2:] == sorted(rates[2:], reverse=True)


def test_a_gradient_that_is_no_number_stops_before_it_does_harm() -> None:
    trained = learner()
    advance(trained, 1)
    before = {name: tensor.clone() for name, tensor in trained.net.state_dict().items()}

    def broken(module: nn.Module) -> Tensor:
        loss: Tensor = module(loss_at(0), torch.zeros(2)).mean() * float("nan")
        return loss

    with pytest.raises(TrainingError, match="gradient at step 2 is nan"):
        trained.update(broken)
    assert all(torch.equal(before[name], tensor) for name, tensor in trained.net.state_dict().items())


def test_a_torn_or_changed_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, {"step": 1})
    data = (tmp_path / "state.pt").read_bytes()
    (tmp_path / "state.pt").write_bytes(data[:-1])
    with pytest.raises(TrainingError, match="is damaged"):
        checkpoints.load(tmp_path)
    (tmp_path / "state.pt").unlink()
    with pytest.raises(TrainingError, match="is not whole"):
        checkpoints.load(tmp_path)
    (tmp_path / "checkpoint.json").write_text('{"version": 9}')
    (tmp_path / "state.pt").write_bytes(data)
    with pytest.raises(TrainingError, match="version 9; this release reads 1"):
        checkpoints.load(tmp_path)


def test_micro_batches_are_one_batch() -> None:
    together, apart = learner(), learner()
    x = loss_at(0)

    def loss_of(rows: Tensor) -> Loss:
        return lambda module: (module(rows, torch.zeros(len(rows))) - rows[:, :3]).square().mean()

    together.update(loss_of(x))
    apart.update(*(loss_of(part) for part in x.chunk(2)))
    assert apart.step == 1
    for name, tensor in together.net.state_dict().items():
        torch.testing.assert_close(apart.net.state_dict()[name], tensor, atol=1e-7, rtol=0)


def test_the_average_moves_when_it_is_told_to() -> None:
    config = dataclasses.replace(CONFIG, ema_every=2, optimizer="radam")
    net = NETWORKS["tiny"](6, 3)
    trained = Learner(net, config, rate=lambda _: 1e-2, wrap=lambda module: module)
    start = {name: tensor.clone() for name, tensor in trained.averaged().state_dict().items()}
    advance(trained, 1)
    assert all(torch.equal(start[name], tensor) for name, tensor in trained.averaged().state_dict().items())
    advance(trained, 1)
    assert not all(torch.equal(start[name], tensor) for name, tensor in trained.averaged().state_dict().items())


def test_the_parts_of_a_loss_are_means_over_micro_batches() -> None:
    keeper = LossKeeper()
    for total, part in [(3.0, 1.0), (5.0, 2.0)]:
        keeper.keep_named(LossParts(torch.tensor(total), {"res": torch.tensor(part)}))
    assert keeper.names == ["loss", "loss_res"]
    assert keeper.kept.tolist() == [4.0, 1.5]
