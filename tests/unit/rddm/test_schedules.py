from __future__ import annotations

import pytest
import torch

from rddm.schedules import CURVES, Schedule, from_ddim, make_schedule, power


@pytest.mark.parametrize("name", list(CURVES))
@pytest.mark.parametrize("steps", [2, 5, 1000])
def test_increments_are_shares_of_one(name: str, steps: int) -> None:
    increments = CURVES[name](steps)
    assert increments.shape == (steps,)
    assert increments.dtype == torch.float64
    assert (increments >= 0).all()
    assert increments.sum().item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("steps", [1, 7, 1000])
def test_the_linear_curves_have_the_closed_forms(steps: int) -> None:
    schedule = make_schedule(CURVES["decreasing"](steps), CURVES["increasing"](steps), terminal_noise_variance=0.01)
    t = torch.arange(steps + 1, dtype=torch.float64)
    alphas = t * (2 * steps + 1 - t) / (steps * (steps + 1))
    betas2 = 0.01 * t * (t + 1) / (steps * (steps + 1))
    torch.testing.assert_close(schedule.alphas_cumsum, alphas, atol=1e-12, rtol=0)
    torch.testing.assert_close(schedule.betas2_cumsum, betas2, atol=1e-12, rtol=0)
    assert schedule.terminal_noise_variance == pytest.approx(0.01)
    assert schedule.num_train_timesteps == steps


def test_power_zero_is_uniform() -> None:
    torch.testing.assert_close(power(10, 0.0), CURVES["uniform"](10))


def test_ddim_conversion_keeps_signal_and_noise() -> None:
    products = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    schedule = from_ddim(products)
    torch.testing.assert_close((1 - schedule.alphas_cumsum[1:]) ** 2, products)
    torch.testing.assert_close(schedule.betas2_cumsum[1:], 1 - products)


@pytest.mark.parametrize(
    ("alphas", "betas2", "message"),
    [
        ([0, 0.5, 0.4], [0, 0.5, 1], "alphas_cumsum falls at t = 2"),
        ([0, 0.5, 1], [0.1, 0.5, 1], "betas2_cumsum begins with 0.1"),
        ([0, 0.5, 1.5], [0, 0.5, 1], "expected at most 1"),
        ([0, float("nan"), 1], [0, 0.5, 1], "finite"),
    ],
)
def test_a_table_that_is_none_is_refused(alphas: list[float], betas2: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Schedule(
            alphas_cumsum=torch.tensor(alphas, dtype=torch.float64),
            betas2_cumsum=torch.tensor(betas2, dtype=torch.float64),
        )


def test_negative_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="terminal_noise_variance is -1"):
        make_schedule(CURVES["uniform"](5), CURVES["uniform"](5), terminal_noise_variance=-1)
