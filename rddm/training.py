"""The loss of one batch: a pure function. No loop, no files, no randomness of its own (paper, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rddm.losses import Loss
from rddm.objectives import Objective
from rddm.process import q_sample
from rddm.schedules import Schedule
from rddm.shapes import Images, Stacked, Times


@dataclass(frozen=True, slots=True, eq=False)
class LossParts:
    """The loss of a batch, a scalar, and what each output contributes to it."""

    total: Tensor
    per_output: dict[str, Tensor]


def network_input(x_t: Images, x_input: Images) -> Stacked:
    """What the network sees: the noisy image and the degraded one, channels after channels."""
    return torch.cat([x_t, x_input], dim=1)


def relative_time(schedule: Schedule, t: Times) -> Tensor:
    """The time as networks are told it: t / T in [0, 1], float32 of shape (batch,)."""
    return t.to(torch.float32) / schedule.num_train_timesteps


def training_loss(
    net: nn.Module,
    schedule: Schedule,
    objective: Objective,
    loss: Loss,
    x_start: Images,
    x_input: Images,
    t: Times,
    noise: Images,
) -> LossParts:
    """Sum over the outputs of the mean distance to their targets.

    Args:
        net: `(x_t | x_input, t / T) -> outputs`, channels after channels.
        schedule: Coefficients.
        objective: What the outputs should be.
        loss: Distance of an output from its target.
        x_start: Clean images in [-1, 1].
        x_input: Degraded images in [-1, 1].
        t: Times in 1..T.
        noise: Standard normal.
    """
    x_t = q_sample(schedule, x_start, x_input - x_start, t, noise)
    outputs = net(network_input(x_t, x_input), relative_time(schedule, t)).chunk(objective.num_outputs, dim=1)
    targets = objective.targets(x_start, x_input, noise)
    per_output = {
        name: loss(output, target).mean()
        for name, output, target in zip(objective.output_names, outputs, targets, strict=True)
    }
    return LossParts(torch.stack(list(per_output.values())).sum(), per_output)
