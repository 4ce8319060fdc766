"""diffusers' `DDIMScheduler` and our model config, each in the other's terms; figures only, no network.

The names are those of `scheduler_config.json`. A `DDPMScheduler`'s config is read as `DDIMScheduler.from_config` reads
it: what it does not say has DDIM's default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch

from rddm.config import ModelConfig, NetworkConfig, SamplingConfig, ScheduleConfig, build_schedule
from rddm.ddim import to_ddim
from rddm.errors import ConversionError
from rddm.times import TIME_GRIDS, make_steps

OBJECTIVE_OF = {"epsilon": "pred_noise", "sample": "pred_x0", "v_prediction": "pred_v"}
"""diffusers' prediction type -> our objective."""

TIME_SIGNAL = "official_index"
"""diffusers tell a network the index t - 1."""

_SCHEDULERS = ("DDIMScheduler", "DDPMScheduler")
_BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")
_SPACINGS = ("leading", "trailing", "linspace")


@dataclass(frozen=True, kw_only=True, slots=True)
class DDIMSettings:
    """What a `DDIMScheduler` does, by diffusers' names and with its defaults.

    Attributes:
        num_train_timesteps: T.
        beta_schedule: `linear`, `scaled_linear` or `squaredcos_cap_v2`.
        beta_start: First beta.
        beta_end: Last beta.
        trained_betas: All betas, in place of the three above.
        rescale_betas_zero_snr: Whether no signal is left at T.
        prediction_type: `epsilon`, `sample` or `v_prediction`.
        clip_sample: Whether the predicted clean image is clamped.
        clip_sample_range: To what.
        thresholding: Whether it is clamped to a quantile of its own instead; not to be had here.
        set_alpha_to_one: Whether the last step ends at the clean image, or at the first level of noise.
        steps_offset: Added to the times of `leading` spacing.
        timestep_spacing: `leading`, `trailing` or `linspace`.
    """

    num_train_timesteps: int = 1000
    beta_schedule: str = "linear"
    beta_start: float = 1e-4
    beta_end: float = 0.02
    trained_betas: list[float] | None = None
    rescale_betas_zero_snr: bool = False
    prediction_type: str = "epsilon"
    clip_sample: bool = True
    clip_sample_range: float = 1.0
    thresholding: bool = False
    set_alpha_to_one: bool = True
    steps_offset: int = 0
    timestep_spacing: str = "leading"

    def to_dict(self) -> dict[str, Any]:
        """As `scheduler_config.json` has it."""
        return {"_class_name": "DDIMScheduler", **asdict(self)}


def read_settings(values: Mapping[str, Any]) -> DDIMSettings:
    """The settings in a `scheduler_config.json`.

    Raises:
        ConversionError: The scheduler is another one, or a setting has a value that cannot be served.
    """
    scheduler = values.get("_class_name", "DDIMScheduler")
    if scheduler not in _SCHEDULERS:
        raise ConversionError(
            f"the scheduler is a {scheduler}; expected one of {', '.join(_SCHEDULERS)}. Where it makes sense, save "
            "DDIMScheduler.from_config(scheduler.config) in its place"
        )
    names = {entry.name for entry in fields(DDIMSettings)}
    settings = DDIMSettings(**{name: value for name, value in values.items() if name in names})
    _check_types(settings)
    _check_choice("beta_schedule", settings.beta_schedule, _BETA_SCHEDULES, needed=settings.trained_betas is None)
    _check_choice("prediction_type", settings.prediction_type, tuple(OBJECTIVE_OF))
    _check_choice("timestep_spacing", settings.timestep_spacing, _SPACINGS)
    if settings.thresholding:
        raise ConversionError(
            "thresholding is true: dynamic thresholding scales each image by a quantile of its own, and no clipping "
            "here does; expected false"
        )
    return settings


def model_config(
    settings: DDIMSettings, network: NetworkConfig, *, image_channels: int, num_inference_steps: int, eta: float = 0.0
) -> ModelConfig:
    """The model that samples as the scheduler does; `build_restorer` says what cannot be served.

    Args:
        settings: The scheduler's.
        network: The network, which must take diffusers' time step.
        image_channels: Channels of an image.
        num_inference_steps: Steps, 1 to T.
        eta: As `DDIMScheduler.step` is given it.
    """
    return ModelConfig(
        task="generation",
        objective=OBJECTIVE_OF[settings.prediction_type],
        network=replace(network, time_signal=TIME_SIGNAL),
        schedule=ScheduleConfig(
            name="ddim", num_train_timesteps=settings.num_train_timesteps, options=_schedule_options(settings)
        ),
        sampling=SamplingConfig(
            sampler="renoise",
            num_inference_steps=num_inference_steps,
            eta=eta,
            variance="ddim",
            clipping="x_start" if settings.clip_sample else "none",
            clip_limit=float(settings.clip_sample_range),
            time_grid=settings.timestep_spacing,
            steps_offset=settings.steps_offset if settings.timestep_spacing == "leading" else 0,
            last_time=0 if settings.set_alpha_to_one else 1,
            start_noise=1.0,
        ),
        image_channels=image_channels,
    )


def as_ddim_samples(config: ModelConfig) -> ModelConfig:
    """The same model with DDIM's way of sampling in place of its own: what a scheduler can say."""
    own = config.sampling
    return replace(
        config,
        sampling=replace(
            own,
            sampler="renoise",
            variance="ddim",
            clipping="none" if own.clipping == "none" else "x_start",
            time_grid=own.time_grid if own.time_grid in _SPACINGS else "trailing",
            path="together",
            output="all",
            start_noise=1.0,
        ),
    )


def settings_of(config: ModelConfig) -> DDIMSettings:
    """The scheduler that samples as a model of ours does.

    Raises:
        ConversionError: There is none; the message says why, and which time or setting it is.
    """
    reasons = [*_reasons_of_the_model(config), *_reasons_of_its_sampling(config)]
    if reasons:
        raise ConversionError("this model has no DDIM scheduler: " + "; ".join(reasons))
    sampling = config.sampling
    prediction = {objective: name for name, objective in OBJECTIVE_OF.items()}
    return DDIMSettings(
        num_train_timesteps=config.schedule.num_train_timesteps,
        **_schedule_settings(config),
        prediction_type=prediction[config.objective],
        clip_sample=sampling.clipping == "x_start",
        clip_sample_range=sampling.clip_limit,
        set_alpha_to_one=sampling.last_time == 0,
        steps_offset=sampling.steps_offset,
        timestep_spacing=_spacing(config),
    )


def _schedule_options(settings: DDIMSettings) -> dict[str, Any]:
    given: dict[str, Any] = (
        {
            "beta_schedule": settings.beta_schedule,
            "beta_start": settings.beta_start,
            "beta_end": settings.beta_end,
        }
        if settings.trained_betas is None
        else {"trained_betas": list(settings.trained_betas)}
    )
    return {**given, "rescale_betas_zero_snr": settings.rescale_betas_zero_snr}


def _schedule_settings(config: ModelConfig) -> dict[str, Any]:
    """A schedule that came from diffusers as it came; any other one beta by beta."""
    if config.schedule.name == "ddim":
        return dict(config.schedule.options)
    return {"trained_betas": trained_betas(config)}


def trained_betas(config: ModelConfig) -> list[float]:
    r"""$\beta_t = 1 - D_t / D_{t-1}$ of a schedule that is a DDIM's, and 1 where no signal is left to take.

    Raises:
        ConversionError: It is none; the message names the time and both numbers.
    """
    try:
        products = to_ddim(build_schedule(config))
    except ValueError as error:
        raise ConversionError(f"this model has no DDIM scheduler: {error}") from None
    before = torch.cat([torch.ones(1, dtype=torch.float64), products[:-1]])
    betas: list[float] = torch.where(before > 0, 1 - products / before, 1.0).tolist()
    return betas


def _reasons_of_the_model(config: ModelConfig) -> list[str]:
    reasons = []
    if config.task != "generation" or config.network_inputs != ("x_t",):
        reasons.append(
            f"the task is {config.task!r} and the network sees {', '.join(config.network_inputs)}: DDIM knows no "
            "degraded image, I_in is 0 and x_t is all that is seen"
        )
    if config.objective not in OBJECTIVE_OF.values():
        reasons.append(
            f"the objective is {config.objective!r}; a scheduler has {', '.join(OBJECTIVE_OF)}, which are "
            f"{', '.join(OBJECTIVE_OF.values())}"
        )
    try:
        trained_betas(config)
    except ConversionError as error:
        reasons.append(str(error).partition(": ")[2])
    return reasons


def _reasons_of_its_sampling(config: ModelConfig) -> list[str]:
    sampling = config.sampling
    level = build_schedule(config).sqrt_betas2_cumsum[-1].item()
    start = level if sampling.start_noise is None else sampling.start_noise
    alike = sampling.sampler == "renoise" or (sampling.sampler == "deterministic" and sampling.clipping == "none")
    checks = {
        f"sampler {sampling.sampler!r} with clipping {sampling.clipping!r}": alike and sampling.clipping != "residual",
        f"variance {sampling.variance!r} at eta {sampling.eta}": sampling.variance == "ddim" or sampling.eta == 0,
        f"path {sampling.path!r}": sampling.path == "together",
        f"output {sampling.output!r}": sampling.output == "all",
        f"time grid {sampling.time_grid!r}": _spacing(config) != "",
        f"start noise {start:.6g}": start == 1,
        f"last time {sampling.last_time}": sampling.last_time in (0, 1),
    }
    differing = [name for name, same in checks.items() if not same]
    if not differing:
        return []
    return [f"it samples in another way: {', '.join(differing)}; --ddim-sampling takes DDIM's way in its place"]


def _spacing(config: ModelConfig) -> str:
    """The spacing of diffusers' that visits the same times with the model's number of steps, or nothing."""
    sampling, length = config.sampling, config.schedule.num_train_timesteps
    if sampling.time_grid in _SPACINGS:
        return sampling.time_grid
    own, theirs = (
        make_steps(TIME_GRIDS[grid], length, sampling.num_inference_steps) for grid in (sampling.time_grid, "trailing")
    )
    return "trailing" if own == theirs else ""


def _check_types(settings: DDIMSettings) -> None:
    for entry in fields(settings):
        value, kind = getattr(settings, entry.name), type(entry.default)
        fits = isinstance(value, kind) or (kind is float and isinstance(value, int))
        if entry.default is not None and not fits:
            raise ConversionError(f"{entry.name} is {value!r}; expected a {kind.__name__}")


def _check_choice(name: str, value: object, choices: tuple[str, ...], *, needed: bool = True) -> None:
    if needed and value not in choices:
        raise ConversionError(f"{name} is {value!r}; expected one of {', '.join(choices)}, the DDIM scheduler's own")
