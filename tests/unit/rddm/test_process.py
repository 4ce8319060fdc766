"""The algebra of residual, noise and clean image, on any numbers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rddm.objectives import OBJECTIVES, Prediction
from rddm.process import noise_from_residual, posterior, q_sample, start_from_both, start_from_noise
from rddm.sampling import SAMPLERS, VARIANCES, ddim_variance, rddm_variance
from rddm.schedules import Schedule
from tests.unit.rddm.oracle import images

AMOUNTS = st.floats(0.0, 0.95)
VARIANCE = st.floats(0.01, 9.0)


def two_levels(alphas: tuple[float, float], betas2: tuple[float, float]) -> Schedule:
    """A schedule with t = 1 and t = 2 at any two rising levels."""
    return Schedule(
        alphas_cumsum=torch.tensor([0.0, *sorted(alphas)], dtype=torch.float64),
        betas2_cumsum=torch.tensor([0.0, *sorted(betas2)], dtype=torch.float64),
    )


LEVELS = st.builds(two_levels, st.tuples(AMOUNTS, AMOUNTS), st.tuples(VARIANCE, VARIANCE))


@given(schedule=LEVELS, seed=st.integers(0, 99), scale=st.floats(0.0, 3.0))
def test_each_unknown_follows_from_the_others(schedule: Schedule, seed: int, scale: float) -> None:
    """Also where residuals are far beyond [-1, 1]."""
    x_start, x_input, noise = images(seed=seed, size=2)
    x_input = x_start + scale * (x_input - x_start)
    t = torch.tensor([1, 2])
    x_t = q_sample(schedule, x_start, x_input - x_start, t, noise)
    torch.testing.assert_close(
        noise_from_residual(schedule, x_input - x_start, x_t, x_input, t), noise, atol=1e-9, rtol=0
    )
    torch.testing.assert_close(start_from_noise(schedule, noise, x_t, x_input, t), x_start, atol=1e-9, rtol=0)
    torch.testing.assert_close(start_from_both(schedule, x_input - x_start, noise, x_t, t), x_start, atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", list(OBJECTIVES))
@given(schedule=LEVELS, seed=st.integers(0, 99))
def test_decoding_the_targets_recovers_all_unknowns_at_any_level(name: str, schedule: Schedule, seed: int) -> None:
    x_start, x_input, noise = images(seed=seed, size=2)
    t = torch.tensor([1, 2])
    x_t = q_sample(schedule, x_start, x_input - x_start, t, noise)
    objective = OBJECTIVES[name]()
    pred = objective.decode(schedule, objective.targets(schedule, x_start, x_input, noise, t), x_t, x_input, t)
    for found, true in [(pred.res, x_input - x_start), (pred.noise, noise), (pred.x_start, x_start)]:
        torch.testing.assert_close(found, true, atol=1e-8, rtol=0)


@given(schedule=LEVELS, eta=st.floats(0.0, 1.0))
def test_a_step_s_fresh_and_kept_noise_add_up_to_the_forward_process(schedule: Schedule, eta: float) -> None:
    kept = schedule.betas2_cumsum[1].item() - rddm_variance(schedule, 2, 1, eta)
    assert kept >= -1e-12
    assert rddm_variance(schedule, 2, 1, 1.0) == pytest.approx(posterior(schedule, 2, 1).variance, abs=1e-12)
    assert rddm_variance(schedule, 2, 1, eta) == pytest.approx(eta * rddm_variance(schedule, 2, 1, 1.0), abs=1e-12)


@given(signal=st.lists(st.floats(0.05, 0.999), min_size=2, max_size=2, unique=True))
def test_ddim_s_variance_is_larger_by_the_signal_that_is_left(signal: list[float]) -> None:
    """The paper's conversion: RDDM's variance at eta = 1 is DDPM's times D_s."""
    later, sooner = sorted(signal)
    products = torch.tensor([1.0, sooner, later], dtype=torch.float64)
    schedule = Schedule(alphas_cumsum=1 - products.sqrt(), betas2_cumsum=1 - products)
    assert rddm_variance(schedule, 2, 1, 1.0) == pytest.approx(sooner * ddim_variance(schedule, 2, 1, 1.0), abs=1e-12)
    assert ddim_variance(schedule, 2, 1, 0.5) == pytest.approx(0.25 * ddim_variance(schedule, 2, 1, 1.0))


@pytest.mark.parametrize("name", list(VARIANCES))
def test_no_noise_no_variance(name: str) -> None:
    flat = Schedule(
        alphas_cumsum=torch.tensor([0.0, 0.0, 0.5], dtype=torch.float64), betas2_cumsum=torch.zeros(3).double()
    )
    assert VARIANCES[name](flat, 1, 0, 1.0) == 0.0


@given(schedule=LEVELS, seed=st.integers(0, 99))
def test_one_long_step_is_two_short_ones(schedule: Schedule, seed: int) -> None:
    """Where the belief does not change on the way, only the end points of a deterministic step count."""
    x_start, x_input, noise = images(seed=seed, size=2)
    belief = Prediction(x_input - x_start, noise, x_start)
    x = x_start + 2 * x_input
    middle = SAMPLERS["deterministic"](lambda x, t: belief, schedule, x, [(2, 1)], noise=torch.randn_like)
    direct = x - schedule.alphas_cumsum[2] * belief.res - schedule.sqrt_betas2_cumsum[2] * belief.noise
    rest = middle - schedule.alphas_cumsum[1] * belief.res - schedule.sqrt_betas2_cumsum[1] * belief.noise
    torch.testing.assert_close(rest, direct, atol=1e-9, rtol=0)
