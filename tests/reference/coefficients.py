"""The official code's coefficient tables, by experiment, from the curves of `rddm.schedules` and `rddm.ddim`.

Its quirks, each found from the numbers:

* A table has no entry for t = 0. The entry before the first one is taken to be 1, not 0, and what follows from it is
  repaired by hand: the posterior of the first time is (0, 0, 1) with variance 0 (`_posterior`).
* `one_minus_alphas_cumsum` is 1e-6 at the last time, whatever is left there: in the DDIM-converted tables 0.0064 is.
* The restoration code (exp2) computes in float64; all others in float32, on numpy's float32 linspace.
* The DDIM-converted increments of the first time are 0 (`__init__`) or those of the second time (after `init()`),
  and so do not sum to the cumulative tables.
* `decreased` is `increased` backwards; a power leaves 0 at one end. `average` and `normal` ignore it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from rddm.ddim import betas, from_ddim
from rddm.official import SINGULAR
from rddm.process import posterior
from rddm.registry import Registry
from rddm.schedules import CURVES, Schedule, make_schedule

_TINY_VARIANCE = 1e-20
_NAMES = {"increased": "increasing", "decreased": "decreasing", "average": "uniform", "normal": "normal"}
NAMES = tuple(_NAMES)
"""The official names of curves."""

TABLES = (
    "alphas", "alphas_cumsum", "one_minus_alphas_cumsum", "betas2", "betas", "betas2_cumsum", "betas_cumsum",
    "posterior_mean_coef1", "posterior_mean_coef2", "posterior_mean_coef3",
    "posterior_variance", "posterior_log_variance_clipped",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Coefficients:
    """The official tables for the times 1..T, in the official precision.

    Attributes:
        alphas: Increments of the residual's share.
        betas2: Increments of the noise's variance.
        schedule: Ours, with the official cumulative numbers.
        dtype: What the official code computes them in.
    """

    alphas: Tensor
    betas2: Tensor
    schedule: Schedule
    dtype: torch.dtype

    @cached_property
    def tables(self) -> dict[str, Tensor]:
        """Every table by its official name."""
        alphas_cumsum = self.schedule.alphas_cumsum[1:].to(self.dtype)
        betas2_cumsum = self.schedule.betas2_cumsum[1:].to(self.dtype)
        return {
            "alphas": self.alphas,
            "alphas_cumsum": alphas_cumsum,
            "one_minus_alphas_cumsum": torch.cat([1 - alphas_cumsum[:-1], torch.tensor([SINGULAR])]),
            "betas2": self.betas2,
            "betas": self.betas2.sqrt(),
            "betas2_cumsum": betas2_cumsum,
            "betas_cumsum": betas2_cumsum.sqrt(),
            **_posterior(self.schedule),
            "posterior_log_variance_clipped": self._log_variance(betas2_cumsum),
        }

    def _log_variance(self, betas2_cumsum: Tensor) -> Tensor:
        """In the official order of operations and precision: a logarithm shows every bit of a tiny variance."""
        variance = self.betas2[1:] * betas2_cumsum[:-1] / betas2_cumsum[1:]
        first = torch.zeros(1, dtype=self.dtype)
        return torch.cat([first, variance]).clamp(min=_TINY_VARIANCE).log()


def _posterior(schedule: Schedule) -> dict[str, Tensor]:
    """Steps from each time to the one before, by `rddm.process.posterior`; the first row is the official repair."""
    steps = [posterior(schedule, t, t - 1) for t in range(2, schedule.num_train_timesteps + 1)]
    rows = [(0.0, 0.0, 1.0, 0.0), *((p.of_x_t, p.of_res, p.of_x_start, p.variance) for p in steps)]
    names = ("posterior_mean_coef1", "posterior_mean_coef2", "posterior_mean_coef3", "posterior_variance")
    return dict(zip(names, torch.tensor(rows, dtype=torch.float64).unbind(1), strict=True))


Make = Callable[[int, float], Coefficients]
EXPERIMENTS: Registry[Make] = Registry("experiment")
"""Name -> (T, sum_scale) -> coefficients."""


@EXPERIMENTS.register("exp2")
def restoration(num_train_timesteps: int, sum_scale: float) -> Coefficients:
    """The linear family of restoration, in float64."""
    alphas, betas2 = CURVES["decreasing"](num_train_timesteps), CURVES["increasing"](num_train_timesteps)
    schedule = make_schedule(alphas, betas2, terminal_noise_variance=sum_scale)
    return Coefficients(alphas=alphas, betas2=betas2 * sum_scale, schedule=schedule, dtype=torch.float64)


@EXPERIMENTS.register("exp4")
def generation(num_train_timesteps: int, sum_scale: float) -> Coefficients:
    """The zero-based family of generation with power 1, in float32."""
    return of_curves(num_train_timesteps, sum_scale, ("decreased", 1.0), ("increased", 1.0))


def of_curves(
    num_train_timesteps: int, sum_scale: float, of_alphas: tuple[str, float], of_betas2: tuple[str, float]
) -> Coefficients:
    """Any two curves of the zero-based family, (official name, power) each, summed up in float32."""
    alphas = zero_based(of_alphas[0], num_train_timesteps, of_alphas[1])
    betas2 = zero_based(of_betas2[0], num_train_timesteps, of_betas2[1]) * sum_scale
    schedule = Schedule(
        alphas_cumsum=_from_zero(alphas.cumsum(0).clamp(max=1)), betas2_cumsum=_from_zero(betas2.cumsum(0))
    )
    return Coefficients(alphas=alphas, betas2=betas2, schedule=schedule, dtype=torch.float32)


@EXPERIMENTS.register("exp3_init")
def ddim_at_first(num_train_timesteps: int, sum_scale: float) -> Coefficients:
    """DDIM-converted; the first increments are 0."""
    return _converted(num_train_timesteps, sum_scale, repair=torch.zeros_like)


@EXPERIMENTS.register("exp3_after_init")
def ddim_after_init(num_train_timesteps: int, sum_scale: float) -> Coefficients:
    """DDIM-converted; the first increments are those of the second time."""
    return _converted(num_train_timesteps, sum_scale, repair=torch.clone)


def _converted(num_train_timesteps: int, sum_scale: float, *, repair: Callable[[Tensor], Tensor]) -> Coefficients:
    if sum_scale != 1:
        raise ValueError(f"sum_scale is {sum_scale}; DDIM-converted tables know only 1")
    products = torch.cumprod(1 - betas("linear", num_train_timesteps), dim=0)
    ours = from_ddim(products)
    # The official code takes roots and differences of the float32 products, and so has fewer digits than `from_ddim`.
    roots = (1 - products.sqrt()).to(torch.float64)
    schedule = Schedule(alphas_cumsum=_from_zero(roots), betas2_cumsum=ours.betas2_cumsum)
    alphas, betas2 = (table.to(torch.float32).diff()[1:] for table in (schedule.alphas_cumsum, schedule.betas2_cumsum))
    return Coefficients(
        alphas=torch.cat([repair(alphas[:1]), alphas]),
        betas2=torch.cat([repair(betas2[:1]), betas2]),
        schedule=schedule,
        dtype=torch.float32,
    )


def one_based(name: str, num_train_timesteps: int, power: float) -> Tensor:
    """The restoration code's increments with sum 1, float64."""
    return CURVES[_NAMES[name]](num_train_timesteps, power)


def zero_based(name: str, num_train_timesteps: int, power: float) -> Tensor:
    """The other experiments' increments with sum 1, float32."""
    if name in ("average", "normal"):
        return CURVES[_NAMES[name]](num_train_timesteps, power).to(torch.float32)
    if num_train_timesteps == 1:
        # The official code divides 0 ** power by itself; ours refuses such a curve.
        return torch.tensor([0.0 if power else 1.0]) / (0.0 if power else 1.0)
    return CURVES[f"{_NAMES[name]}_zero_based"](num_train_timesteps, power).to(torch.float32)


@lru_cache
def coefficients(experiment: str, num_train_timesteps: int, sum_scale: float) -> Coefficients:
    """An experiment's, kept: many keys ask for the same ones."""
    return EXPERIMENTS[experiment](num_train_timesteps, sum_scale)


def of_note(kind: str, note: str, num_train_timesteps: int, sum_scale: float) -> Coefficients:
    """Of a table of official.json, whose note says how its object was made.

    Raises:
        ValueError: The note says something else.
    """
    after = note.startswith("after init()")
    if not after and not note.startswith("__init__"):
        raise ValueError(f"its note is {note!r}; expected `__init__` or `after init()`")
    chosen = re.search(r"alpha (\w+)(?: ratio ([\d.]+))?, beta2 (\w+)(?: ratio ([\d.]+))?", note)
    if chosen:
        curves = (chosen[1], float(chosen[2] or 1)), (chosen[3], float(chosen[4] or 1))
        return of_curves(num_train_timesteps, sum_scale, *curves)
    if kind == "exp3_ddim" or "DDIM" in note:
        return coefficients("exp3_after_init" if after else "exp3_init", num_train_timesteps, sum_scale)
    both = re.search(r"(\w+)/(\w+), ratio ([\d.]+)", note)
    names, power = ((both[1], both[2]), float(both[3])) if both else (("decreased", "increased"), 1.0)
    return of_curves(num_train_timesteps, sum_scale, (names[0], power), (names[1], power))


def _from_zero(table: Tensor) -> Tensor:
    return torch.cat([torch.zeros(1, dtype=torch.float64), table.to(torch.float64)])
