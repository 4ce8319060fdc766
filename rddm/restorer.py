"""The thing a user holds: degraded images in, restored images out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from rddm.images import crop_to, pad_to_multiple, to_signed, to_unit
from rddm.objectives import Clipping, Objective, Prediction
from rddm.sampling import Callback, Sampler, keyed_noise
from rddm.schedules import Schedule
from rddm.shapes import Images, Times
from rddm.training import network_input, relative_time


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Restorer:
    """A trained network and everything that is needed to restore with it.

    Attributes:
        net: The network, in evaluation mode.
        schedule: Coefficients.
        objective: What its outputs mean.
        clipping: What happens where a prediction leaves the range of images.
        sampler: The way back.
        times: The grid that the sampler visits, from T to 0.
        eta: Share of the ancestral variance that is drawn anew at each step.
    """

    net: nn.Module
    schedule: Schedule
    objective: Objective
    clipping: Clipping
    sampler: Sampler
    times: tuple[int, ...]
    eta: float

    @torch.no_grad()
    def restore(self, x_input: Images, *, seeds: Sequence[int], callback: Callback | None = None) -> Images:
        """Restore a batch of degraded images of any height and width.

        Args:
            x_input: In [0, 1].
            seeds: One for each image; all randomness of an image is a function of its seed, not of its batch.
            callback: Told after each step; the images that it sees are padded and in the network's range.

        Returns:
            In [0, 1], the same shape.

        Raises:
            ValueError: The number of seeds is not the number of images.
        """
        if len(seeds) != len(x_input):
            raise ValueError(f"{len(seeds)} seeds for {len(x_input)} images; expected one for each")
        height, width = x_input.shape[-2:]
        padded = pad_to_multiple(to_signed(x_input), int(getattr(self.net, "size_multiple", 1)))
        noise = keyed_noise([torch.Generator().manual_seed(seed) for seed in seeds])

        def denoiser(x_t: Images, t: Times) -> Prediction:
            return self.predict(x_t, padded, t)

        start = padded + self.schedule.terminal_noise_variance**0.5 * noise(padded)
        restored = self.sampler(
            denoiser, self.schedule, start, self.times, noise=noise, eta=self.eta, callback=callback
        )
        return crop_to(to_unit(restored), height, width)

    def predict(self, x_t: Images, x_input: Images, t: Times) -> Prediction:
        """What the network believes at time t; images in [-1, 1]."""
        outputs = self.net(network_input(x_t, x_input), relative_time(self.schedule, t))
        parts = tuple(outputs.chunk(self.objective.num_outputs, dim=1))
        return self.objective.decode(self.schedule, parts, x_t, x_input, t, self.clipping)
