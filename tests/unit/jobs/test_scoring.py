from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from jobs.evaluate import _patches
from jobs.scoring import before_and_after, mean_figures, restore_and_score, score
from pipelines.shards import Pictures
from rddm.config import ModelConfig, NetworkConfig, SamplingConfig, build_network, build_restorer
from tests.unit.pipelines.pictures import photograph


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_perfect_restoration_scores_best(dtype: Any) -> None:
    clean = photograph(dtype=dtype)
    scored = score("a", clean // 3, clean, clean)
    assert scored.figures["psnr_db"] == float("inf")
    assert scored.figures["ssim"] == pytest.approx(1)
    expected = -10 * np.log10((((clean // 3).astype(float) - clean) ** 2).mean() / np.iinfo(dtype).max ** 2)
    assert scored.figures["input_psnr_db"] == pytest.approx(expected, abs=1e-3)
    assert all(picture.dtype == np.uint8 for picture in scored.pictures)
    assert mean_figures([scored]) == scored.figures
    assert mean_figures([]) == {}
    assert before_and_after([scored, scored]).ndim == 3


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_is_scored_is_what_a_person_gets(dtype: Any) -> None:
    """An untrained residual network, one step: the picture comes back as it went in, in its own bit depth."""
    config = ModelConfig(
        objective="pred_res", network=NetworkConfig(name="tiny"), sampling=SamplingConfig(num_inference_steps=1)
    )
    restorer = build_restorer(config, "pred_res", build_network(config, "pred_res").eval())
    clean = photograph(dtype=dtype)
    scored = restore_and_score(restorer, "a", Pictures(clean // 2, clean), seed=0)
    assert scored.figures["psnr_db"] == pytest.approx(scored.figures["input_psnr_db"], abs=1e-4)


@pytest.mark.parametrize(("size", "count"), [((64, 64), 1), ((20, 150), 2), ((130, 70), 2), ((5, 5), 1)])
def test_patches_are_whole_and_in_range(size: tuple[int, int], count: int) -> None:
    patches = _patches(photograph(*size), 64)
    assert patches.shape == (count, 3, 64, 64)
    assert torch.isfinite(patches).all()
    assert 0 <= patches.min() <= patches.max() <= 1
