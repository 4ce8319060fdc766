"""Against diffusers itself: the same steps as its `DDIMScheduler`, for every setting that matters."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.mnist_unet import MnistUNet
from jobs.conversions.ddim import DDIMSettings, model_config, read_settings
from rddm.config import ModelConfig, NetworkConfig, build_restorer
from rddm.errors import ConfigError
from rddm.restorer import Restorer
from rddm.times import TIME_GRIDS, make_steps

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: pip install 'rddm[diffusers]'")

T = 100
STEP_COUNTS = (1, 10, 24)
"""With T = 100, 24 does not divide it, and halves are rounded there as numpy rounds them."""
Denoise = Callable[[Tensor, Tensor], Tensor]


class Toy(nn.Module):
    """A deterministic network that depends on pixels, their neighbours and the time; bounded, so nothing explodes."""

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        angle = 0.01 * time.to(x.dtype)[:, None, None, None]
        return torch.tanh(0.6 * x + 0.3 * x.roll(1, -1) + torch.sin(angle))


def ours_for(scheduler: Any, net: nn.Module, steps: int, eta: float = 0.0) -> Restorer:
    """What a converted config builds, from the settings as they would lie in `scheduler_config.json`."""
    settings = read_settings({**scheduler.config, "_class_name": type(scheduler).__name__})
    config = model_config(settings, NetworkConfig(name="tiny"), image_channels=1, num_inference_steps=steps, eta=eta)
    return build_restorer(config, config.objective, net)


def our_trajectory(restorer: Restorer, start: Tensor, draws: list[Tensor]) -> list[Tensor]:
    seen: list[Tensor] = []
    restorer.sampler(
        lambda x, t: restorer.predict(x, torch.zeros_like(x), t),
        restorer.schedule,
        start,
        restorer.steps,
        noise=lambda _: draws[len(seen)],
        eta=restorer.eta,
        variance=restorer.variance,
        callback=lambda _done, _steps, x: seen.append(x),
    )
    return seen


def their_trajectory(
    scheduler: Any, net: Denoise, start: Tensor, steps: int, draws: list[Tensor], eta: float = 0.0
) -> list[Tensor]:
    scheduler.set_timesteps(steps)
    x, seen = start, []
    for index, step in enumerate(scheduler.timesteps[:steps]):
        output = net(x, step.expand(len(x)))
        noise = draws[index] if eta > 0 else None
        x = scheduler.step(output, step, x, eta=eta, variance_noise=noise, return_dict=False)[0]
        seen.append(x)
    return seen


def in_float64(scheduler: Any) -> Any:
    """diffusers keep its tables in float32; with the same values in float64 only the algorithm is compared."""
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    scheduler.final_alpha_cumprod = scheduler.final_alpha_cumprod.double()
    return scheduler


def noises(count: int, shape: tuple[int, ...] = (2, 1, 4, 4)) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(count)]


def assert_alike(ours: list[Tensor], theirs: list[Tensor], label: object) -> None:
    assert len(ours) == len(theirs), label
    for mine, yours in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, yours, atol=1e-6, rtol=1e-9, msg=lambda text: f"{label}: {text}")


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("betas", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_trajectories_are_the_scheduler_s(spacing: str, prediction: str, betas: str) -> None:
    start, *draws = noises(1 + max(STEP_COUNTS))
    # Only `leading` spacing heeds the offset; with the others one that is set must change nothing.
    offsets = (0, 1) if spacing == "leading" else (1,)
    for to_one, clip, offset, eta, steps in itertools.product(
        (True, False), (True, False), offsets, (0.0, 1.0), STEP_COUNTS
    ):
        scheduler = in_float64(
            diffusers.DDIMScheduler(
                num_train_timesteps=T,
                beta_schedule=betas,
                prediction_type=prediction,
                timestep_spacing=spacing,
                set_alpha_to_one=to_one,
                clip_sample=clip,
                clip_sample_range=0.9,
                steps_offset=offset,
            )
        )
        ours = our_trajectory(ours_for(scheduler, Toy(), steps, eta), start, draws)
        theirs = their_trajectory(scheduler, Toy(), start, steps, draws, eta)
        assert_alike(ours, theirs, (to_one, clip, offset, eta, steps))


@pytest.mark.parametrize("eta", [0.3, 0.7])
def test_eta_multiplies_the_standard_deviation_as_there(eta: float) -> None:
    start, *draws = noises(11)
    scheduler = in_float64(diffusers.DDIMScheduler(num_train_timesteps=T))
    ours = our_trajectory(ours_for(scheduler, Toy(), 10, eta), start, draws)
    assert_alike(ours, their_trajectory(scheduler, Toy(), start, 10, draws, eta), eta)


@pytest.mark.parametrize(
    ("prediction", "spacing"),
    [("v_prediction", "trailing"), ("v_prediction", "linspace"), ("epsilon", "leading"), ("sample", "trailing")],
)
def test_no_signal_at_the_end(prediction: str, spacing: str) -> None:
    """Betas rescaled to zero signal at T; `leading` spacing does not visit T, and T still sets the spacing."""
    start, *draws = noises(11)
    scheduler = in_float64(
        diffusers.DDIMScheduler(
            num_train_timesteps=T,
            prediction_type=prediction,
            timestep_spacing=spacing,
            rescale_betas_zero_snr=True,
            clip_sample=False,
        )
    )
    # Not 1: from no signal at all, the scheduler then takes the root of a difference that rounds below 0.
    for eta in (0.0, 0.9):
        ours = our_trajectory(ours_for(scheduler, Toy(), 10, eta), start, draws)
        assert_alike(ours, their_trajectory(scheduler, Toy(), start, 10, draws, eta), eta)


def test_where_the_scheduler_divides_by_zero_there_is_an_error() -> None:
    scheduler = diffusers.DDIMScheduler(rescale_betas_zero_snr=True, timestep_spacing="trailing", clip_sample=False)
    start, *draws = noises(11)
    theirs = their_trajectory(scheduler, Toy(), start, 10, draws)
    assert not torch.isfinite(theirs[0]).any()
    with pytest.raises(ConfigError, match="begins at t = 1000, and above t = 999"):
        ours_for(scheduler, Toy(), 10)


def test_trained_betas() -> None:
    start, *draws = noises(11)
    betas = (torch.linspace(0.001, 0.05, T) ** 1.2).tolist()
    scheduler = in_float64(diffusers.DDIMScheduler(num_train_timesteps=T, trained_betas=betas))
    ours = our_trajectory(ours_for(scheduler, Toy(), 10), start, draws)
    assert_alike(ours, their_trajectory(scheduler, Toy(), start, 10, draws), "trained_betas")


def test_a_ddpm_scheduler_is_what_ddim_makes_of_it() -> None:
    start, *draws = noises(21)
    ddpm = diffusers.DDPMScheduler(num_train_timesteps=T, beta_schedule="squaredcos_cap_v2", clip_sample_range=2.0)
    ddim = in_float64(diffusers.DDIMScheduler.from_config(ddpm.config))
    ours = our_trajectory(ours_for(ddpm, Toy(), 20), start, draws)
    assert_alike(ours, their_trajectory(ddim, Toy(), start, 20, draws), "ddpm")


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("length", [100, 1000])
def test_every_number_of_steps_visits_the_same_times(spacing: str, length: int) -> None:
    """All from 1 to T: numpy's rounding decides about one in ten. Its one surplus step at the index -1 is left out."""
    scheduler = diffusers.DDIMScheduler(num_train_timesteps=length, timestep_spacing=spacing)
    for steps in range(1, length + 1):
        scheduler.set_timesteps(steps)
        theirs = scheduler.timesteps.tolist()
        ours = [t - 1 for t, _ in make_steps(TIME_GRIDS[spacing], length, steps)]
        assert ours == theirs[:steps], steps
        assert theirs[steps:] in ([], [-1])


@pytest.mark.parametrize("betas", ["linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("clip", [True, False])
def test_float32_stays_close_to_the_scheduler_as_it_ships(betas: str, clip: bool) -> None:
    """Both in float32, which rounds differently in each; unclipped, errors of the noise grow up to 2e4 times."""
    start, *draws = (noise.float() for noise in noises(51))
    scheduler = diffusers.DDIMScheduler(beta_schedule=betas, clip_sample=clip, timestep_spacing="trailing")
    ours = our_trajectory(ours_for(scheduler, Toy(), 50), start, draws)
    theirs = their_trajectory(scheduler, Toy(), start, 50, draws)
    scale = theirs[-1].abs().max().clamp(min=1)
    torch.testing.assert_close(ours[-1] / scale, theirs[-1] / scale, atol=1e-5, rtol=0)


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("steps", [7, 50])
def test_a_real_network_draws_the_same_digits(shared: Path, clip: bool, steps: int) -> None:
    net = MnistUNet()
    net.load_state_dict(load_file(shared / "weights/ddpm_mnist.safetensors"))
    net = net.double().eval()
    start, *draws = noises(1 + steps, shape=(2, 1, 28, 28))
    scheduler = in_float64(diffusers.DDIMScheduler(clip_sample=clip))
    with torch.no_grad():
        ours = our_trajectory(ours_for(scheduler, net, steps), start, draws)
        theirs = their_trajectory(scheduler, net, start, steps, draws)
    assert_alike(ours, theirs, "mnist")
    assert ours[-1].abs().max() < 1.5
    assert ours[-1].amax(dim=(1, 2, 3)).min() > 0.5  # a digit's white, on black
    assert ours[-1].mean() < -0.5


def test_settings_survive_the_way_there_and_back() -> None:
    from jobs.conversions.ddim import settings_of

    for spacing, to_one, clip in itertools.product(("leading", "trailing"), (True, False), (True, False)):
        given = replace(
            DDIMSettings(), timestep_spacing=spacing, set_alpha_to_one=to_one, clip_sample=clip, clip_sample_range=1.5
        )
        there = model_config(given, NetworkConfig(name="tiny"), image_channels=3, num_inference_steps=20)
        assert settings_of(ModelConfig.from_dict(there.to_dict())) == (
            given if clip else replace(given, clip_sample_range=1.5)
        )
