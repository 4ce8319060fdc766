r"""From the noisy degraded image back to the clean one: one short function a sampler (paper, sections 3.2 and 3.3).

A step from $t$ to any $s < t$:
$I_s = I_t - (\bar\alpha_t - \bar\alpha_s) I_{res} - (\bar\beta_t - \sqrt{\bar\beta_s^2 - \sigma^2}) \epsilon
+ \sigma z$; a step to $s = 0$ returns the predicted clean image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch

from rddm.objectives import Prediction
from rddm.process import posterior
from rddm.registry import Registry
from rddm.schedules import Schedule
from rddm.shapes import Images, Times
from rddm.times import Step

Denoiser = Callable[[Images, Times], Prediction]
"""The network with all that it needs to see: (x_t, the paper's t) -> what is believed."""

Noise = Callable[[Images], Images]
"""A fresh draw of standard normal noise in the shape of an image batch."""

Callback = Callable[[int, int, Images], None]
"""Told after each step: steps done, steps in all, the present images."""

Variance = Callable[[Schedule, int, int, float], float]
VARIANCES: Registry[Variance] = Registry("variance")
r"""Name -> (schedule, t, s, eta) -> $\sigma^2$, the variance that a step from t to s draws anew."""


@VARIANCES.register("rddm")
def rddm_variance(schedule: Schedule, t: int, s: int, eta: float) -> float:
    r"""$\sigma^2 = \eta (\bar\beta_t^2 - \bar\beta_s^2) \bar\beta_s^2 / \bar\beta_t^2$: eta multiplies the variance."""
    of_t, of_s = schedule.betas2_cumsum[t].item(), schedule.betas2_cumsum[s].item()
    return eta * (of_t - of_s) * of_s / of_t if of_t > 0 else 0.0


@VARIANCES.register("ddim")
def ddim_variance(schedule: Schedule, t: int, s: int, eta: float) -> float:
    r"""DDIM's $\sigma^2 = \eta^2 \frac{1 - D_s}{1 - D_t} (1 - D_t / D_s)$ with $D = (1 - \bar\alpha)^2$.

    Eta multiplies the standard deviation, and the variance is larger than RDDM's by $1 / D_s$ (paper, section 3.3).
    """
    of_t, of_s = ((1 - schedule.alphas_cumsum[time].item()) ** 2 for time in (t, s))
    return eta**2 * (1 - of_s) / (1 - of_t) * (1 - of_t / of_s) if of_t < 1 else 0.0


@runtime_checkable
class Sampler(Protocol):
    """A way back to the clean image."""

    def __call__(
        self,
        denoiser: Denoiser,
        schedule: Schedule,
        x: Images,
        steps: Sequence[Step],
        *,
        noise: Noise,
        eta: float = ...,
        variance: Variance = ...,
        callback: Callback | None = ...,
    ) -> Images:
        r"""Go from x at the first step's t down all steps.

        Args:
            denoiser: What is believed at a time.
            schedule: Coefficients.
            x: $I_T = I_{in} + \bar\beta_T \epsilon$, in the network's range.
            steps: From t to s each, falling; the last one usually ends at 0.
            noise: Source of fresh noise.
            eta: Share of the ancestral variance that is drawn anew at each step, in [0, 1].
            variance: What that share is of.
            callback: Told after each step.
        """


SAMPLERS: Registry[Sampler] = Registry("sampler")


@SAMPLERS.register("deterministic")
def deterministic(
    denoiser: Denoiser,
    schedule: Schedule,
    x: Images,
    steps: Sequence[Step],
    *,
    noise: Noise,
    eta: float = 0.0,
    variance: Variance = rddm_variance,
    callback: Callback | None = None,
) -> Images:
    """The paper's implicit sampler: takes residual and noise away; deterministic at eta = 0, ancestral in law at 1."""
    for done, (t, s) in enumerate(steps, start=1):
        pred = denoiser(x, _everywhere(t, x))
        sigma2 = variance(schedule, t, s, eta)
        x = pred.x_start if s == 0 else _stepped(schedule, x, pred, t, s, sigma2, noise)
        if callback is not None:
            callback(done, len(steps), x)
    return x


@SAMPLERS.register("renoise")
def renoise(
    denoiser: Denoiser,
    schedule: Schedule,
    x: Images,
    steps: Sequence[Step],
    *,
    noise: Noise,
    eta: float = 0.0,
    variance: Variance = rddm_variance,
    callback: Callback | None = None,
) -> Images:
    r"""Puts residual and noise back onto the predicted clean image, as DDIM does.

    $I_s = I_0 + \bar\alpha_s I_{res} + \sqrt{\bar\beta_s^2 - \sigma^2} \epsilon + \sigma z$: the same step where the
    prediction agrees with $I_t$. Where clipping moved the clean image, this one forgets what was clipped away, and
    equals DDIM with clipped samples.
    """
    alphas, betas2 = schedule.alphas_cumsum, schedule.betas2_cumsum
    for done, (t, s) in enumerate(steps, start=1):
        pred = denoiser(x, _everywhere(t, x))
        sigma2 = variance(schedule, t, s, eta)
        of_noise = max(betas2[s].item() - sigma2, 0.0) ** 0.5
        x = pred.x_start + alphas[s].item() * pred.res + of_noise * pred.noise
        if sigma2 > 0:
            x = x + sigma2**0.5 * noise(x)
        if callback is not None:
            callback(done, len(steps), x)
    return x


@SAMPLERS.register("ancestral")
def ancestral(
    denoiser: Denoiser,
    schedule: Schedule,
    x: Images,
    steps: Sequence[Step],
    *,
    noise: Noise,
    eta: float = 1.0,
    variance: Variance = rddm_variance,
    callback: Callback | None = None,
) -> Images:
    """Draws from the posterior of each step: the same law as the implicit sampler at eta = 1, whatever `eta` says."""
    for done, (t, s) in enumerate(steps, start=1):
        pred = denoiser(x, _everywhere(t, x))
        if s == 0:
            x = pred.x_start
        else:
            step = posterior(schedule, t, s)
            x = step.of_x_t * x + step.of_res * pred.res + step.of_x_start * pred.x_start
            x = x + step.variance**0.5 * noise(x)
        if callback is not None:
            callback(done, len(steps), x)
    return x


@SAMPLERS.register("adams_bashforth")
def adams_bashforth(
    denoiser: Denoiser,
    schedule: Schedule,
    x: Images,
    steps: Sequence[Step],
    *,
    noise: Noise,
    eta: float = 0.0,
    variance: Variance = rddm_variance,
    callback: Callback | None = None,
) -> Images:
    r"""Second order for one evaluation a step: the slopes are extrapolated from the last two (Bashforth, Adams 1883).

    The path solves $dI = I_{res} \, d\bar\alpha + \epsilon \, d\bar\beta$. Each part is extrapolated to the middle of
    its step in its own variable, $\bar\alpha$ or $\bar\beta$; the first step is the implicit sampler's, and so are
    steps that draw fresh noise (eta > 0), after which the past says little.
    """
    before: tuple[Prediction, int] | None = None
    for done, (t, s) in enumerate(steps, start=1):
        pred = denoiser(x, _everywhere(t, x))
        sigma2 = variance(schedule, t, s, eta)
        slopes = pred if before is None or sigma2 > 0 else _extrapolated(schedule, pred, *before, t, s)
        x = pred.x_start if s == 0 else _stepped(schedule, x, slopes, t, s, sigma2, noise)
        before = None if sigma2 > 0 else (pred, t)
        if callback is not None:
            callback(done, len(steps), x)
    return x


@SAMPLERS.register("heun")
def heun(
    denoiser: Denoiser,
    schedule: Schedule,
    x: Images,
    steps: Sequence[Step],
    *,
    noise: Noise,
    eta: float = 0.0,
    variance: Variance = rddm_variance,
    callback: Callback | None = None,
) -> Images:
    """Second order for two evaluations a step: the mean of the slopes at both ends (Karras et al. 2022, Algorithm 1).

    A step to 0, where there is no second slope, and one that draws fresh noise (eta > 0) are the implicit sampler's.
    """
    for done, (t, s) in enumerate(steps, start=1):
        pred = denoiser(x, _everywhere(t, x))
        sigma2 = variance(schedule, t, s, eta)
        if s == 0:
            x = pred.x_start
        elif sigma2 > 0:
            x = _stepped(schedule, x, pred, t, s, sigma2, noise)
        else:
            there = denoiser(_stepped(schedule, x, pred, t, s, 0.0, noise), _everywhere(s, x))
            x = _stepped(schedule, x, _mean(schedule, pred, there, s), t, s, 0.0, noise)
        if callback is not None:
            callback(done, len(steps), x)
    return x


def keyed_noise(generators: Sequence[torch.Generator]) -> Noise:
    """Noise with a generator for each image, so that an image's result does not depend on its batch.

    Args:
        generators: CPU generators, one for each image.
    """

    def draw(like: Images) -> Images:
        drawn = [torch.randn(like.shape[1:], generator=generator) for generator in generators]
        return torch.stack(drawn).to(like)

    return draw


def _stepped(schedule: Schedule, x: Images, slopes: Prediction, t: int, s: int, sigma2: float, noise: Noise) -> Images:
    alphas, betas2 = schedule.alphas_cumsum, schedule.betas2_cumsum
    of_noise = betas2[t].sqrt().item() - max(betas2[s].item() - sigma2, 0.0) ** 0.5
    x = x - (alphas[t] - alphas[s]).item() * slopes.res - of_noise * slopes.noise
    return x + sigma2**0.5 * noise(x) if sigma2 > 0 else x


def _extrapolated(
    schedule: Schedule, pred: Prediction, before: Prediction, t_before: int, t: int, s: int
) -> Prediction:
    """The slopes in the middle of the step from t to s, from those at t and at the time before."""

    def ahead(variable: torch.Tensor) -> float:
        past = (variable[t] - variable[t_before]).item()
        return (variable[s] - variable[t]).item() / (2 * past) if past else 0.0

    of_res, of_noise = ahead(schedule.alphas_cumsum), ahead(schedule.sqrt_betas2_cumsum)
    return Prediction(
        pred.res + of_res * (pred.res - before.res), pred.noise + of_noise * (pred.noise - before.noise), pred.x_start
    )


def _mean(schedule: Schedule, pred: Prediction, there: Prediction, s: int) -> Prediction:
    """The slopes' mean over a step that ends at s; where no noise is left, its slope is not known there."""
    noise_there = there.noise if schedule.betas2_cumsum[s] > 0 else pred.noise
    return Prediction((pred.res + there.res) / 2, (pred.noise + noise_there) / 2, pred.x_start)


def _everywhere(t: int, x: Images) -> Times:
    return torch.full((x.shape[0],), t, device=x.device)
