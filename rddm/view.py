"""What a network sees of a sample: which images, and how it is told the time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from rddm.schedules import Schedule
from rddm.shapes import Images, Stacked, Times
from rddm.times import TimeSignal, relative

INPUTS = ("x_t", "x_input", "mask")
"""Images that a network may see: the noisy one and the degraded one in [-1, 1], the mask in [0, 1]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """The network's side of the method: images in, channels after channels, and the time.

    Attributes:
        inputs: Names in `INPUTS`, in order; restoration sees `x_t` and `x_input`, generation `x_t` alone.
        signal: How the time is told.
        num_train_timesteps: T of the training; sampling may follow a path with other times.
    """

    inputs: tuple[str, ...] = ("x_t", "x_input")
    signal: TimeSignal = relative
    num_train_timesteps: int = 1000

    def ask(
        self, net: nn.Module, schedule: Schedule, x_t: Images, x_input: Images, t: Times, mask: Images | None = None
    ) -> Stacked:
        """The network's outputs, channels after channels.

        Args:
            net: `(stacked images, time) -> outputs`.
            schedule: Coefficients.
            x_t: In [-1, 1] and beyond.
            x_input: In [-1, 1].
            t: The paper's times.
            mask: In [0, 1], of the images' shape; only where `inputs` names it.

        Raises:
            ValueError: `inputs` names a mask and none is given.
        """
        given = {"x_t": x_t, "x_input": x_input, "mask": mask}
        seen = [image for name in self.inputs if (image := given[name]) is not None]
        if len(seen) < len(self.inputs):
            raise ValueError("the network sees a mask, and none was given; expected one in [0, 1] for each image")
        outputs: Stacked = net(torch.cat(seen, dim=1), self.signal(schedule, t, self.num_train_timesteps))
        return outputs


RESTORATION = View()
"""The default: noisy and degraded image, t / T."""
