r"""Ways through the plane of residual and noise that sampling may take, whatever training did (paper, section 3.3).

A path is a schedule of its own: its entry k holds how much of both is present with k steps to go. Networks that are
told each level (`rddm.times.levels`) can follow any of them without being trained anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from rddm.registry import Registry
from rddm.schedules import Schedule
from rddm.shapes import Table
from rddm.times import Step

Path = Callable[[Schedule, Sequence[Step]], Schedule]
PATHS: Registry[Path] = Registry("path")
"""Name -> (schedule, steps that would be taken along it) -> the path as a schedule of its own."""


@PATHS.register("together")
def together(schedule: Schedule, steps: Sequence[Step]) -> Schedule:
    """The schedule's own levels at the visited times: both diffusions are undone side by side."""
    alphas, betas2 = _levels(schedule, steps)
    return Schedule(alphas_cumsum=alphas, betas2_cumsum=betas2)


@PATHS.register("residual_first")
def residual_first(schedule: Schedule, steps: Sequence[Step]) -> Schedule:
    """All of the residual goes, at the full noise, and then the noise: twice as many steps."""
    alphas, betas2 = _levels(schedule, steps)
    return Schedule(
        alphas_cumsum=torch.cat([torch.zeros_like(alphas), alphas[1:]]),
        betas2_cumsum=torch.cat([betas2, betas2[-1].expand(len(steps))]),
    )


@PATHS.register("noise_first")
def noise_first(schedule: Schedule, steps: Sequence[Step]) -> Schedule:
    """All of the noise goes, at the full residual, and then the residual: twice as many steps."""
    alphas, betas2 = _levels(schedule, steps)
    return Schedule(
        alphas_cumsum=torch.cat([alphas, alphas[-1].expand(len(steps))]),
        betas2_cumsum=torch.cat([torch.zeros_like(betas2), betas2[1:]]),
    )


def along(path: Schedule) -> list[Step]:
    """The steps of a path: every one of its entries, from the last to 0."""
    return [(k, k - 1) for k in range(path.num_train_timesteps, 0, -1)]


def _levels(schedule: Schedule, steps: Sequence[Step]) -> tuple[Table, Table]:
    """Both tables at 0 and at the visited times, rising."""
    times = [0, *(t for t, _ in reversed(steps))]
    return schedule.alphas_cumsum[times], schedule.betas2_cumsum[times]
