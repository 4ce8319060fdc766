"""Samplers, time grids and paths: a perfect denoiser restores exactly, whatever way back is taken."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rddm import relatives  # noqa: F401  # enrols its schedules
from rddm.ddim import ddim, from_ddim
from rddm.objectives import OBJECTIVES, Prediction
from rddm.paths import PATHS, along
from rddm.process import posterior
from rddm.sampling import SAMPLERS, keyed_noise, rddm_variance
from rddm.schedules import CURVES, SCHEDULES, Schedule, make_schedule
from rddm.times import TIME_GRIDS, Step, make_steps
from tests.unit.rddm.oracle import Oracle, images

STEPS = 24
ENDS_AT_ONE = make_schedule(CURVES["decreasing"](STEPS), CURVES["increasing"](STEPS))
SERVED = {
    "restoration": ENDS_AT_ONE,
    "shadow": make_schedule(CURVES["decreasing"](STEPS), CURVES["increasing"](STEPS), terminal_noise_variance=0.01),
    "generation": make_schedule(CURVES["decreasing_zero_based"](STEPS), CURVES["increasing_zero_based"](STEPS)),
    "uniform": make_schedule(CURVES["uniform"](STEPS), CURVES["normal"](STEPS)),
    "power": make_schedule(CURVES["increasing"](STEPS, 0.3), CURVES["decreasing"](STEPS, 2.0)),
    "ddim": ddim(STEPS, beta_end=0.2),
    "cosine": ddim(STEPS, beta_schedule="squaredcos_cap_v2"),
    **{name: SCHEDULES[name](STEPS) for name in ("resshift", "ir_sde", "rectified_flow", "drdd")},
}


def generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


def claims(sampler: str, objective: str, schedule: Schedule) -> bool:
    """What each says it can serve: the posterior needs noise at every time, and the residual of the schedule."""
    return sampler != "ancestral" or bool((schedule.betas2_cumsum[1:] > 0).all())


def restored(
    sampler: str, objective: str, clipping: str, schedule: Schedule, steps: list[Step], eta: float = 0.5
) -> tuple[torch.Tensor, torch.Tensor]:
    x_start, x_input, noise = images(size=4)
    first = steps[0][0]
    start = x_start + schedule.alphas_cumsum[first] * (x_input - x_start) + schedule.sqrt_betas2_cumsum[first] * noise
    drawn = SAMPLERS[sampler](
        Oracle(schedule, objective, clipping, x_start, x_input),
        schedule,
        start,
        steps,
        noise=keyed_noise(generators(2)),
        eta=eta,
        variance=rddm_variance,
        callback=None,
    )
    return drawn, x_start


@pytest.mark.parametrize("schedule", list(SERVED))
@pytest.mark.parametrize("sampler", list(SAMPLERS))
@pytest.mark.parametrize("objective", list(OBJECTIVES))
def test_a_perfect_denoiser_restores_exactly(sampler: str, objective: str, schedule: str) -> None:
    table = SERVED[schedule]
    if not claims(sampler, objective, table):
        return
    first = OBJECTIVES[objective]().first_time(table)
    for num_steps in (1, 2, 3, 5, 10, first):
        for clipping in ("x_start", "none"):
            for eta in (0.0, 0.5):
                steps = make_steps(TIME_GRIDS["official"], first, num_steps)
                drawn, x_start = restored(sampler, objective, clipping, table, steps, eta)
                torch.testing.assert_close(drawn, x_start, atol=1e-7, rtol=0)


@pytest.mark.parametrize("grid", list(TIME_GRIDS))
@pytest.mark.parametrize("num_steps", [1, 2, 3, 5, 10, STEPS])
def test_every_grid_leads_a_perfect_denoiser_home(grid: str, num_steps: int) -> None:
    steps = make_steps(TIME_GRIDS[grid], STEPS, num_steps)
    assert len(steps) == num_steps
    assert all(STEPS >= t > s >= 0 for t, s in steps)
    # Only where every step begins where the one before ended is the path's end the clean image for certain; the
    # last step returns it whatever went before.
    drawn, x_start = restored("renoise", "pred_res", "none", ENDS_AT_ONE, steps, 0.0)
    if steps[-1][1] == 0:
        torch.testing.assert_close(drawn, x_start, atol=1e-9, rtol=0)


@pytest.mark.parametrize("path", list(PATHS))
@pytest.mark.parametrize("schedule", ["restoration", "shadow", "ddim", "power"])
@pytest.mark.parametrize("sampler", ["deterministic", "renoise", "adams_bashforth", "heun"])
def test_any_path_leads_a_perfect_denoiser_home(path: str, schedule: str, sampler: str) -> None:
    table = PATHS[path](SERVED[schedule], make_steps(TIME_GRIDS["even"], STEPS, 5))
    drawn, x_start = restored(sampler, "pred_res_noise", "none", table, along(table), 0.0)
    torch.testing.assert_close(drawn, x_start, atol=1e-9, rtol=0)
    assert table.alphas_cumsum[-1] == SERVED[schedule].alphas_cumsum[-1]
    assert table.betas2_cumsum[-1] == SERVED[schedule].betas2_cumsum[-1]


def test_paths_take_one_part_after_the_other() -> None:
    steps = make_steps(TIME_GRIDS["even"], STEPS, 4)
    residual, noise = (PATHS[name](ENDS_AT_ONE, steps) for name in ("residual_first", "noise_first"))
    assert (residual.betas2_cumsum[4:] == ENDS_AT_ONE.betas2_cumsum[-1]).all()
    assert (residual.alphas_cumsum[:5] == 0).all()
    assert (noise.alphas_cumsum[4:] == ENDS_AT_ONE.alphas_cumsum[-1]).all()
    assert (noise.betas2_cumsum[:5] == 0).all()
    assert PATHS["together"](ENDS_AT_ONE, steps).num_train_timesteps == 4


@given(
    alphas=st.lists(st.floats(0, 1), min_size=2, max_size=12),
    betas2=st.lists(st.floats(0.01, 4), min_size=2, max_size=12),
)
def test_any_path_at_all_is_a_way_home(alphas: list[float], betas2: list[float]) -> None:
    """Any rising tables make a path; a perfect denoiser restores along it, residuals beyond [-1, 1] included."""
    length = min(len(alphas), len(betas2))
    path = Schedule(
        alphas_cumsum=torch.tensor([0.0, *sorted(alphas)[:length]], dtype=torch.float64),
        betas2_cumsum=torch.tensor([0.0, *sorted(betas2)[:length]], dtype=torch.float64),
    )
    for sampler in ("deterministic", "renoise", "adams_bashforth", "heun"):
        drawn, x_start = restored(sampler, "pred_res_noise", "none", path, along(path), 0.0)
        torch.testing.assert_close(drawn, x_start, atol=1e-7, rtol=0)


@pytest.mark.parametrize("t", [2, 17, STEPS])
def test_the_implicit_step_at_eta_one_has_the_posterior_s_mean_and_variance(t: int) -> None:
    """With the same draw of noise, all first-order samplers take the same step."""
    x_start, x_input, noise = images(size=4)
    schedule = ENDS_AT_ONE
    x_t = x_start + schedule.alphas_cumsum[t] * (x_input - x_start) + schedule.sqrt_betas2_cumsum[t] * noise
    stopped: dict[str, torch.Tensor] = {}
    for name in SAMPLERS:
        seen: list[torch.Tensor] = []
        SAMPLERS[name](
            Oracle(schedule, "pred_res", "none", x_start, x_input),
            schedule,
            x_t,
            [(t, t // 2), (t // 2, 0)],
            noise=keyed_noise(generators(2)),
            eta=1.0,
            variance=rddm_variance,
            callback=lambda done, total, x, seen=seen: seen.append(x),  # type: ignore[misc]
        )
        stopped[name] = seen[0]
    for name, x in stopped.items():
        torch.testing.assert_close(x, stopped["ancestral"], atol=1e-12, rtol=0, msg=name)


def test_the_posterior_s_marginal_is_the_forward_process() -> None:
    """Drawing I_t and then I_s gives I_s the mean and variance that the forward process gives it."""
    for t, s in [(STEPS, 1), (STEPS, STEPS - 1), (7, 3)]:
        step = posterior(ENDS_AT_ONE, t, s)
        alphas, betas2 = ENDS_AT_ONE.alphas_cumsum, ENDS_AT_ONE.betas2_cumsum
        assert step.of_x_t + step.of_x_start == pytest.approx(1)
        assert step.of_x_t * alphas[t].item() + step.of_res == pytest.approx(alphas[s].item())
        assert step.of_x_t**2 * betas2[t].item() + step.variance == pytest.approx(betas2[s].item())


@pytest.mark.parametrize("sampler", ["adams_bashforth", "heun"])
def test_second_order_samplers_converge_as_the_square_of_the_step(sampler: str) -> None:
    """On a denoiser whose slopes change along the way, ten times the steps leave a hundredth of the error."""
    schedule = make_schedule(CURVES["uniform"](1_000), CURVES["uniform"](1_000))
    x_start, x_input, noise = images(size=4)

    def error(name: str, num_steps: int) -> float:
        # A smooth field: what is believed of residual and noise drifts with the present image.
        oracle = Oracle(schedule, "pred_res_noise", "none", x_start, x_input)

        def denoiser(x: torch.Tensor, t: torch.Tensor) -> Prediction:
            pred = oracle(x, t)
            return Prediction(pred.res + 0.3 * x, 0.2 * x, pred.x_start)

        stop = 250  # far from 0, where the slopes of beta are steep

        def run(which: str, count: int) -> torch.Tensor:
            ladder = [1_000 - round(k * (1_000 - stop) / count) for k in range(count + 1)]
            return SAMPLERS[which](
                denoiser, schedule, x_input + noise, list(pairwise(ladder)), noise=keyed_noise(generators(2)),
                eta=0.0, variance=rddm_variance, callback=None,
            )  # fmt: skip

        return float((run(name, num_steps) - run("heun", 375)).abs().max())

    assert error(sampler, 100) < error(sampler, 10) / 50
    assert error(sampler, 50) < error("deterministic", 50) / 5


def test_an_image_s_noise_does_not_depend_on_its_batch() -> None:
    like = torch.zeros(3, 3, 4, 4)
    together = keyed_noise(generators(3))(like)
    alone = keyed_noise([torch.Generator().manual_seed(1)])(like[:1])
    assert torch.equal(together[1:2], alone)


@pytest.mark.parametrize(
    ("grid", "steps", "times"),
    [
        ("official", 5, [1000, 800, 600, 400, 200, 0]),
        ("official", 2, [1000, 500, 0]),
        ("official", 3, [1000, 666, 333, 0]),
        ("official", 1, [1000, 0]),
        ("even", 3, [1000, 667, 333, 0]),
        ("even", 7, [1000, 857, 714, 571, 429, 286, 143, 0]),
        ("leading", 4, [751, 501, 251, 1, 0]),
        ("trailing", 4, [1000, 750, 500, 250, 0]),
    ],
)
def test_the_grids_are_the_known_ones(grid: str, steps: int, times: list[int]) -> None:
    assert make_steps(TIME_GRIDS[grid], 1000, steps) == list(pairwise(times))


@pytest.mark.parametrize("grid", ["official", "even"])
@given(first=st.integers(1, 1500), data=st.data())
def test_a_grid_falls_from_the_first_time_to_zero(grid: str, first: int, data: st.DataObject) -> None:
    num_steps = data.draw(st.integers(1, first))
    steps = make_steps(TIME_GRIDS[grid], first, num_steps)
    assert (steps[0][0], steps[-1][1], len(steps)) == (first, 0, num_steps)
    assert all(t > s for t, s in steps)
    assert all(s == t for (_, s), (t, _) in pairwise(steps))


@pytest.mark.parametrize("steps", [0, 1001])
def test_an_impossible_number_of_steps_is_refused(steps: int) -> None:
    with pytest.raises(ValueError, match="expected 1 to 1000"):
        make_steps(TIME_GRIDS["official"], 1000, steps)


@pytest.mark.parametrize(("grid", "offset"), [("official", 1), ("leading", 999)])
def test_an_offset_that_leads_astray_is_refused(grid: str, offset: int) -> None:
    with pytest.raises(ValueError, match="steps_offset"):
        make_steps(TIME_GRIDS[grid], 1000, 10, offset=offset)


@pytest.mark.parametrize(("t", "s"), [(0, 0), (3, 3), (STEPS + 1, 1)])
def test_an_impossible_step_is_refused(t: int, s: int) -> None:
    with pytest.raises(ValueError, match="expected 0 <= s < t"):
        posterior(ENDS_AT_ONE, t, s)


def test_there_is_no_posterior_without_noise() -> None:
    with pytest.raises(ValueError, match="no noise at t = 3"):
        posterior(SERVED["rectified_flow"], 3, 1)


def test_from_ddim_is_a_schedule() -> None:
    assert from_ddim(torch.tensor([0.9, 0.5])).num_train_timesteps == 2
