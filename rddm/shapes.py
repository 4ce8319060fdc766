"""The shapes that the method speaks of."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

Images = Float[Tensor, "batch channels height width"]
"""A batch of images; the docstring beside it says the range."""

Stacked = Float[Tensor, "batch stacked height width"]
"""Several images of a sample, channels after channels: what a network takes or gives."""

Times = Int[Tensor, " batch"]
"""The paper's t for each image of a batch, in 0..T; t = 0 is the clean image."""

Table = Float[Tensor, " grid"]
"""A coefficient for every t = 0..T, float64."""

PerImage = Float[Tensor, " batch"]
"""One number for each image of a batch."""
