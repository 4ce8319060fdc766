"""What a model is, in plain values; the only door in this room where names become objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from rddm.errors import ConfigError
from rddm.nets import NETWORKS
from rddm.objectives import CLIPPINGS, OBJECTIVES
from rddm.restorer import Restorer
from rddm.sampling import SAMPLERS, time_grid
from rddm.schedules import CURVES, Schedule, make_schedule

AUTO = "auto"
_INPUTS = 2  # the noisy image and the degraded one


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkConfig:
    """A name in `NETWORKS` and the constructor's own options."""

    name: str = "unet"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleConfig:
    r"""Two names in `CURVES`, T, and $\bar\beta_T^2$."""

    num_train_timesteps: int = 1000
    alphas: str = "decreasing"
    betas2: str = "increasing"
    terminal_noise_variance: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig:
    """How a restored image is drawn: names in `SAMPLERS` and `CLIPPINGS`, steps, and eta in [0, 1]."""

    sampler: str = "deterministic"
    num_inference_steps: int = 5
    eta: float = 0.0
    clipping: str = "x_start"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """A restoration model.

    Attributes:
        objective: A name in `OBJECTIVES`, or `auto`: let AOSA choose.
        network: The network.
        schedule: The coefficients.
        sampling: How it is used.
        image_channels: Channels of an image.
    """

    objective: str = AUTO
    network: NetworkConfig = field(default_factory=NetworkConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    image_channels: int = 3

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
                objective=values["objective"],
                network=NetworkConfig(**values["network"]),
                schedule=ScheduleConfig(**values["schedule"]),
                sampling=SamplingConfig(**values["sampling"]),
                image_channels=values["image_channels"],
            )
        except (KeyError, TypeError) as error:
            raise ConfigError(f"the model's config does not fit this release: {error}") from None


def build_schedule(config: ModelConfig) -> Schedule:
    """The coefficients.

    Raises:
        ConfigError: A curve is unknown, or the numbers make no schedule.
    """
    settings = config.schedule
    alphas, betas2 = CURVES[settings.alphas], CURVES[settings.betas2]
    try:
        return make_schedule(
            alphas(settings.num_train_timesteps),
            betas2(settings.num_train_timesteps),
            terminal_noise_variance=settings.terminal_noise_variance,
        )
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"model.schedule: {error}") from None


def build_network(config: ModelConfig, objective: str) -> nn.Module:
    """A network with random weights and as many outputs as the objective wants.

    Raises:
        ConfigError: The network, one of its options or the objective is unknown.
    """
    outputs = len(OBJECTIVES[objective].output_names)
    try:
        return NETWORKS[config.network.name](
            _INPUTS * config.image_channels, outputs * config.image_channels, **config.network.options
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model.network.options: {error}") from None


def build_restorer(config: ModelConfig, objective: str, net: nn.Module) -> Restorer:
    """What a user holds, around a trained network.

    Raises:
        ConfigError: A name is unknown, or the objective cannot serve the schedule.
    """
    chosen, schedule, sampling = OBJECTIVES[objective](), build_schedule(config), config.sampling
    try:
        chosen.check(schedule)
        times = time_grid(schedule.num_train_timesteps, sampling.num_inference_steps)
    except ValueError as error:
        raise ConfigError(f"model: {error}") from None
    if not 0 <= sampling.eta <= 1:
        raise ConfigError(f"model.sampling.eta is {sampling.eta}; expected a number in [0, 1]")
    return Restorer(
        net=net,
        schedule=schedule,
        objective=chosen,
        clipping=CLIPPINGS[sampling.clipping](),
        sampler=SAMPLERS[sampling.sampler],
        times=tuple(times),
        eta=sampling.eta,
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
