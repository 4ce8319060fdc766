r"""DDIM and RDDM, each in the other's terms (paper, section 3.3): no training is needed to change between them.

With $D_t$ the cumulative product that diffusers call `alphas_cumprod`, and with $I_{in} = 0$:
$\bar\alpha_t = 1 - \sqrt{D_t}$ and $\bar\beta_t^2 = 1 - D_t$. Both are of cumulative quantities.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from rddm.schedules import SCHEDULES, Schedule

_TOLERANCE = 1e-6


def from_ddim(alphas_cumprod: Tensor) -> Schedule:
    r"""The schedule that makes RDDM's sampler the DDIM of a trained model.

    Args:
        alphas_cumprod: $D_1, ..., D_T$, falling, in [0, 1].
    """
    products = torch.cat([torch.ones(1, dtype=torch.float64), alphas_cumprod.to(torch.float64)])
    return Schedule(alphas_cumsum=1 - products.sqrt(), betas2_cumsum=1 - products)


def to_ddim(schedule: Schedule) -> Float[Tensor, " timesteps"]:
    r"""$D_1, ..., D_T$ of a schedule that is a DDIM's: $D_t = (1 - \bar\alpha_t)^2$, float64.

    Raises:
        ValueError: It is none: DDIM ties both diffusions together by $\bar\beta_t^2 = 1 - (1 - \bar\alpha_t)^2$.
    """
    products = (1 - schedule.alphas_cumsum) ** 2
    miss = (schedule.betas2_cumsum - (1 - products)).abs()
    if miss.max() > _TOLERANCE:
        t = int(miss.argmax())
        raise ValueError(
            f"this schedule has no DDIM: at t = {t} the noise variance is {schedule.betas2_cumsum[t].item():.6g}, and "
            f"DDIM ties it to 1 - (1 - alphas_cumsum)^2 = {1 - products[t].item():.6g}"
        )
    return products[1:]


def betas(
    kind: str, num_train_timesteps: int, *, beta_start: float = 1e-4, beta_end: float = 0.02
) -> Float[Tensor, " timesteps"]:
    r"""DDPM's $\beta_1, ..., \beta_T$ in float32, as diffusers and the official code keep them.

    Args:
        kind: `linear` (Ho et al. 2020), `scaled_linear` (linear in the root; Rombach et al. 2022) or
            `squaredcos_cap_v2` (Nichol and Dhariwal 2021), by diffusers' names.
        num_train_timesteps: T.
        beta_start: The first; not used by `squaredcos_cap_v2`.
        beta_end: The last; not used by `squaredcos_cap_v2`.

    Raises:
        ValueError: The kind is another.
    """
    if kind == "linear":
        return torch.linspace(beta_start, beta_end, num_train_timesteps, dtype=torch.float32)
    if kind == "scaled_linear":
        return torch.linspace(beta_start**0.5, beta_end**0.5, num_train_timesteps, dtype=torch.float32) ** 2
    if kind == "squaredcos_cap_v2":
        return torch.tensor([_cosine_beta(t, num_train_timesteps) for t in range(num_train_timesteps)])
    raise ValueError(f"beta_schedule is {kind!r}; expected linear, scaled_linear or squaredcos_cap_v2")


@SCHEDULES.register("ddim")
def ddim(
    num_train_timesteps: int,
    *,
    beta_schedule: str = "linear",
    beta_start: float = 1e-4,
    beta_end: float = 0.02,
    trained_betas: Sequence[float] | None = None,
    rescale_betas_zero_snr: bool = False,
) -> Schedule:
    """A DDIM's schedule, by the names that diffusers' schedulers use in their config.

    Args:
        num_train_timesteps: T.
        beta_schedule: As in `betas`.
        beta_start: As in `betas`.
        beta_end: As in `betas`.
        trained_betas: All betas, in place of the three above.
        rescale_betas_zero_snr: Shift and scale the signal so that none of it is left at T (Lin et al. 2023).

    Raises:
        ValueError: The kind is unknown, or there are not T betas.
    """
    if trained_betas is None:
        steps = betas(beta_schedule, num_train_timesteps, beta_start=beta_start, beta_end=beta_end)
    else:
        steps = torch.tensor(trained_betas, dtype=torch.float32)
    if len(steps) != num_train_timesteps:
        raise ValueError(f"there are {len(steps)} betas; expected T = {num_train_timesteps}")
    if rescale_betas_zero_snr:
        steps = _without_signal_at_the_end(steps)
    return from_ddim(torch.cumprod(1 - steps, dim=0))


def _cosine_beta(t: int, num_train_timesteps: int) -> float:
    def signal(time: float) -> float:
        return math.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2

    return min(1 - signal((t + 1) / num_train_timesteps) / signal(t / num_train_timesteps), 0.999)


def _without_signal_at_the_end(steps: Tensor) -> Tensor:
    roots = torch.cumprod(1 - steps, dim=0).sqrt()
    first, last = roots[0].clone(), roots[-1].clone()
    products = ((roots - last) * (first / (first - last))) ** 2
    return 1 - torch.cat([products[:1], products[1:] / products[:-1]])
