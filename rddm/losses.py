"""The distance between an output and its target, a number for each image."""

from __future__ import annotations

from collections.abc import Callable

from rddm.registry import Registry
from rddm.shapes import Images, PerImage

Loss = Callable[[Images, Images], PerImage]
LOSSES: Registry[Loss] = Registry("loss")


@LOSSES.register("l1")
def l1(output: Images, target: Images) -> PerImage:
    """Mean absolute difference; the paper's choice for restoration."""
    return (output - target).abs().mean(dim=(1, 2, 3))


@LOSSES.register("l2")
def l2(output: Images, target: Images) -> PerImage:
    """Mean squared difference; the paper's choice for generation, inpainting and translation."""
    return (output - target).square().mean(dim=(1, 2, 3))
