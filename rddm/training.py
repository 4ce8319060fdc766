"""The loss of one batch: a pure function. No loop, no files, no randomness of its own (paper, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rddm.losses import Loss
from rddm.objectives import Objective
from rddm.process import q_sample
from rddm.schedules import Schedule
from rddm.shapes import Images, Times
from rddm.view import RESTORATION, View


@dataclass(frozen=True, slots=True, eq=False)
class LossParts:
    """The loss of a batch, a scalar, and what each output contributes to it."""

    total: Tensor
    per_output: dict[str, Tensor]


def training_loss(
    net: nn.Module,
    schedule: Schedule,
    objective: Objective,
    loss: Loss,
    x_start: Images,
    x_input: Images,
    t: Times,
    noise: Images,
    mask: Images | None = None,
    *,
    view: View = RESTORATION,
) -> LossParts:
    """Sum over the outputs of the mean distance to their targets.

    Args:
        net: `(stacked images, time) -> outputs`, channels after channels.
        schedule: Coefficients.
        objective: What the outputs should be.
        loss: Distance of an output from its target.
        x_start: Clean images in [-1, 1].
        x_input: Degraded images in [-1, 1].
        t: Times in 1..T.
        noise: Standard normal.
        mask: In [0, 1], where the network sees one.
        view: What the network sees.
    """
    x_t = q_sample(schedule, x_start, x_input - x_start, t, noise)
    outputs = view.ask(net, schedule, x_t, x_input, t, mask).chunk(objective.num_outputs, dim=1)
    targets = objective.targets(schedule, x_start, x_input, noise, t)
    per_output = {
        name: loss(output, target).mean()
        for name, output, target in zip(objective.output_names, outputs, targets, strict=True)
    }
    return LossParts(torch.stack(list(per_output.values())).sum(), per_output)
