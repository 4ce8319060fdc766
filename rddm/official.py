r"""Where the official code differs from the paper's own algebra: reproduced by name, for comparison, never a default.

Observed by running it; see `docs/how-it-works.md`. The clipping that is wrong for large residuals is
`rddm.clipping.ClipResidual`, the network that depends on its resolution `rddm.nets.official`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import final

import torch

from rddm.clipping import UNCLIPPED, Clipping
from rddm.objectives import Objective, Outputs, Prediction
from rddm.process import at
from rddm.sampling import Callback, Denoiser
from rddm.schedules import Schedule
from rddm.shapes import Images, Times
from rddm.times import Step

SINGULAR = 1e-6
r"""What the official code puts in place of $1 - \bar\alpha_T = 0$, so that SM-N can be asked at t = T."""


def start_from_noise(schedule: Schedule, noise: Images, x_t: Images, x_input: Images, t: Times) -> Images:
    r"""$I_0 = (I_t - \bar\alpha_t I_{in} - \bar\beta_t \epsilon) / (1 - \bar\alpha_t)$, divided by 1e-6 at t = T.

    At t = T nothing of the image is left: the result is rounding error times a million, even for the true noise.
    """
    left = 1 - schedule.alphas_cumsum
    left = torch.cat([left[:-1], torch.full_like(left[-1:], SINGULAR)])
    rest = x_t - at(schedule.alphas_cumsum, t, x_t) * x_input - at(schedule.sqrt_betas2_cumsum, t, x_t) * noise
    return rest / at(left, t, x_t)


@final
class OfficialPredictNoise(Objective):
    """SM-N as the official code has it: it begins at t = T whatever the schedule, and is wrong there."""

    output_names = ("noise",)

    def targets(self, schedule: Schedule, x_start: Images, x_input: Images, noise: Images, t: Times) -> Outputs:
        """The noise."""
        return (noise,)

    def decode(
        self,
        schedule: Schedule,
        outputs: Outputs,
        x_t: Images,
        x_input: Images,
        t: Times,
        clipping: Clipping = UNCLIPPED,
    ) -> Prediction:
        """The clean image by `start_from_noise`; the residual from it."""
        x_start = clipping.start(start_from_noise(schedule, outputs[0], x_t, x_input, t))
        return Prediction(clipping.residual(x_input - x_start, x_input), outputs[0], x_start)


def residual_then_noise(
    denoiser: Denoiser,
    schedule: Schedule,
    x: Images,
    steps: Sequence[Step],
    *,
    callback: Callback | None = None,
) -> Images:
    r"""The official two-stage sampler: the residual goes first, then the noise, over the same times.

    Its first stage ends with $I_t - \bar\alpha_t I_{res} - \bar\beta_t \epsilon$ of the last visited time, which is
    clean already, and its second one takes the noise of all times off that again. `rddm.paths.residual_first` is the
    same idea along a path that ends at the clean image.

    Args:
        denoiser: What is believed at a time.
        schedule: Coefficients.
        x: $I_T$.
        steps: From t to s each, the last one to 0; walked through twice.
        callback: Told after each step.
    """
    alphas, betas = schedule.alphas_cumsum, schedule.sqrt_betas2_cumsum
    for done, (stage, (t, s)) in enumerate(product(("residual", "noise"), steps), start=1):
        pred = denoiser(x, torch.full((x.shape[0],), t, device=x.device))
        if s == 0:
            x = pred.x_start
        elif stage == "residual":
            x = x - (alphas[t] - alphas[s]).item() * pred.res
        else:
            x = x - (betas[t] - betas[s]).item() * pred.noise
        if callback is not None:
            callback(done, 2 * len(steps), x)
    return x
