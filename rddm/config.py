"""What a model is, in plain values; the only door in this room where names become objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from rddm import ddim, relatives
from rddm.clipping import CLIPPINGS
from rddm.errors import ConfigError
from rddm.nets import NETWORKS
from rddm.objectives import OBJECTIVES, Objective, OneOutput
from rddm.paths import PATHS, along
from rddm.restorer import Restorer
from rddm.sampling import SAMPLERS, VARIANCES
from rddm.schedules import SCHEDULES, Schedule
from rddm.tasks import TASKS
from rddm.times import DECOUPLED, TIME_GRIDS, TIME_SIGNALS, Step, make_steps
from rddm.view import INPUTS, View

AUTO = "auto"
_ENROLLED = (ddim, relatives)  # importing them is what puts their schedules into the registry
_TOGETHER = "together"


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkConfig:
    """A name in `NETWORKS` and the constructor's own options; how it is told the time, a name in `TIME_SIGNALS`."""

    name: str = "unet"
    options: dict[str, Any] = field(default_factory=dict)
    time_signal: str = "relative"


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleConfig:
    r"""The coefficients.

    Attributes:
        name: A name in `SCHEDULES`; `curves` is made of the two curves below, others of `options`.
        num_train_timesteps: T.
        alphas: A name in `CURVES`: how the residual grows.
        betas2: A name in `CURVES`: how the noise variance grows.
        alphas_exponent: Power of the residual's curve.
        betas2_exponent: Power of the noise variance's curve.
        terminal_noise_variance: $\bar\beta_T^2$ of the curves.
        options: Options of a named schedule.
    """

    name: str = "curves"
    num_train_timesteps: int = 1000
    alphas: str = "decreasing"
    betas2: str = "increasing"
    alphas_exponent: float = 1.0
    betas2_exponent: float = 1.0
    terminal_noise_variance: float = 1.0
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig:
    """How an image is drawn.

    Attributes:
        sampler: A name in `SAMPLERS`.
        num_inference_steps: Steps, from 1 to T.
        eta: Share of the ancestral variance, in [0, 1].
        variance: A name in `VARIANCES`: what that share is of.
        clipping: A name in `CLIPPINGS`.
        clip_limit: Images lie in [-limit, limit].
        time_grid: A name in `TIME_GRIDS`.
        steps_offset: Added to the times of the `leading` grid.
        last_time: Where the last step ends: 0, or 1 for a DDIM whose `set_alpha_to_one` is false.
        path: A name in `PATHS`; others than `together` need a time signal in `rddm.times.DECOUPLED`.
        output: `all`, or the one output of a two-output model that is used: `res` or `noise`.
        start_noise: Standard deviation of the noise that sampling begins with; None takes the schedule's.
    """

    sampler: str = "deterministic"
    num_inference_steps: int = 5
    eta: float = 0.0
    variance: str = "rddm"
    clipping: str = "x_start"
    clip_limit: float = 1.0
    time_grid: str = "official"
    steps_offset: int = 0
    last_time: int = 0
    path: str = _TOGETHER
    output: str = "all"
    start_noise: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """A model.

    Attributes:
        task: A name in `TASKS`.
        inputs: What the network sees, names in `rddm.view.INPUTS`; empty means the task's own choice.
        objective: A name in `OBJECTIVES`, or `auto`: let AOSA choose.
        network: The network.
        schedule: The coefficients.
        sampling: How it is used.
        image_channels: Channels of an image.
        equalise_input: Whether histograms of degraded images are equalised before the network sees them; training
            expects a data set that was made so (`data.equalise_input`).
    """

    task: str = "restoration"
    inputs: tuple[str, ...] = ()
    objective: str = AUTO
    network: NetworkConfig = field(default_factory=NetworkConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    image_channels: int = 3
    equalise_input: bool = False

    @property
    def network_inputs(self) -> tuple[str, ...]:
        """What the network sees."""
        return self.inputs or TASKS[self.task].inputs

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """What `to_dict` gave.

        Raises:
            ConfigError: A key is unknown or missing.
        """
        try:
            return cls(
                **{
                    **values,
                    "inputs": tuple(values["inputs"]),
                    "network": NetworkConfig(**values["network"]),
                    "schedule": ScheduleConfig(**values["schedule"]),
                    "sampling": SamplingConfig(**values["sampling"]),
                }
            )
        except (KeyError, TypeError) as error:
            raise ConfigError(f"the model's config does not fit this release: {error}") from None


def build_schedule(config: ModelConfig) -> Schedule:
    """The coefficients.

    Raises:
        ConfigError: A name is unknown, or the numbers make no schedule.
    """
    settings = config.schedule
    options = dict(settings.options)
    if settings.name == "curves":
        options |= {
            "alphas": settings.alphas,
            "betas2": settings.betas2,
            "alphas_exponent": settings.alphas_exponent,
            "betas2_exponent": settings.betas2_exponent,
            "terminal_noise_variance": settings.terminal_noise_variance,
        }
    try:
        return SCHEDULES[settings.name](settings.num_train_timesteps, **options)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(f"model.schedule: {error}") from None


def build_view(config: ModelConfig) -> View:
    """What the network sees.

    Raises:
        ConfigError: An input or the time's signal is unknown.
    """
    inputs = config.network_inputs
    if not inputs or set(inputs) - set(INPUTS) or "x_t" not in inputs:
        raise ConfigError(f"model.inputs is {list(inputs)}; expected x_t and others of {', '.join(INPUTS)}")
    return View(
        inputs=inputs,
        signal=TIME_SIGNALS[config.network.time_signal],
        num_train_timesteps=config.schedule.num_train_timesteps,
    )


def build_network(config: ModelConfig, objective: str) -> nn.Module:
    """A network with random weights and as many outputs as the objective wants.

    Raises:
        ConfigError: The network, one of its options or the objective is unknown.
    """
    outputs = len(OBJECTIVES[objective].output_names)
    inputs = len(build_view(config).inputs)
    try:
        return NETWORKS[config.network.name](
            inputs * config.image_channels, outputs * config.image_channels, **config.network.options
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model.network.options: {error}") from None


def build_restorer(config: ModelConfig, objective: str, net: nn.Module) -> Restorer:
    """What a user holds, around a trained network.

    Raises:
        ConfigError: A name is unknown, or the objective cannot serve the schedule.
    """
    sampling = config.sampling
    if not 0 <= sampling.eta <= 1:
        raise ConfigError(f"model.sampling.eta is {sampling.eta}; expected a number in [0, 1]")
    try:
        chosen = _used(OBJECTIVES[objective](), sampling.output)
        schedule, steps = _way(config, chosen)
    except ValueError as error:
        raise ConfigError(f"model: {error}") from None
    return Restorer(
        net=net,
        schedule=schedule,
        objective=chosen,
        clipping=CLIPPINGS[sampling.clipping](sampling.clip_limit),
        sampler=SAMPLERS[sampling.sampler],
        steps=tuple(steps),
        eta=sampling.eta,
        variance=VARIANCES[sampling.variance],
        view=build_view(config),
        start_noise=sampling.start_noise,
        equalise_input=config.equalise_input,
        task=TASKS[config.task](),
        image_channels=config.image_channels,
    )


def check(config: ModelConfig) -> None:
    """Build everything once, on no memory, so that a bad name is found before any work is done.

    Raises:
        ConfigError: As the builders.
    """
    objective = "pred_res" if config.objective == AUTO else config.objective
    with torch.device("meta"):
        net = build_network(config, objective)
    build_restorer(config, objective, net)


def _used(objective: Objective, output: str) -> Objective:
    return objective if output == "all" else OneOutput(objective, output)


def _way(config: ModelConfig, objective: Objective) -> tuple[Schedule, list[Step]]:
    """The coefficients along the path that sampling takes, and its steps."""
    sampling, schedule = config.sampling, build_schedule(config)
    steps = make_steps(
        TIME_GRIDS[sampling.time_grid],
        objective.first_time(schedule),
        sampling.num_inference_steps,
        offset=sampling.steps_offset,
        last=sampling.last_time,
        whole=schedule.num_train_timesteps,
    )
    follow = PATHS[sampling.path]
    if sampling.path == _TOGETHER:
        return schedule, steps
    if config.network.time_signal not in DECOUPLED:
        raise ValueError(
            f"sampling.path is {sampling.path!r}, and network.time_signal {config.network.time_signal!r}; "
            f"only a network that is told {' or '.join(DECOUPLED)} can leave the path of its training"
        )
    path = follow(schedule, steps)
    return path, along(path)
