r"""The coefficients of both diffusions: how fast the residual comes in, and how fast the noise.

A schedule is two tables over $t = 0, ..., T$: $\bar\alpha_t$, the share of the residual that is present, and
$\bar\beta_t^2$, the variance of the noise (paper, section 3.1). Both are cumulative sums that start at 0, so that
$t = 0$ is the clean image and no boundary needs a patch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from rddm.registry import Registry
from rddm.shapes import Table


class Curve(Protocol):
    """How a coefficient grows: T -> T increments, float64, non-negative, with sum 1."""

    def __call__(self, num_train_timesteps: int, exponent: float = 1.0) -> Tensor:
        """The increments; curves without a power ignore the exponent."""


CURVES: Registry[Curve] = Registry("coefficient curve")
SCHEDULES: Registry[Callable[..., Schedule]] = Registry("schedule")
"""Name -> (T, and options of its own) -> both tables."""

_SUM_TOLERANCE = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Schedule:
    r"""The coefficients $\bar\alpha_t$ and $\bar\beta_t^2$ for $t = 0, ..., T$.

    Attributes:
        alphas_cumsum: $\bar\alpha_t$, float64, non-decreasing, from 0 to at most 1.
        betas2_cumsum: $\bar\beta_t^2$, float64, non-decreasing, from 0.

    Raises:
        ValueError: A table is not of that kind.
    """

    alphas_cumsum: Table
    betas2_cumsum: Table

    def __post_init__(self) -> None:
        """Check both tables."""
        if self.alphas_cumsum.shape != self.betas2_cumsum.shape or self.alphas_cumsum.numel() < 2:
            raise ValueError(
                f"tables of shape {tuple(self.alphas_cumsum.shape)} and {tuple(self.betas2_cumsum.shape)}; "
                "expected two of (T + 1,)"
            )
        for name in ("alphas_cumsum", "betas2_cumsum"):
            _check_table(name, getattr(self, name))
        if self.alphas_cumsum[-1] > 1 + _SUM_TOLERANCE:
            raise ValueError(f"alphas_cumsum ends at {self.alphas_cumsum[-1].item()}; expected at most 1")

    @property
    def num_train_timesteps(self) -> int:
        """T."""
        return self.alphas_cumsum.numel() - 1

    @property
    def sqrt_betas2_cumsum(self) -> Table:
        r"""$\bar\beta_t$, the standard deviation of the noise."""
        return self.betas2_cumsum.sqrt()

    @property
    def terminal_noise_variance(self) -> float:
        r"""$\bar\beta_T^2$ (the official code's `sum_scale`)."""
        return float(self.betas2_cumsum[-1])


def make_schedule(alphas: Tensor, betas2: Tensor, *, terminal_noise_variance: float = 1.0) -> Schedule:
    r"""A schedule from two curves' increments.

    Args:
        alphas: $\alpha_1, ..., \alpha_T$ with sum 1, as a curve gives them.
        betas2: Increments of the noise variance with sum 1.
        terminal_noise_variance: $\bar\beta_T^2$, what `betas2` is scaled to; in the paper 0.01 for shadows, else 1.

    Raises:
        ValueError: The variance is negative, or the increments do not make a schedule.
    """
    if not terminal_noise_variance >= 0:
        raise ValueError(f"terminal_noise_variance is {terminal_noise_variance}; expected 0 or more")
    return Schedule(alphas_cumsum=_cumulative(alphas), betas2_cumsum=_cumulative(betas2) * terminal_noise_variance)


def power(num_train_timesteps: int, exponent: float, *, falling: bool = False) -> Tensor:
    """Increments proportional to (t/T)^exponent for t = 1..T, or to (1 - (t-1)/T)^exponent where they fall."""
    t = torch.arange(1, num_train_timesteps + 1, dtype=torch.float64) / num_train_timesteps
    increments = (t.flip(0) if falling else t) ** exponent
    return increments / increments.sum()


@CURVES.register("decreasing")
def decreasing(num_train_timesteps: int, exponent: float = 1.0) -> Tensor:
    r"""Falls; with exponent 1, the paper's residual in restoration, $\bar\alpha_t = t(2T + 1 - t)/(T(T + 1))$."""
    return power(num_train_timesteps, exponent, falling=True)


@CURVES.register("increasing")
def increasing(num_train_timesteps: int, exponent: float = 1.0) -> Tensor:
    r"""Rises; with exponent 1, the paper's noise variance in restoration, $\bar\beta_t^2 = t(t + 1)/(T(T + 1))$."""
    return power(num_train_timesteps, exponent)


@CURVES.register("uniform")
def uniform(num_train_timesteps: int, exponent: float = 1.0) -> Tensor:
    """Every increment is 1/T."""
    return power(num_train_timesteps, 0.0)


@CURVES.register("normal")
def normal(num_train_timesteps: int, exponent: float = 1.0) -> Tensor:
    """A Gaussian density on [-3, 3]: slow at both ends."""
    density = torch.exp(-0.5 * torch.linspace(-3, 3, num_train_timesteps, dtype=torch.float64) ** 2) / math.sqrt(
        2 * math.pi
    )
    return density / density.sum()


@CURVES.register("decreasing_zero_based")
def decreasing_zero_based(num_train_timesteps: int, exponent: float = 1.0) -> Tensor:
    """The official generation code's falling curve: float32 on linspace(0, 1, T), so that the last increment is 0."""
    return _zero_based(num_train_timesteps, exponent).flip(0)


@CURVES.register("increasing_zero_based")
def increasing_zero_based(num_train_timesteps: int, exponent: float = 1.0) -> Tensor:
    """The official generation code's rising curve: the first increment is 0, so t = 1 carries no noise."""
    return _zero_based(num_train_timesteps, exponent)


@SCHEDULES.register("curves")
def from_curves(
    num_train_timesteps: int,
    *,
    alphas: str = "decreasing",
    betas2: str = "increasing",
    alphas_exponent: float = 1.0,
    betas2_exponent: float = 1.0,
    terminal_noise_variance: float = 1.0,
) -> Schedule:
    r"""Two curves, chosen independently.

    Args:
        num_train_timesteps: T.
        alphas: A name in `CURVES`.
        betas2: A name in `CURVES`.
        alphas_exponent: Power of the residual's curve.
        betas2_exponent: Power of the noise variance's curve.
        terminal_noise_variance: $\bar\beta_T^2$.
    """
    return make_schedule(
        CURVES[alphas](num_train_timesteps, alphas_exponent),
        CURVES[betas2](num_train_timesteps, betas2_exponent),
        terminal_noise_variance=terminal_noise_variance,
    )


@SCHEDULES.register("tables")
def from_tables(
    num_train_timesteps: int, *, alphas_cumsum: Sequence[float], betas2_cumsum: Sequence[float]
) -> Schedule:
    """A schedule of the user's own: both tables for t = 0..T, from 0.

    Raises:
        ValueError: They do not have T + 1 entries, or are no schedule.
    """
    if len(alphas_cumsum) != num_train_timesteps + 1:
        raise ValueError(f"alphas_cumsum has {len(alphas_cumsum)} entries; expected T + 1 = {num_train_timesteps + 1}")
    return Schedule(
        alphas_cumsum=torch.tensor(alphas_cumsum, dtype=torch.float64),
        betas2_cumsum=torch.tensor(betas2_cumsum, dtype=torch.float64),
    )


def _zero_based(num_train_timesteps: int, exponent: float) -> Tensor:
    if num_train_timesteps < 2:
        raise ValueError(f"num_train_timesteps is {num_train_timesteps}; a zero-based curve needs 2 or more")
    # Rounded from float64, as numpy's float32 linspace is; torch's own differs in the last bit here and there.
    grid = torch.linspace(0, 1, num_train_timesteps, dtype=torch.float64).to(torch.float32)
    increments = grid**exponent
    return (increments / increments.sum()).to(torch.float64)


def _cumulative(increments: Tensor) -> Tensor:
    table = torch.cat([torch.zeros(1, dtype=torch.float64), increments.to(torch.float64).cumsum(0)])
    if abs(table[-1].item() - 1) > _SUM_TOLERANCE:
        raise ValueError(f"increments sum to {table[-1].item()}; expected 1")
    return table / table[-1]


def _check_table(name: str, table: Tensor) -> None:
    if table.dtype != torch.float64 or table.ndim != 1:
        raise ValueError(f"{name} is {table.dtype} with {table.ndim} dimensions; expected float64 with one")
    if not bool(torch.isfinite(table).all()) or table[0] != 0:
        raise ValueError(f"{name} begins with {table[0].item()}; expected finite numbers that begin with 0")
    if bool((table.diff() < 0).any()):
        raise ValueError(f"{name} falls at t = {int(table.diff().argmin()) + 1}; expected a non-decreasing table")
