r"""Automatic objective selection (AOSA; paper, section 3.4): does a task want the residual or the noise?

One network with one output $O$ and a learned scalar $w$. The output is read twice, as a residual and as noise, each
reading is completed by the forward process, and $w$ mixes both. Where $w$ goes tells which reading the data prefer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rddm.losses import Loss
from rddm.process import noise_from_residual, q_sample, start_from_noise
from rddm.schedules import Schedule
from rddm.shapes import Images, Times
from rddm.training import network_input, relative_time

MIDDLE = 0.5
_TINY = 1e-6


class ObjectiveWeight(nn.Module):
    """The learned weight of the residual (paper: lambda_res); starts in the middle."""

    def __init__(self) -> None:
        """Start at 0.5."""
        super().__init__()
        self.value = nn.Parameter(torch.tensor(MIDDLE))

    def forward(self) -> Tensor:
        """The weight, a scalar."""
        return self.value


@dataclass(frozen=True, slots=True, eq=False)
class SelectionLoss:
    """AOSA's loss of a batch, each part a scalar."""

    total: Tensor
    res: Tensor
    noise: Tensor


def selection_loss(
    net: nn.Module,
    weight: ObjectiveWeight,
    schedule: Schedule,
    loss: Loss,
    x_start: Images,
    x_input: Images,
    t: Times,
    noise: Images,
) -> SelectionLoss:
    r"""$w L(res_{mix}, I_{res}) + (1 - w) L(\epsilon_{mix}, \epsilon)$, with gradients into $w$ through both places.

    $res_{mix} = w O + (1 - w)(I_{in} - clamp((I_t - \bar\alpha I_{in} - \bar\beta O)/(1 - \bar\alpha)))$ and
    $\epsilon_{mix} = w (I_t - I_{in} - (\bar\alpha - 1) O)/\bar\beta + (1 - w) O$.

    Args:
        net: A network with one output.
        weight: The learned weight, in the same optimiser as the network.
        schedule: Coefficients.
        loss: Distance of an output from its target.
        x_start: Clean images in [-1, 1].
        x_input: Degraded images in [-1, 1].
        t: Times in 1..T.
        noise: Standard normal.
    """
    x_res = x_input - x_start
    x_t = q_sample(schedule, x_start, x_res, t, noise)
    output = net(network_input(x_t, x_input), relative_time(schedule, t))
    w = weight()
    as_noise = _start_where_defined(schedule, output, x_t, x_input, t)
    res_mix = w * output + (1 - w) * (x_input - as_noise)
    noise_mix = w * noise_from_residual(schedule, output, x_t, x_input, t) + (1 - w) * output
    loss_res, loss_noise = loss(res_mix, x_res).mean(), loss(noise_mix, noise).mean()
    return SelectionLoss(w * loss_res + (1 - w) * loss_noise, loss_res, loss_noise)


def decide(weight: float, threshold: float) -> str | None:
    """The objective that a weight speaks for, or None while it is nearer than `threshold` to the middle."""
    if abs(weight - MIDDLE) < threshold:
        return None
    return "pred_res" if weight > MIDDLE else "pred_noise"


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What AOSA chose and why; carried by the tracker and by the bundle.

    Attributes:
        objective: The choice.
        step: Update at which the weight left the middle.
        weight: The weight then.
        margin: Its distance from the middle.
        loss_res: Loss of the residual reading then.
        loss_noise: Loss of the noise reading then.
        reason: The decision in a sentence.
        curve: The weight after each update.
    """

    objective: str
    step: int
    weight: float
    margin: float
    loss_res: float
    loss_noise: float
    reason: str
    curve: tuple[float, ...]

    @classmethod
    def of(cls, objective: str, *, curve: Sequence[float], loss_res: float, loss_noise: float) -> Decision:
        """Record a decision that was just taken."""
        weight, step = curve[-1], len(curve)
        side = "above" if weight > MIDDLE else "below"
        reason = (
            f"the weight of the residual is {weight:.4f}, {side} {MIDDLE}, after {step} steps; "
            f"loss of the residual {loss_res:.4f}, of the noise {loss_noise:.4f}"
        )
        return cls(
            objective=objective,
            step=step,
            weight=weight,
            margin=abs(weight - MIDDLE),
            loss_res=loss_res,
            loss_noise=loss_noise,
            reason=reason,
            curve=tuple(curve),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "curve": list(self.curve)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Decision:
        """What `to_dict` gave."""
        return cls(**{**values, "curve": tuple(values["curve"])})


def _start_where_defined(schedule: Schedule, noise: Images, x_t: Images, x_input: Images, t: Times) -> Images:
    r"""The clean image by the noise reading, clamped to [-1, 1].

    At $\bar\alpha_t = 1$ the noise says nothing of it; the input, the best guess there is, stands in.
    """
    alpha_bar = schedule.alphas_cumsum.to(x_t.device)[t]
    undefined = (1 - alpha_bar < _TINY)[:, None, None, None]
    safe = torch.where(undefined[:, 0, 0, 0], 0, t)
    x_start = start_from_noise(schedule, noise, x_t, x_input, safe)
    return torch.where(undefined, x_input, x_start).clamp(-1, 1)
