r"""The forward process and its algebra: residual, noise and clean image, each from the others (paper, section 3.1).

Everywhere $I_t = I_0 + \bar\alpha_t I_{res} + \bar\beta_t \epsilon$ with $I_{res} = I_{in} - I_0$, so that also
$I_t = I_{in} + (\bar\alpha_t - 1) I_{res} + \bar\beta_t \epsilon$. Images are in [-1, 1] inside the method.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rddm.schedules import Schedule
from rddm.shapes import Images, Table, Times


def at(table: Table, t: Times, like: Tensor) -> Tensor:
    """Entries of a coefficient table, shaped (batch, 1, 1, 1) in the dtype and on the device of `like`."""
    return table.to(like.device)[t].to(like.dtype)[:, None, None, None]


def q_sample(schedule: Schedule, x_start: Images, x_res: Images, t: Times, noise: Images) -> Images:
    r"""Draw $I_t = I_0 + \bar\alpha_t I_{res} + \bar\beta_t \epsilon$ (section 3.1)."""
    alpha_bar = at(schedule.alphas_cumsum, t, x_start)
    beta_bar = at(schedule.sqrt_betas2_cumsum, t, x_start)
    return x_start + alpha_bar * x_res + beta_bar * noise


def noise_from_residual(schedule: Schedule, res: Images, x_t: Images, x_input: Images, t: Times) -> Images:
    r"""$\epsilon = (I_t - I_{in} - (\bar\alpha_t - 1) I_{res}) / \bar\beta_t$, and 0 where there is no noise.

    Where $\bar\beta_t = 0$ nothing depends on the noise: every factor that it could have is 0 there.
    """
    alpha_bar = at(schedule.alphas_cumsum, t, x_t)
    beta_bar = at(schedule.sqrt_betas2_cumsum, t, x_t)
    scale = torch.where(beta_bar > 0, beta_bar, torch.inf)
    return (x_t - x_input - (alpha_bar - 1) * res) / scale


def start_from_noise(schedule: Schedule, noise: Images, x_t: Images, x_input: Images, t: Times) -> Images:
    r"""$I_0 = (I_t - \bar\alpha_t I_{in} - \bar\beta_t \epsilon) / (1 - \bar\alpha_t)$, if $\bar\alpha_t < 1$."""
    alpha_bar = at(schedule.alphas_cumsum, t, x_t)
    beta_bar = at(schedule.sqrt_betas2_cumsum, t, x_t)
    # In float64, because rounding a share close to 1 first would lose most of what is left of it.
    left = at(1 - schedule.alphas_cumsum, t, x_t)
    return (x_t - alpha_bar * x_input - beta_bar * noise) / left


def start_from_both(schedule: Schedule, res: Images, noise: Images, x_t: Images, t: Times) -> Images:
    r"""$I_0 = I_t - \bar\alpha_t I_{res} - \bar\beta_t \epsilon$."""
    return x_t - at(schedule.alphas_cumsum, t, x_t) * res - at(schedule.sqrt_betas2_cumsum, t, x_t) * noise


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Posterior:
    r"""The coefficients of $q(I_s | I_t, I_0, I_{res})$ for one step from t to s (section 3.2).

    The mean is `of_x_t` $I_t$ + `of_res` $I_{res}$ + `of_x_start` $I_0$.
    """

    of_x_t: float
    of_res: float
    of_x_start: float
    variance: float


def posterior(schedule: Schedule, t: int, s: int) -> Posterior:
    r"""The step from t to s, $0 \le s < t$, in float64.

    $c_1 = \bar\beta_s^2 / \bar\beta_t^2$, $c_2 = \bar\alpha_s - c_1 \bar\alpha_t$,
    $c_3 = (\bar\beta_t^2 - \bar\beta_s^2) / \bar\beta_t^2$, variance $c_3 \bar\beta_s^2$.

    Raises:
        ValueError: The times are not $0 \le s < t \le T$, or there is no noise at t.
    """
    if not 0 <= s < t <= schedule.num_train_timesteps:
        raise ValueError(f"a step from t = {t} to s = {s}; expected 0 <= s < t <= {schedule.num_train_timesteps}")
    alphas, betas2 = schedule.alphas_cumsum, schedule.betas2_cumsum
    if betas2[t] == 0:
        raise ValueError(
            f"there is no noise at t = {t}, so the posterior is not defined; use the deterministic sampler"
        )
    c1 = betas2[s] / betas2[t]
    c3 = (betas2[t] - betas2[s]) / betas2[t]
    coefficients = torch.stack([c1, alphas[s] - c1 * alphas[t], c3, c3 * betas2[s]]).tolist()
    return Posterior(
        of_x_t=coefficients[0], of_res=coefficients[1], of_x_start=coefficients[2], variance=coefficients[3]
    )
