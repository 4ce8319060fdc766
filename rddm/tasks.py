"""What RDDM is used for: each task says what stands for the degraded image, and what the network sees.

One forward process serves them all (paper, sections 3.1 and 5): it leads from the clean image to *some* image, which is
the degraded one in restoration, nothing at all in generation, the image with a hole in inpainting, and an image of
another domain in translation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from rddm.registry import Registry

Image = Float[Tensor, "channels height width"]
"""One image; x_start and x_input in [-1, 1], a mask in [0, 1]."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """What one training sample consists of; images in [-1, 1], the mask in [0, 1]."""

    x_start: Image
    x_input: Image
    mask: Image | None = None


class Task(ABC):
    """A use of the method.

    Attributes:
        inputs: What the network sees unless a config says otherwise; names in `rddm.view.INPUTS`.
        unpaired: Whether a sample's two images come from different rows of the data set.
        needs_mask: Whether every picture comes with a mask.
        has_truth: Whether a sample's clean image is what should come out, so that both can be compared.
    """

    inputs: ClassVar[tuple[str, ...]]
    unpaired: ClassVar[bool] = False
    needs_mask: ClassVar[bool] = False
    has_truth: ClassVar[bool] = True

    @abstractmethod
    def sample(self, sample: Sample, generator: torch.Generator) -> Sample:
        """A training sample from what the data set holds.

        Args:
            sample: Clean image, its partner, and its mask if the data set has masks.
            generator: Source of what is drawn, keyed to the sample.
        """


TASKS: Registry[type[Task]] = Registry("task")


@TASKS.register("restoration")
@final
class Restoration(Task):
    """A degraded image becomes a clean one."""

    inputs = ("x_t", "x_input")

    def sample(self, sample: Sample, generator: torch.Generator) -> Sample:
        """As the data set has it."""
        return Sample(sample.x_start, sample.x_input)


@TASKS.register("masked_restoration")
@final
class MaskedRestoration(Task):
    """Restoration with a mask of what is degraded as a third input, such as a shadow's (paper, section 5.1)."""

    inputs = ("x_t", "x_input", "mask")
    needs_mask = True

    def sample(self, sample: Sample, generator: torch.Generator) -> Sample:
        """As the data set has it.

        Raises:
            ValueError: There is no mask.
        """
        if sample.mask is None:
            raise ValueError("the sample has no mask; expected one of the image's shape in [0, 1]")
        return sample


@TASKS.register("generation")
@final
class Generation(Task):
    """An image out of noise alone: I_in = 0, so that the residual is the image itself with its sign turned."""

    inputs = ("x_t",)
    has_truth = False

    def sample(self, sample: Sample, generator: torch.Generator) -> Sample:
        """The clean image, and nothing beside it."""
        return Sample(sample.x_start, torch.zeros_like(sample.x_start))


@TASKS.register("inpainting")
@final
class Inpainting(Task):
    """An image whose hole is filled; the paper's network sees the noisy image alone, `model.inputs` may add to that."""

    inputs = ("x_t",)

    def sample(self, sample: Sample, generator: torch.Generator) -> Sample:
        """The clean image with a random rectangle of it gone; a mask of the data set is taken in its place."""
        mask = random_rectangle(sample.x_start, generator) if sample.mask is None else sample.mask
        return Sample(sample.x_start, masked(sample.x_start, mask), mask)


@TASKS.register("translation")
@final
class Translation(Task):
    """An image of one domain becomes one of another; the two of a sample show different things (paper, section 5.3)."""

    inputs = ("x_t",)
    unpaired = True
    has_truth = False

    def sample(self, sample: Sample, generator: torch.Generator) -> Sample:
        """As they were drawn."""
        return Sample(sample.x_start, sample.x_input)


def masked(image: Tensor, mask: Tensor) -> Tensor:
    """The image with 0, the middle of its range, where the mask is 1."""
    return image * (1 - mask)


def random_rectangle(like: Image, generator: torch.Generator) -> Image:
    """A mask that is 1 in a rectangle of a quarter to a half of each side, and 0 around it."""
    mask = torch.zeros_like(like)
    spans = []
    for side in like.shape[-2:]:
        length = int(torch.randint(max(1, side // 4), max(2, side // 2 + 1), (), generator=generator))
        begin = int(torch.randint(0, side - length + 1, (), generator=generator))
        spans.append(slice(begin, begin + length))
    mask[..., spans[0], spans[1]] = 1
    return mask
