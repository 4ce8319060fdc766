"""A denoiser that knows the answer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rddm.clipping import CLIPPINGS
from rddm.objectives import OBJECTIVES, Prediction
from rddm.process import at
from rddm.schedules import Schedule


@dataclass(frozen=True)
class Oracle:
    """Gives an objective's true outputs for images it knows, and lets the objective decode them."""

    schedule: Schedule
    objective: str
    clipping: str
    x_start: Tensor
    x_input: Tensor

    def __call__(self, x_t: Tensor, t: Tensor) -> Prediction:
        alpha_bar = at(self.schedule.alphas_cumsum, t, x_t)
        beta_bar = at(self.schedule.sqrt_betas2_cumsum, t, x_t)
        # Where there is no noise, nothing may depend on it: any value must do.
        scale = torch.where(beta_bar > 0, beta_bar, torch.inf)
        noise = (x_t - self.x_start - alpha_bar * (self.x_input - self.x_start)) / scale
        objective = OBJECTIVES[self.objective]()
        outputs = objective.targets(self.schedule, self.x_start, self.x_input, noise, t)
        return objective.decode(self.schedule, outputs, x_t, self.x_input, t, CLIPPINGS[self.clipping]())


def images(batch: int = 2, seed: int = 0, size: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """Clean and degraded images in [-1, 1] whose residuals leave [-1, 1], and noise; float64."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, 3, size, size)
    x_start = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
    x_input = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
    return x_start, x_input, torch.randn(shape, generator=generator, dtype=torch.float64)
