from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from rddm.objectives import OBJECTIVES
from rddm.process import posterior
from rddm.sampling import SAMPLERS, keyed_noise, time_grid
from rddm.schedules import CURVES, Schedule, from_ddim, make_schedule
from tests.unit.rddm.oracle import Oracle, images

STEPS = 40
ENDS_AT_ONE = make_schedule(CURVES["decreasing"](STEPS), CURVES["increasing"](STEPS))
FROM_DDIM = from_ddim(torch.cumprod(1 - torch.linspace(1e-4, 0.1, STEPS, dtype=torch.float64), 0))


def serving(objective: str) -> Schedule:
    return FROM_DDIM if objective == "pred_noise" else ENDS_AT_ONE


def generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


@pytest.mark.parametrize("sampler", list(SAMPLERS))
@pytest.mark.parametrize("objective", list(OBJECTIVES))
@pytest.mark.parametrize("clipping", ["x_start", "none"])
@pytest.mark.parametrize("num_inference_steps", [1, 2, 3, 5, 10, STEPS])
def test_a_perfect_denoiser_restores_exactly(
    sampler: str, objective: str, clipping: str, num_inference_steps: int
) -> None:
    schedule = serving(objective)
    x_start, x_input, noise = images()
    start = x_start + schedule.alphas_cumsum[-1] * (x_input - x_start) + schedule.sqrt_betas2_cumsum[-1] * noise
    restored = SAMPLERS[sampler](
        Oracle(schedule, objective, clipping, x_start, x_input),
        schedule,
        start,
        time_grid(STEPS, num_inference_steps),
        noise=keyed_noise(generators(2)),
        eta=0.5,
        callback=None,
    )
    torch.testing.assert_close(restored, x_start, atol=1e-9, rtol=0)


@pytest.mark.parametrize("t", [2, 17, STEPS])
def test_the_implicit_step_at_eta_one_has_the_posterior_s_mean_and_variance(t: int) -> None:
    """With the same draw of noise, both samplers take the same step."""
    x_start, x_input, noise = images()
    schedule = ENDS_AT_ONE
    x_t = x_start + schedule.alphas_cumsum[t] * (x_input - x_start) + schedule.sqrt_betas2_cumsum[t] * noise
    stopped: dict[str, torch.Tensor] = {}
    for name in SAMPLERS:
        seen: list[torch.Tensor] = []
        SAMPLERS[name](
            Oracle(schedule, "pred_res", "none", x_start, x_input),
            schedule,
            x_t,
            [t, t // 2, 0],
            noise=keyed_noise(generators(2)),
            eta=1.0,
            callback=lambda done, total, x, seen=seen: seen.append(x),  # type: ignore[misc]
        )
        stopped[name] = seen[0]
    torch.testing.assert_close(stopped["deterministic"], stopped["ancestral"], atol=1e-12, rtol=0)


def test_the_posterior_s_marginal_is_the_forward_process() -> None:
    """Drawing I_t and then I_s gives I_s the mean and variance that the forward process gives it."""
    for t, s in [(40, 1), (40, 39), (7, 3)]:
        step = posterior(ENDS_AT_ONE, t, s)
        alphas, betas2 = ENDS_AT_ONE.alphas_cumsum, ENDS_AT_ONE.betas2_cumsum
        assert step.of_x_t + step.of_x_start == pytest.approx(1)
        assert step.of_x_t * alphas[t].item() + step.of_res == pytest.approx(alphas[s].item())
        assert step.of_x_t**2 * betas2[t].item() + step.variance == pytest.approx(betas2[s].item())


def test_an_image_s_noise_does_not_depend_on_its_batch() -> None:
    like = torch.zeros(3, 3, 4, 4)
    together = keyed_noise(generators(3))(like)
    alone = keyed_noise([torch.Generator().manual_seed(1)])(like[:1])
    assert torch.equal(together[1:2], alone)


@pytest.mark.parametrize(
    ("steps", "grid"),
    [(5, [1000, 800, 600, 400, 200, 0]), (2, [1000, 500, 0]), (3, [1000, 666, 333, 0]), (1, [1000, 0])],
)
def test_the_grid_is_the_official_one(steps: int, grid: list[int]) -> None:
    assert time_grid(1000, steps) == grid


@pytest.mark.parametrize("steps", [1, 2, 7, 333, 999, 1000])
def test_a_grid_falls_from_t_to_zero(steps: int) -> None:
    grid = time_grid(1000, steps)
    assert (grid[0], grid[-1], len(grid)) == (1000, 0, steps + 1)
    assert all(t > s for t, s in pairwise(grid))


@pytest.mark.parametrize("steps", [0, 1001])
def test_an_impossible_number_of_steps_is_refused(steps: int) -> None:
    with pytest.raises(ValueError, match="expected 1 to 1000"):
        time_grid(1000, steps)


@pytest.mark.parametrize(("t", "s"), [(0, 0), (3, 3), (41, 1)])
def test_an_impossible_step_is_refused(t: int, s: int) -> None:
    with pytest.raises(ValueError, match="expected 0 <= s < t"):
        posterior(ENDS_AT_ONE, t, s)
