r"""From the noisy degraded image back to the clean one: one short function a sampler (paper, sections 3.2 and 3.3).

A step from $t$ to any $s < t$:
$I_s = I_t - (\bar\alpha_t - \bar\alpha_s) I_{res} - (\bar\beta_t - \sqrt{\bar\beta_s^2 - \sigma^2}) \epsilon
+ \sigma z$ with $\sigma^2 = \eta (\bar\beta_t^2 - \bar\beta_s^2) \bar\beta_s^2 / \bar\beta_t^2$; the last step returns
the predicted clean image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch

from rddm.objectives import Prediction
from rddm.process import posterior
from rddm.registry import Registry
from rddm.schedules import Schedule
from rddm.shapes import Images, Times

Denoiser = Callable[[Images, Times], Prediction]
"""The network with all that it needs to see: (x_t, the paper's t) -> what is believed."""

Noise = Callable[[Images], Images]
"""A fresh draw of standard normal noise in the shape of an image batch."""

Callback = Callable[[int, int, Images], None]
"""Told after each step: steps done, steps in all, the present images."""


@runtime_checkable
class Sampler(Protocol):
    """A way back to the clean image."""

    def __call__(
        self,
        denoiser: Denoiser,
        schedule: Schedule,
        x: Images,
        times: Sequence[int],
        *,
        noise: Noise,
        eta: float,
        callback: Callback | None,
    ) -> Images:
        r"""Go from x at `times[0]` to the clean image at `times[-1]` = 0.

        Args:
            denoiser: What is believed at a time.
            schedule: Coefficients.
            x: $I_T = I_{in} + \bar\beta_T \epsilon$, in the network's range.
            times: Falling, from T to 0.
            noise: Source of fresh noise.
            eta: Share of the ancestral variance that is drawn anew at each step, in [0, 1].
            callback: Told after each step.
        """


SAMPLERS: Registry[Sampler] = Registry("sampler")


@SAMPLERS.register("deterministic")
def deterministic(
    denoiser: Denoiser,
    schedule: Schedule,
    x: Images,
    times: Sequence[int],
    *,
    noise: Noise,
    eta: float = 0.0,
    callback: Callback | None = None,
) -> Images:
    """The implicit sampler: deterministic at eta = 0, ancestral in law at eta = 1; eta multiplies the variance."""
    alphas, betas2 = schedule.alphas_cumsum, schedule.betas2_cumsum
    for done, (t, s) in enumerate(pairwise(times), start=1):
        pred = denoiser(x, _everywhere(t, x))
        if s == 0:
            x = pred.x_start
        else:
            sigma2 = eta * (betas2[t] - betas2[s]) * betas2[s] / betas2[t]
            of_noise = betas2[t].sqrt() - (betas2[s] - sigma2).sqrt()
            x = x - (alphas[t] - alphas[s]).item() * pred.res - of_noise.item() * pred.noise
            if sigma2 > 0:
                x = x + sigma2.sqrt().item() * noise(x)
        if callback is not None:
            callback(done, len(times) - 1, x)
    return x


@SAMPLERS.register("ancestral")
def ancestral(
    denoiser: Denoiser,
    schedule: Schedule,
    x: Images,
    times: Sequence[int],
    *,
    noise: Noise,
    eta: float = 1.0,
    callback: Callback | None = None,
) -> Images:
    """Draws from the posterior of each step; the same law as the implicit sampler at eta = 1, whatever `eta` says."""
    for done, (t, s) in enumerate(pairwise(times), start=1):
        pred = denoiser(x, _everywhere(t, x))
        if s == 0:
            x = pred.x_start
        else:
            step = posterior(schedule, t, s)
            x = step.of_x_t * x + step.of_res * pred.res + step.of_x_start * pred.x_start
            x = x + step.variance**0.5 * noise(x)
        if callback is not None:
            callback(done, len(times) - 1, x)
    return x


def time_grid(num_train_timesteps: int, num_inference_steps: int) -> list[int]:
    """The official grid, in the paper's times: falling from T to 0, evenly spaced in float32 and truncated.

    With T = 1000, 5 steps visit 1000, 800, 600, 400, 200 and end at 0.

    Raises:
        ValueError: The number of steps is not in 1..T.
    """
    if not 1 <= num_inference_steps <= num_train_timesteps:
        raise ValueError(f"num_inference_steps is {num_inference_steps}; expected 1 to {num_train_timesteps}")
    grid = torch.linspace(-1, num_train_timesteps - 1, num_inference_steps + 1, dtype=torch.float32)
    return [int(index) + 1 for index in grid.flip(0).tolist()]


def keyed_noise(generators: Sequence[torch.Generator]) -> Noise:
    """Noise with a generator for each image, so that an image's result does not depend on its batch.

    Args:
        generators: CPU generators, one for each image.
    """

    def draw(like: Images) -> Images:
        drawn = [torch.randn(like.shape[1:], generator=generator) for generator in generators]
        return torch.stack(drawn).to(like)

    return draw


def _everywhere(t: int, x: Images) -> Times:
    return torch.full((x.shape[0],), t, device=x.device)
