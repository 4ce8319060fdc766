from __future__ import annotations

import pytest
import torch

from rddm.clipping import CLIPPINGS
from rddm.ddim import from_ddim
from rddm.objectives import OBJECTIVES, OneOutput
from rddm.process import q_sample
from rddm.schedules import CURVES, Schedule, make_schedule
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
    outputs = objective.targets(schedule, x_start, x_input, noise, times)
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
    outputs = objective.targets(schedule, bright, dark, noise, times)
    official = objective.decode(schedule, outputs, x_t, dark, times, CLIPPINGS["residual"]())
    ours = objective.decode(schedule, outputs, x_t, dark, times, CLIPPINGS["x_start"]())
    torch.testing.assert_close((official.res - (dark - bright)).abs(), torch.full_like(dark, 0.7))
    torch.testing.assert_close(ours.res, dark - bright)


def test_the_noise_alone_serves_from_where_something_is_left_of_the_image() -> None:
    ends_at_one = make_schedule(CURVES["decreasing"](1000), CURVES["increasing"](1000))
    assert OBJECTIVES["pred_noise"]().first_time(ends_at_one) == 997
    assert OBJECTIVES["pred_noise"]().first_time(from_ddim(torch.linspace(0.99, 0.01, 10))) == 10
    assert all(OBJECTIVES[name]().first_time(ends_at_one) == 1000 for name in OBJECTIVES if name != "pred_noise")
    nothing_left = Schedule(
        alphas_cumsum=torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64),
        betas2_cumsum=torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64),
    )
    with pytest.raises(ValueError, match="can be used at no time"):
        OBJECTIVES["pred_noise"]().first_time(nothing_left)


@pytest.mark.parametrize("output", ["res", "noise"])
def test_a_two_output_model_can_be_used_through_either_output(output: str) -> None:
    schedule = make_schedule(CURVES["decreasing"](1000), CURVES["increasing"](1000))
    x_start, x_input, noise = images()
    times = torch.full((2,), 500)
    x_t = q_sample(schedule, x_start, x_input - x_start, times, noise)
    objective = OneOutput(OBJECTIVES["pred_res_noise"](), output)
    outputs = list(objective.targets(schedule, x_start, x_input, noise, times))
    outputs[1 - ["res", "noise"].index(output)] = torch.full_like(x_start, 77.0)  # the other one does not matter
    pred = objective.decode(schedule, tuple(outputs), x_t, x_input, times, CLIPPINGS["none"]())
    torch.testing.assert_close(pred.x_start, x_start, atol=1e-9, rtol=0)
    torch.testing.assert_close(pred.noise, noise, atol=1e-9, rtol=0)


def test_an_output_that_is_not_there_cannot_be_used() -> None:
    with pytest.raises(ValueError, match=r"no output 'res'.*\['noise'\]"):
        OneOutput(OBJECTIVES["pred_x0_noise"](), "res")
