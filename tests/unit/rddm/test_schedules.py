"""Schedules: what every one must be, closed forms, DDIM's, and those of related methods."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rddm import relatives  # noqa: F401  # enrols its schedules
from rddm.ddim import betas, ddim, from_ddim, to_ddim
from rddm.schedules import CURVES, SCHEDULES, Schedule, make_schedule, power

OPTIONS: dict[str, dict[str, object]] = {
    "ddim": {"beta_end": 0.99},
    "tables": {"alphas_cumsum": [0, 0.25, 0.5, 0.5, 1.0], "betas2_cumsum": [0, 0, 0.5, 1.0, 2.0]},
}


@pytest.mark.parametrize("name", list(CURVES))
@pytest.mark.parametrize("steps", [2, 5, 1000])
@pytest.mark.parametrize("exponent", [0.0, 0.3, 1.0, 2.5])
def test_increments_are_shares_of_one(name: str, steps: int, exponent: float) -> None:
    increments = CURVES[name](steps, exponent)
    assert increments.shape == (steps,)
    assert increments.dtype == torch.float64
    assert (increments >= 0).all()
    assert increments.sum().item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_a_schedule_rises_from_the_clean_image(name: str) -> None:
    schedule = SCHEDULES[name](4, **OPTIONS.get(name, {}))
    assert schedule.num_train_timesteps == 4
    for table in (schedule.alphas_cumsum, schedule.betas2_cumsum):
        assert table[0] == 0
        assert (table.diff() >= 0).all()
    assert schedule.alphas_cumsum[-1] <= 1 + 1e-6
    assert schedule.alphas_cumsum[-1] > 0.8


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


def test_both_curves_are_chosen_independently() -> None:
    schedule = SCHEDULES["curves"](10, alphas="uniform", betas2="decreasing", betas2_exponent=2.0)
    torch.testing.assert_close(schedule.alphas_cumsum.diff(), torch.full((10,), 0.1, dtype=torch.float64))
    torch.testing.assert_close(schedule.betas2_cumsum.diff(), power(10, 2.0, falling=True))


def test_ddim_conversion_keeps_signal_and_noise() -> None:
    products = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    schedule = from_ddim(products)
    torch.testing.assert_close((1 - schedule.alphas_cumsum[1:]) ** 2, products)
    torch.testing.assert_close(schedule.betas2_cumsum[1:], 1 - products)
    torch.testing.assert_close(to_ddim(schedule), products)


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=20))
def test_any_ddim_comes_back_from_its_conversion(products: list[float]) -> None:
    falling = torch.tensor(sorted(products, reverse=True), dtype=torch.float64)
    torch.testing.assert_close(to_ddim(from_ddim(falling)), falling, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_betas_rise_and_the_signal_falls(kind: str) -> None:
    steps = betas(kind, 100)
    assert ((steps > 0) & (steps < 1)).all()
    assert (steps.diff() > 0).sum() > 95
    assert (ddim(100, beta_schedule=kind).alphas_cumsum.diff() > 0).all()


def test_a_rescaled_ddim_ends_without_signal() -> None:
    schedule = ddim(50, rescale_betas_zero_snr=True)
    assert schedule.alphas_cumsum[-1] == 1
    assert ddim(50).alphas_cumsum[-1] < 1
    torch.testing.assert_close(schedule.alphas_cumsum[1], ddim(50).alphas_cumsum[1], atol=1e-6, rtol=0)


def test_betas_of_one_s_own() -> None:
    torch.testing.assert_close(
        to_ddim(ddim(2, trained_betas=[0.1, 0.2])), torch.tensor([0.9, 0.72], dtype=torch.float64), atol=1e-6, rtol=0
    )
    with pytest.raises(ValueError, match="there are 2 betas; expected T = 3"):
        ddim(3, trained_betas=[0.1, 0.2])
    with pytest.raises(ValueError, match="beta_schedule is 'sigmoid'"):
        ddim(3, beta_schedule="sigmoid")


def test_a_schedule_of_restoration_has_no_ddim_and_says_where() -> None:
    with pytest.raises(ValueError, match=r"has no DDIM: at t = \d+ the noise variance is .* DDIM ties it to"):
        to_ddim(make_schedule(CURVES["decreasing"](10), CURVES["increasing"](10)))


def test_resshift_shifts_geometrically() -> None:
    schedule = SCHEDULES["resshift"](15, kappa=2.0)
    shift = schedule.alphas_cumsum[1:]
    assert shift[0].sqrt().item() * 2.0 == pytest.approx(0.04)
    assert shift[-1].item() == pytest.approx(0.999)
    torch.testing.assert_close(schedule.betas2_cumsum, 4 * schedule.alphas_cumsum)
    growth = (shift[1:] / shift[0]).log() / math.log(0.999 / shift[0].item())
    torch.testing.assert_close(growth, (torch.arange(1, 15, dtype=torch.float64) / 14) ** 0.3)


def test_ir_sde_reverts_to_its_mean() -> None:
    schedule = SCHEDULES["ir_sde"](100, noise_level=0.4)
    kept = 1 - schedule.alphas_cumsum
    torch.testing.assert_close(schedule.betas2_cumsum, 0.16 * (1 - kept**2))


def test_drdd_removes_the_residual_at_a_fixed_noise() -> None:
    schedule = SCHEDULES["drdd"](10, terminal_noise_variance=0.5, noise_share=0.4)
    assert (schedule.alphas_cumsum[:5] == 0).all()
    assert (schedule.betas2_cumsum[4:] == 0.5).all()
    for share in (0.0, 1.0):
        with pytest.raises(ValueError, match="expected some for each part"):
            SCHEDULES["drdd"](10, noise_share=share)


def test_rectified_flow_is_straight() -> None:
    schedule = SCHEDULES["rectified_flow"](8)
    torch.testing.assert_close(schedule.alphas_cumsum, torch.arange(9, dtype=torch.float64) / 8)
    assert not schedule.betas2_cumsum.any()


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


def test_tables_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="has 2 entries; expected T"):
        SCHEDULES["tables"](3, alphas_cumsum=[0, 1], betas2_cumsum=[0, 1])


def test_negative_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="terminal_noise_variance is -1"):
        make_schedule(CURVES["uniform"](5), CURVES["uniform"](5), terminal_noise_variance=-1)


@pytest.mark.parametrize("name", ["decreasing_zero_based", "resshift"])
def test_a_schedule_that_needs_two_times_says_so(name: str) -> None:
    build = CURVES[name] if name in CURVES else SCHEDULES[name]
    with pytest.raises(ValueError, match="needs 2 or more"):
        build(1)
