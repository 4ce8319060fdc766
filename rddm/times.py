r"""Which times a sampler visits, and how a network is told of one.

A step goes from t to s < t, both the paper's times: t = 0 is the clean image. diffusers' time steps are t - 1.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from rddm.registry import Registry
from rddm.schedules import Schedule
from rddm.shapes import Times

Step = tuple[int, int]
"""From t to s."""

TimeGrid = Callable[[int, int], list[Step]]
TIME_GRIDS: Registry[TimeGrid] = Registry("time grid")
"""Name -> (first t, number of steps) -> steps from the first t down, the last one to 0."""

Told = Float[Tensor, " batch *outputs"]
TimeSignal = Callable[[Schedule, Times, int], Told]
TIME_SIGNALS: Registry[TimeSignal] = Registry("time signal")
"""Name -> (schedule, t, T of the training) -> what the network is told, float32.

One number for each image, or one for each output of it. T of the training stands beside the schedule because sampling
may follow another path than training did.
"""


def make_steps(
    grid: TimeGrid, first: int, num_steps: int, *, offset: int = 0, last: int = 0, whole: int | None = None
) -> list[Step]:
    """The steps of a grid, moved and cut as diffusers' schedulers may ask for.

    Args:
        grid: An entry of `TIME_GRIDS`.
        first: Largest time that may be visited.
        num_steps: How many steps, 1 to `first`.
        offset: Added to every time of the `leading` grid (diffusers: `steps_offset`).
        last: Where the last step ends: 0, or 1 to stop at the schedule's first level (diffusers: `set_alpha_to_one`
            is false).
        whole: T, which diffusers' grids divide whatever `first` is; `first` by default.

    Raises:
        ValueError: The number of steps is impossible, the offset leaves the schedule or has no such grid, or a grid of
            diffusers' begins above `first`.
    """
    span = first if whole is None or grid not in (leading, trailing, linspace) else whole
    if not 1 <= num_steps <= span:
        raise ValueError(f"num_inference_steps is {num_steps}; expected 1 to {span}")
    steps = [(t + offset, max(s + offset, last)) for t, s in grid(span, num_steps)]
    if offset and (grid is not leading or steps[0][0] > span):
        raise ValueError(f"steps_offset is {offset}; expected 0, or a `leading` grid that stays within 1..{span}")
    if steps[0][0] > first:
        raise ValueError(
            f"the first step begins at t = {steps[0][0]}, and above t = {first} what the network predicts says nothing "
            "of the clean image; take the `leading` grid, fewer steps, or a model that predicts v or the clean image"
        )
    return steps


@TIME_GRIDS.register("official")
def official(first: int, num_steps: int) -> list[Step]:
    """Evenly spaced in float32 and truncated, as the official code does.

    With t up to 1000, 5 steps visit 1000, 800, 600, 400, 200; 3 visit 1000, 666, 333.
    """
    grid = torch.linspace(-1, first - 1, num_steps + 1, dtype=torch.float32)
    return list(pairwise(int(index) + 1 for index in grid.flip(0).tolist()))


@TIME_GRIDS.register("even")
def even(first: int, num_steps: int) -> list[Step]:
    """Evenly spaced and rounded to the nearest time, in integers: 3 steps from 1000 visit 1000, 667, 333."""
    return list(pairwise((2 * first * k + num_steps) // (2 * num_steps) for k in range(num_steps, -1, -1)))


@TIME_GRIDS.register("leading")
def leading(first: int, num_steps: int) -> list[Step]:
    """Diffusers' `leading` spacing: 1, 1 + r, 1 + 2 r, ... with r = T // steps; t = T itself is not visited."""
    ratio = first // num_steps
    return _stepping([k * ratio + 1 for k in range(num_steps - 1, -1, -1)], ratio)


@TIME_GRIDS.register("trailing")
def trailing(first: int, num_steps: int) -> list[Step]:
    """Diffusers' `trailing` spacing: T, T - T / steps, ..., rounded.

    Where rounding makes numpy's range one entry too long (T = 1000: 61 steps, 103, ...), diffusers also takes a step at
    the index -1, which is no time of a schedule; here it is left out.
    """
    second = first - first / num_steps
    # As numpy's range counts it: in multiples of the difference between its first two, which decides how halves round.
    times = [round(first + k * (second - first)) for k in range(num_steps)]
    return _stepping(times, first // num_steps)


@TIME_GRIDS.register("linspace")
def linspace(first: int, num_steps: int) -> list[Step]:
    """Diffusers' `linspace` spacing: from T to 1, rounded, both ends visited; a single step starts at 1."""
    gap = (first - 1) / max(num_steps - 1, 1)
    return _stepping([round(k * gap) + 1 for k in range(num_steps - 1, -1, -1)], first // num_steps)


def _stepping(times: list[int], ratio: int) -> list[Step]:
    """Diffusers steps down by T // steps from every time, whatever time comes next; `make_steps` cuts at 0."""
    return [(t, t - ratio) for t in times]


@TIME_SIGNALS.register("relative")
def relative(schedule: Schedule, t: Times, scale: int) -> Float[Tensor, " batch"]:
    """T / T, in [0, 1]."""
    return t.to(torch.float32) / schedule.num_train_timesteps


@TIME_SIGNALS.register("levels")
def levels(schedule: Schedule, t: Times, scale: int) -> Float[Tensor, "batch 2"]:
    r"""$\bar\alpha_t$ for the residual's network, $\bar\beta_t$ for the noise's (paper, section 3.3).

    Each network then knows how much of its own part is present and nothing of the other's, so that at test time both
    may be removed along any path.
    """
    table = torch.stack([schedule.alphas_cumsum, schedule.sqrt_betas2_cumsum], dim=1).to(t.device)
    return table[t].to(torch.float32)


@TIME_SIGNALS.register("official_index")
def official_index(schedule: Schedule, t: Times, scale: int) -> Float[Tensor, " batch"]:
    """The index t - 1: what the official restoration code passes, and diffusers' time step."""
    return t.to(torch.float32) - 1


@TIME_SIGNALS.register("official_alphas")
def official_alphas(schedule: Schedule, t: Times, scale: int) -> Float[Tensor, " batch"]:
    r"""$\bar\alpha_t T$: what the official generation code passes, one for both outputs."""
    return (schedule.alphas_cumsum.to(t.device)[t] * scale).to(torch.float32)


@TIME_SIGNALS.register("official_levels")
def official_levels(schedule: Schedule, t: Times, scale: int) -> Float[Tensor, "batch 2"]:
    r"""$\bar\alpha_t T$ and $\bar\beta_t T$: `levels` on the scale of the official path-independent code."""
    return levels(schedule, t, scale) * scale


DECOUPLED = ("levels", "official_levels")
"""Signals that tell each output its own level: with them, sampling may leave the path of the training."""
