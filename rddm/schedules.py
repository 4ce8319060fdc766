r"""The coefficients of both diffusions: how fast the residual comes in, and how fast the noise.

A schedule is two tables over $t = 0, ..., T$: $\bar\alpha_t$, the share of the residual that is present, and
$\bar\beta_t^2$, the variance of the noise (paper, section 3.1). Both are cumulative sums that start at 0, so that
$t = 0$ is the clean image and no boundary needs a patch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rddm.registry import Registry
from rddm.shapes import Table

Curve = Callable[[int], Tensor]
CURVES: Registry[Curve] = Registry("coefficient curve")
"""Name -> a function from T to T increments, float64, non-negative, with sum 1."""

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


def from_ddim(alphas_cumprod: Tensor) -> Schedule:
    r"""The schedule that makes RDDM's sampler the DDIM of a trained model (paper, section 3.3, with $I_{in} = 0$).

    With $D_t$ the cumulative product of DDIM: $\bar\alpha_t = 1 - \sqrt{D_t}$ and $\bar\beta_t^2 = 1 - D_t$.

    Args:
        alphas_cumprod: $D_1, ..., D_T$, falling, in (0, 1].
    """
    products = torch.cat([torch.ones(1, dtype=torch.float64), alphas_cumprod.to(torch.float64)])
    return Schedule(alphas_cumsum=1 - products.sqrt(), betas2_cumsum=1 - products)


def power(num_train_timesteps: int, exponent: float, *, falling: bool = False) -> Tensor:
    """Increments proportional to (t/T)^exponent for t = 1..T, or to (1 - (t-1)/T)^exponent where they fall."""
    t = torch.arange(1, num_train_timesteps + 1, dtype=torch.float64) / num_train_timesteps
    increments = (t.flip(0) if falling else t) ** exponent
    return increments / increments.sum()


@CURVES.register("decreasing")
def decreasing(num_train_timesteps: int) -> Tensor:
    r"""Falls linearly; $\bar\alpha_t = t(2T + 1 - t)/(T(T + 1))$. The paper's residual in restoration."""
    return power(num_train_timesteps, 1.0, falling=True)


@CURVES.register("increasing")
def increasing(num_train_timesteps: int) -> Tensor:
    r"""Rises linearly; $\bar\beta_t^2 = t(t + 1)/(T(T + 1))$. The paper's noise variance in restoration."""
    return power(num_train_timesteps, 1.0)


@CURVES.register("uniform")
def uniform(num_train_timesteps: int) -> Tensor:
    """Every increment is 1/T."""
    return power(num_train_timesteps, 0.0)


@CURVES.register("normal")
def normal(num_train_timesteps: int) -> Tensor:
    """A Gaussian density on [-3, 3]: slow at both ends."""
    density = torch.exp(-0.5 * torch.linspace(-3, 3, num_train_timesteps, dtype=torch.float64) ** 2) / math.sqrt(
        2 * math.pi
    )
    return density / density.sum()


@CURVES.register("decreasing_zero_based")
def decreasing_zero_based(num_train_timesteps: int) -> Tensor:
    """The official generation code's falling curve: float32 on linspace(0, 1, T), so that the last increment is 0."""
    return _zero_based(num_train_timesteps).flip(0)


@CURVES.register("increasing_zero_based")
def increasing_zero_based(num_train_timesteps: int) -> Tensor:
    """The official generation code's rising curve: the first increment is 0, so t = 1 carries no noise."""
    return _zero_based(num_train_timesteps)


def _zero_based(num_train_timesteps: int) -> Tensor:
    if num_train_timesteps < 2:
        raise ValueError(f"num_train_timesteps is {num_train_timesteps}; a zero-based curve needs 2 or more")
    increments = torch.linspace(0, 1, num_train_timesteps, dtype=torch.float32)
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
