"""The thing a user holds: degraded images in, restored images out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from rddm.clipping import Clipping
from rddm.images import crop_to, equalise, pad_to_multiple, to_signed, to_unit
from rddm.objectives import Objective, Prediction
from rddm.sampling import Callback, Noise, Sampler, Variance, keyed_noise, rddm_variance
from rddm.schedules import Schedule
from rddm.shapes import Images, Times
from rddm.tasks import Restoration, Task
from rddm.times import Step
from rddm.view import RESTORATION, View


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Restorer:
    """A trained network and everything that is needed to restore or generate with it.

    Attributes:
        net: The network, in evaluation mode.
        schedule: Coefficients, along the path that sampling takes.
        objective: What the outputs mean.
        clipping: What happens where a prediction leaves the range of images.
        sampler: The way back.
        steps: The steps that the sampler takes.
        eta: Share of the ancestral variance that is drawn anew at each step.
        variance: What that share is of.
        view: What the network sees.
        start_noise: Standard deviation of the noise that sampling begins with; None takes the schedule's.
        equalise_input: Whether the histograms of degraded images are equalised first.
        task: What it was trained for.
        image_channels: Channels of an image.
    """

    net: nn.Module
    schedule: Schedule
    objective: Objective
    clipping: Clipping
    sampler: Sampler
    steps: tuple[Step, ...]
    eta: float
    variance: Variance = rddm_variance
    view: View = RESTORATION
    start_noise: float | None = None
    equalise_input: bool = False
    task: Task = field(default_factory=Restoration)
    image_channels: int = 3

    @torch.no_grad()
    def restore(
        self, x_input: Images, *, seeds: Sequence[int], mask: Images | None = None, callback: Callback | None = None
    ) -> Images:
        """Restore a batch of degraded images of any height and width.

        Args:
            x_input: In [0, 1].
            seeds: One for each image; all randomness of an image is a function of its seed, not of its batch.
            mask: In [0, 1], the same shape; only for models that see one.
            callback: Told after each step; the images that it sees are padded and in the network's range.

        Returns:
            In [0, 1], the same shape.

        Raises:
            ValueError: The number of seeds is not the number of images, or the mask is missing.
        """
        padded_mask = None if mask is None else self._padded(mask)
        seen = equalise(x_input) if self.equalise_input else x_input
        return self._sample(to_signed(seen), padded_mask, seeds, callback)

    @torch.no_grad()
    def generate(
        self, shape: tuple[int, int, int], *, seeds: Sequence[int], callback: Callback | None = None
    ) -> Images:
        """Draw images out of noise alone (I_in = 0).

        Args:
            shape: Channels, height and width of an image.
            seeds: One for each image.
            callback: As in `restore`.

        Returns:
            In [0, 1].
        """
        device = next(self.net.parameters()).device
        return self._sample(torch.zeros(len(seeds), *shape, device=device), None, seeds, callback)

    def predict(self, x_t: Images, x_input: Images, t: Times, mask: Images | None = None) -> Prediction:
        """What the network believes at time t; images in [-1, 1]."""
        outputs = self.view.ask(self.net, self.schedule, x_t, x_input, t, mask)
        parts = tuple(outputs.chunk(self.objective.num_outputs, dim=1))
        return self.objective.decode(self.schedule, parts, x_t, x_input, t, self.clipping)

    def start(self, x_input: Images, noise: Noise) -> Images:
        r"""Where sampling begins, $I_{in} + \bar\beta_t \epsilon$ at the first step's t; in [-1, 1] and beyond."""
        level = self.schedule.sqrt_betas2_cumsum[self.steps[0][0]].item()
        return x_input + (level if self.start_noise is None else self.start_noise) * noise(x_input)

    def _sample(self, x_input: Images, mask: Images | None, seeds: Sequence[int], callback: Callback | None) -> Images:
        if len(seeds) != len(x_input):
            raise ValueError(f"{len(seeds)} seeds for {len(x_input)} images; expected one for each")
        height, width = x_input.shape[-2:]
        padded = self._padded(x_input)
        noise = keyed_noise([torch.Generator().manual_seed(seed) for seed in seeds])

        def denoiser(x_t: Images, t: Times) -> Prediction:
            return self.predict(x_t, padded, t, mask)

        drawn = self.sampler(
            denoiser,
            self.schedule,
            self.start(padded, noise),
            self.steps,
            noise=noise,
            eta=self.eta,
            variance=self.variance,
            callback=callback,
        )
        return crop_to(to_unit(drawn), height, width)

    def _padded(self, images: Images) -> Tensor:
        return pad_to_multiple(images, int(getattr(self.net, "size_multiple", 1)))
