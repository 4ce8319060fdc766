"""Other methods' schedules, where the algebra of residual and noise covers them."""

from __future__ import annotations

import torch

from rddm.ddim import ddim
from rddm.schedules import SCHEDULES, Schedule, uniform


@SCHEDULES.register("resshift")
def resshift(
    num_train_timesteps: int, *, kappa: float = 2.0, min_noise_level: float = 0.04, power: float = 0.3
) -> Schedule:
    r"""ResShift (Yue et al. 2023, section 3.2): $\bar\alpha_t = \eta_t$ and $\bar\beta_t^2 = \kappa^2 \eta_t$.

    $\eta_t$ grows geometrically from $\eta_1$ to $\eta_T = 0.999$, along $((t - 1)/(T - 1))^p$. The authors sample
    with `ancestral`.

    Args:
        num_train_timesteps: T; the authors use 15.
        kappa: Strength of the noise beside the residual.
        min_noise_level: $\kappa \sqrt{\eta_1}$ is at most this.
        power: $p$.

    Raises:
        ValueError: T is less than 2.
    """
    if num_train_timesteps < 2:
        raise ValueError(f"num_train_timesteps is {num_train_timesteps}; ResShift's schedule needs 2 or more")
    last = 0.999
    first = min((min_noise_level / kappa) ** 2, 0.001)
    share = (torch.arange(num_train_timesteps, dtype=torch.float64) / (num_train_timesteps - 1)) ** power
    shift = torch.cat([torch.zeros(1, dtype=torch.float64), first * (last / first) ** share])
    return Schedule(alphas_cumsum=shift, betas2_cumsum=kappa**2 * shift)


@SCHEDULES.register("ir_sde")
def ir_sde(num_train_timesteps: int, *, noise_level: float = 1.0) -> Schedule:
    r"""IR-SDE (Luo et al. 2023): a process that reverts to $I_{in}$; DDIM's cosine schedule with $I_{in}$ for 0.

    $1 - \bar\alpha_t = e^{-\bar\theta_t}$ and $\bar\beta_t^2 = \lambda^2 (1 - e^{-2 \bar\theta_t})$.

    Args:
        num_train_timesteps: T; the authors use 100.
        noise_level: $\lambda$, the standard deviation of the noise at the end; the authors use 50 / 255 of [0, 1].
    """
    schedule = ddim(num_train_timesteps, beta_schedule="squaredcos_cap_v2")
    return Schedule(alphas_cumsum=schedule.alphas_cumsum, betas2_cumsum=noise_level**2 * schedule.betas2_cumsum)


@SCHEDULES.register("rectified_flow")
def rectified_flow(num_train_timesteps: int) -> Schedule:
    """Rectified flow (Liu et al. 2023): straight lines from the input to the clean image, without noise; `pred_res`."""
    alphas = uniform(num_train_timesteps).cumsum(0)
    table = torch.cat([torch.zeros(1, dtype=torch.float64), alphas / alphas[-1]])
    return Schedule(alphas_cumsum=table, betas2_cumsum=torch.zeros_like(table))


@SCHEDULES.register("drdd")
def drdd(num_train_timesteps: int, *, terminal_noise_variance: float = 1.0, noise_share: float = 0.5) -> Schedule:
    r"""DRDD's order: restoring takes the residual away at a fixed noise level, and then the noise.

    Args:
        num_train_timesteps: T.
        terminal_noise_variance: $\bar\beta_T^2$, the fixed level.
        noise_share: Share of the times at which noise alone is present, in (0, 1).

    Raises:
        ValueError: One of the two parts would have no time.
    """
    turn = round(num_train_timesteps * noise_share)
    if not 0 < turn < num_train_timesteps:
        raise ValueError(f"noise_share is {noise_share} of {num_train_timesteps} times; expected some for each part")
    t = torch.arange(num_train_timesteps + 1, dtype=torch.float64)
    return Schedule(
        alphas_cumsum=((t - turn) / (num_train_timesteps - turn)).clamp(min=0),
        betas2_cumsum=(t / turn).clamp(max=1) * terminal_noise_variance,
    )
