from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from jaxtyping import TypeCheckError
from skimage import metrics as reference_metrics

from rddm.frechet import FEATURE_EXTRACTORS, frechet_distance
from rddm.metrics import METRICS


def pictures(batch: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(batch, 3, 40, 56, generator=generator)
    clean = torch.nn.functional.avg_pool2d(clean, 5, stride=1, padding=2)
    return clean, (clean + 0.05 * torch.randn(clean.shape, generator=generator)).clamp(0, 1)


@pytest.mark.parametrize("name", list(METRICS))
def test_identical_images_give_the_best_and_worse_ones_a_worse_value(name: str) -> None:
    clean, noisy = pictures()
    metric = METRICS[name]
    best, worse, worst = metric(clean, clean), metric(noisy, clean), metric(noisy.flip(3), clean)
    assert best.shape == (3,)
    assert best.tolist() == pytest.approx([metric.best] * 3)
    sign = 1 if metric.higher_is_better else -1
    assert (sign * best > sign * worse).all()
    assert (sign * worse > sign * worst).all()


@pytest.mark.parametrize("name", list(METRICS))
def test_images_of_different_shape_are_refused(name: str) -> None:
    with pytest.raises((ValueError, TypeCheckError)):  # the second while tests run, the first in production
        METRICS[name](torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 17))


def test_psnr_and_ssim_agree_with_scikit_image() -> None:
    clean, noisy = pictures()
    for index in range(len(clean)):
        a, b = (image[index].permute(1, 2, 0).double().numpy() for image in (clean, noisy))
        assert METRICS["psnr_db"](noisy, clean)[index].item() == pytest.approx(
            reference_metrics.peak_signal_noise_ratio(a, b, data_range=1), abs=1e-3
        )
        # scikit-image's window is cut at 3.5 sigma, as Wang's is; it leaves the border out by itself.
        reference = reference_metrics.structural_similarity(
            a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1, channel_axis=2
        )
        assert METRICS["ssim"](noisy, clean)[index].item() == pytest.approx(reference, abs=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (7, 5)])
def test_small_pictures_have_figures_too(size: tuple[int, int]) -> None:
    image = torch.rand(1, 3, *size)
    for name, metric in METRICS.items():
        assert metric(image, image).item() == pytest.approx(metric.best), name


@pytest.mark.parametrize("name", list(FEATURE_EXTRACTORS))
def test_the_distance_is_that_of_two_gaussians(name: str) -> None:
    extractor = FEATURE_EXTRACTORS[name]()
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(200, 3, 32, 32, generator=generator)
    features, reference = extractor(images[:100] ** 2), extractor(images[100:])
    assert features.shape == (100, extractor.num_features)
    a, b = features.double().numpy(), reference.double().numpy()
    root = scipy.linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    assert frechet_distance(features, reference) == pytest.approx(expected, abs=1e-3)
    assert frechet_distance(reference, reference) == pytest.approx(0, abs=1e-4)
    assert torch.equal(features, FEATURE_EXTRACTORS[name]()(images[:100] ** 2)), "the same everywhere"


def test_one_vector_makes_no_gaussian() -> None:
    with pytest.raises(ValueError, match="two or more"):
        frechet_distance(torch.zeros(1, 4), torch.zeros(5, 4))
