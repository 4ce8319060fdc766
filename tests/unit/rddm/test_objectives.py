from __future__ import annotations

import pytest
import torch

from rddm.objectives import CLIPPINGS, OBJECTIVES
from rddm.process import q_sample
from rddm.schedules import CURVES, make_schedule
from tests.unit.rddm.oracle import images


@pytest.mark.parametrize("name", list(OBJECTIVES))
@pytest.mark.parametrize("clipping", ["x_start", "none"])
@pytest.mark.parametrize("t", [1, 37, 500, 999])
def test_decoding_the_targets_recovers_all_unknowns(name: str, clipping: str, t: int) -> None:
    schedule = make_schedule(CURVES["decreasing"](1000), CURVES["increasing"](1000))
    x_start, x_input, noise = images()
    times = torch.full((2,), t)
    x_t = q_sample(schedule, x_start, x_input - x_start, times, noise)
    objective = OBJECTIVES[name]()
    outputs = objective.targets(x_start, x_input, noise)
    assert len(outputs) == objective.num_outputs
    pred = objective.decode(schedule, outputs, x_t, x_input, times, CLIPPINGS[clipping]())
    torch.testing.assert_close(pred.res, x_input - x_start, atol=1e-6, rtol=0)
    torch.testing.assert_close(pred.noise, noise, atol=1e-6, rtol=0)
    torch.testing.assert_close(pred.x_start, x_start, atol=1e-6, rtol=0)


def test_official_clipping_is_wrong_where_the_residual_is_large_and_ours_is_not() -> None:
    schedule = make_schedule(CURVES["decreasing"](10), CURVES["increasing"](10))
    dark, bright = torch.full((1, 3, 2, 2), -0.9), torch.full((1, 3, 2, 2), 0.8)
    times, noise = torch.tensor([5]), torch.zeros(1, 3, 2, 2)
    x_t = q_sample(schedule, bright, dark - bright, times, noise)
    objective = OBJECTIVES["pred_res"]()
    outputs = objective.targets(bright, dark, noise)
    official = objective.decode(schedule, outputs, x_t, dark, times, CLIPPINGS["residual"]())
    ours = objective.decode(schedule, outputs, x_t, dark, times, CLIPPINGS["x_start"]())
    torch.testing.assert_close((official.res - (dark - bright)).abs(), torch.full_like(dark, 0.7))
    torch.testing.assert_close(ours.res, dark - bright)


def test_an_objective_says_which_schedule_it_cannot_serve() -> None:
    ends_at_one = make_schedule(CURVES["decreasing"](10), CURVES["increasing"](10))
    noiseless = make_schedule(CURVES["decreasing"](10), CURVES["increasing"](10), terminal_noise_variance=0)
    with pytest.raises(ValueError, match="pred_noise cannot start at t = T"):
        OBJECTIVES["pred_noise"]().check(ends_at_one)
    with pytest.raises(ValueError, match="terminal_noise_variance above 0"):
        OBJECTIVES["pred_res"]().check(noiseless)
    OBJECTIVES["pred_res_noise"]().check(noiseless)
