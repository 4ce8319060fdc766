"""What happens where a prediction leaves the range of images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

from rddm.registry import Registry
from rddm.shapes import Images


class Clipping(ABC):
    """A rule for predictions outside the range of images.

    Args:
        limit: Images lie in [-limit, limit].
    """

    def __init__(self, limit: float = 1.0) -> None:
        """Keep the limit."""
        self.limit = limit

    @abstractmethod
    def residual(self, res: Images, x_input: Images) -> Images:
        """The residual that is believed, before anything else is derived from it."""

    @abstractmethod
    def start(self, x_start: Images) -> Images:
        """The clean image that is believed."""


CLIPPINGS: Registry[type[Clipping]] = Registry("clipping")


@CLIPPINGS.register("x_start")
@final
class ClipStart(Clipping):
    """Clamp the clean image to its range, and the residual to what leads to such an image."""

    def residual(self, res: Images, x_input: Images) -> Images:
        """The residual whose clean image x_input - res lies in the range."""
        return x_input - (x_input - res).clamp(-self.limit, self.limit)

    def start(self, x_start: Images) -> Images:
        """Clamped."""
        return x_start.clamp(-self.limit, self.limit)


@CLIPPINGS.register("residual")
@final
class ClipResidual(Clipping):
    """Clamp residual and clean image each to the range of images, as the official code does.

    A true residual lies in [-2, 2]: where |res| > 1 this is wrong by |res| - 1 even for a perfect network.
    """

    def residual(self, res: Images, x_input: Images) -> Images:
        """Clamped."""
        return res.clamp(-self.limit, self.limit)

    def start(self, x_start: Images) -> Images:
        """Clamped."""
        return x_start.clamp(-self.limit, self.limit)


@CLIPPINGS.register("none")
@final
class ClipNothing(Clipping):
    """Leave the prediction as it is."""

    def residual(self, res: Images, x_input: Images) -> Images:
        """As it is."""
        return res

    def start(self, x_start: Images) -> Images:
        """As it is."""
        return x_start


UNCLIPPED = ClipNothing()
