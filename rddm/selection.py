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
from rddm.trials import Rung
from rddm.view import RESTORATION, View

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
    mask: Images | None = None,
    *,
    view: View = RESTORATION,
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
        mask: In [0, 1], where the network sees one.
        view: What the network sees.
    """
    x_res = x_input - x_start
    x_t = q_sample(schedule, x_start, x_res, t, noise)
    output = view.ask(net, schedule, x_t, x_input, t, mask)
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


class SelectionModel(nn.Module):
    """The network and AOSA's weight as one module, so that data-parallel training averages both alike.

    Args:
        net: A network with one output.
        schedule: Coefficients.
        loss: Distance of an output from its target.
        view: What the network sees.
    """

    def __init__(self, net: nn.Module, schedule: Schedule, loss: Loss, view: View = RESTORATION) -> None:
        """Begin in the middle."""
        super().__init__()
        self.net = net
        self.weight = ObjectiveWeight()
        self._schedule, self._loss, self._view = schedule, loss, view

    def forward(
        self, x_start: Images, x_input: Images, t: Times, noise: Images, mask: Images | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Total, residual and noise loss of a batch, each a scalar; the arguments are `selection_loss`'s."""
        parts = selection_loss(
            self.net, self.weight, self._schedule, self._loss, x_start, x_input, t, noise, mask, view=self._view
        )
        return parts.total, parts.res, parts.noise


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """One run of AOSA, from the middle to its decision.

    Attributes:
        seed: Of the network's start and of the data's order.
        objective: The choice.
        step: Update at which the weight left the middle.
        weight: The weight then.
        margin: Its distance from the middle.
        loss_res: Loss of the residual reading then.
        loss_noise: Loss of the noise reading then.
        curve: The weight after each update.
    """

    seed: int
    objective: str
    step: int
    weight: float
    margin: float
    loss_res: float
    loss_noise: float
    curve: tuple[float, ...]

    @classmethod
    def ended(cls, objective: str, *, seed: int, curve: Sequence[float], loss_res: float, loss_noise: float) -> Search:
        """Record a search whose weight has just left the middle."""
        return cls(
            seed=seed,
            objective=objective,
            step=len(curve),
            weight=curve[-1],
            margin=abs(curve[-1] - MIDDLE),
            loss_res=loss_res,
            loss_noise=loss_noise,
            curve=tuple(curve),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "curve": list(self.curve)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Search:
        """What `to_dict` gave."""
        return cls(**{**values, "curve": tuple(values["curve"])})

    def __str__(self) -> str:
        """The search in half a sentence."""
        side = "above" if self.weight > MIDDLE else "below"
        return (
            f"the weight of the residual is {self.weight:.4f}, {side} {MIDDLE}, after {self.step} steps; "
            f"loss of the residual {self.loss_res:.4f}, of the noise {self.loss_noise:.4f}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """Which objective was chosen, how and why; carried by the tracker and by the bundle.

    Attributes:
        objective: The choice.
        method: `AOSA` or `trial`.
        num_steps: Updates that it cost.
        reason: The decision in a sentence.
        searches: AOSA's runs, one for each seed.
        rungs: The trial's rounds.
    """

    objective: str
    method: str
    num_steps: int
    reason: str
    searches: tuple[Search, ...] = ()
    rungs: tuple[Rung, ...] = ()

    @classmethod
    def by_aosa(cls, searches: Sequence[Search]) -> Decision:
        """What most searches chose; between equally many, the sum of their weights decides."""
        for_residual = sum(search.objective == "pred_res" for search in searches)
        lean = sum(search.weight - MIDDLE for search in searches)
        residual = 2 * for_residual > len(searches) or (2 * for_residual == len(searches) and lean > 0)
        objective = "pred_res" if residual else "pred_noise"
        votes = for_residual if residual else len(searches) - for_residual
        reason = str(searches[0]) if len(searches) == 1 else f"{votes} of {len(searches)} seeds chose it"
        steps = sum(search.step for search in searches)
        return cls(objective=objective, method="AOSA", num_steps=steps, reason=reason, searches=tuple(searches))

    @classmethod
    def by_trial(cls, rungs: Sequence[Rung]) -> Decision:
        """The candidate that the last round kept."""
        (objective,) = rungs[-1].kept
        others = {name: score for rung in rungs for name, score in rung.scores.items() if name != objective}
        told = ", ".join(f"{name} {score:.2f}" for name, score in others.items())
        reason = f"validation PSNR {rungs[-1].scores[objective]:.2f} dB, against {told or 'no other'}"
        steps = sum(rung.num_steps * len(rung.scores) for rung in rungs)
        return cls(objective=objective, method="trial", num_steps=steps, reason=reason, rungs=tuple(rungs))

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            **{name: getattr(self, name) for name in ("objective", "method", "num_steps", "reason")},
            "searches": [search.to_dict() for search in self.searches],
            "rungs": [rung.to_dict() for rung in self.rungs],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Decision:
        """What `to_dict` gave."""
        searches = tuple(Search.from_dict(search) for search in values["searches"])
        rungs = tuple(Rung.from_dict(rung) for rung in values["rungs"])
        return cls(**{**values, "searches": searches, "rungs": rungs})


def _start_where_defined(schedule: Schedule, noise: Images, x_t: Images, x_input: Images, t: Times) -> Images:
    r"""The clean image by the noise reading, clamped to [-1, 1].

    At $\bar\alpha_t = 1$ the noise says nothing of it; the input, the best guess there is, stands in.
    """
    alpha_bar = schedule.alphas_cumsum.to(x_t.device)[t]
    undefined = (1 - alpha_bar < _TINY)[:, None, None, None]
    safe = torch.where(undefined[:, 0, 0, 0], 0, t)
    x_start = start_from_noise(schedule, noise, x_t, x_input, safe)
    return torch.where(undefined, x_input, x_start).clamp(-1, 1)
