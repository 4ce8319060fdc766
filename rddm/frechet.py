"""The Fréchet distance between two sets of images, in the feature space of a named extractor.

Only with the standard Inception weights is it the FID of the literature. Every extractor here has another name, and
every figure carries it: distances by different extractors cannot be compared.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from rddm.registry import Registry
from rddm.shapes import Images

Features = Float[Tensor, "batch features"]


class FeatureExtractor(nn.Module):
    """Images in [0, 1] -> `num_features` numbers each."""

    num_features: int


FEATURE_EXTRACTORS: Registry[Callable[[], FeatureExtractor]] = Registry("feature extractor")


@FEATURE_EXTRACTORS.register("random_conv64")
class RandomConv64(FeatureExtractor):
    """64 features of a fixed, untrained convolutional network (seed 0).

    It needs no weights from elsewhere and sees colour, brightness, contrast and texture at three scales, but not what
    a picture shows. Good for ordering runs of one project; not FID.
    """

    num_features = 64

    def __init__(self) -> None:
        """Draw the weights; they are the same everywhere."""
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        widths = (3, 16, 16, 32)
        for index in range(3):
            shape = (widths[index + 1], widths[index], 3, 3)
            weight = torch.randn(shape, generator=generator) / (shape[1] * 9) ** 0.5
            self.register_buffer(f"weight_{index}", weight)

    def forward(self, images: Images) -> Features:
        """Mean of each channel at each scale: 16 + 16 + 32."""
        hidden, features = images * 2 - 1, []
        for index in range(3):
            hidden = F.leaky_relu(F.conv2d(hidden, self.get_buffer(f"weight_{index}"), stride=2, padding=1), 0.1)
            features.append(hidden.mean(dim=(2, 3)))
        return torch.cat(features, dim=1)


class _Given(nn.Module):
    """Stands in torchmetrics' place for an extractor: the features are there already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Features) -> Features:
        return features


def frechet_distance(features: Features, reference: Float[Tensor, "other features"]) -> float:
    """Distance between the Gaussians that fit two sets of features, 0 for equal sets (Heusel et al. 2017).

    Raises:
        ValueError: A set has fewer than two members.
    """
    if min(len(features), len(reference)) < 2:
        raise ValueError(f"sets of {len(features)} and {len(reference)} feature vectors; expected two or more in each")
    metric = FrechetInceptionDistance(feature=_Given(features.shape[1]))
    metric.update(reference, real=True)
    metric.update(features, real=False)
    return float(metric.compute())
