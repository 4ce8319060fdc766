"""The official runs: the fake network, the counted noise, and how each experiment samples; all steps are `rddm`'s."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any, final

import torch
from torch import Tensor, nn

from rddm.clipping import UNCLIPPED, Clipping, ClipResidual
from rddm.objectives import OBJECTIVES, Objective, OneOutput, Prediction
from rddm.official import OfficialPredictNoise, residual_then_noise
from rddm.process import at, noise_from_residual
from rddm.registry import Registry
from rddm.sampling import SAMPLERS
from rddm.schedules import Schedule
from rddm.times import TIME_GRIDS, TIME_SIGNALS, TimeSignal, make_steps
from rddm.view import View
from tests.reference.coefficients import Coefficients, coefficients
from tests.reference.keys import Key

OFFICIAL_OBJECTIVES = (
    "pred_res_noise", "pred_res", "pred_noise", "pred_x0_noise", "pred_res_add_noise", "pred_x0_add_noise",
)  # fmt: skip
READINGS = ("res_noise", "res", "noise")


@dataclass(frozen=True, slots=True)
class Setup:
    """How an experiment computes: whose coefficients, which time it tells the network, which sampler."""

    tables: str
    signal: TimeSignal
    two_stages: bool = False


SETUPS: Registry[Setup] = Registry("experiment")
"""The name in a key -> how it computes."""
SETUPS.register("exp2")(Setup("exp2", TIME_SIGNALS["official_index"]))
SETUPS.register("exp3_ddimcoef")(Setup("exp3_after_init", TIME_SIGNALS["official_index"]))
SETUPS.register("exp4_gencoef")(Setup("exp4", TIME_SIGNALS["official_alphas"]))
SETUPS.register("exp0_path")(Setup("exp3_after_init", TIME_SIGNALS["official_alphas"], two_stages=True))


class FakeNetwork(nn.Module):
    """The network of the reference's README; it writes down the times that it was told.

    Args:
        outputs: Names of the outputs; the second one comes alone where it is the only one and is the noise.
        conditional: Whether the input holds the degraded image.
    """

    def __init__(self, outputs: Sequence[str], *, conditional: bool = True) -> None:
        """Keep both."""
        super().__init__()
        self._outputs, self._conditional = tuple(outputs), conditional
        self.seen: list[float] = []

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Outputs, channels after channels."""
        self.seen.append(time[0].item())
        t = time.to(torch.float32)[:, None, None, None]
        x_t = x[:, :3]
        x_input = x[:, 3:6] if self._conditional else torch.zeros_like(x_t)
        first = 0.45 * x_input - 0.30 * x_t + (0.05 * t / 1000 - 0.02)
        second = 0.80 * x_t - 0.55 * x_input + 0.10 * torch.sin(0.01 * t)
        if len(self._outputs) == 1:
            return second if self._outputs == ("noise",) else first
        return torch.cat([first, second], dim=1)


@final
class OfficialNoiseAlone(Objective):
    """A two-output model through its noise alone, with the official division by 1e-6 at T; see `OneOutput`.

    Args:
        trained: The objective that the model was trained with.
    """

    def __init__(self, trained: Objective) -> None:
        """Find the output."""
        self._trained, self._index = trained, trained.output_names.index("noise")

    @property
    def num_outputs(self) -> int:
        """Images that the network returns."""
        return self._trained.num_outputs

    def targets(
        self, schedule: Schedule, x_start: Tensor, x_input: Tensor, noise: Tensor, t: Tensor
    ) -> tuple[Tensor, ...]:
        """What each output was trained to be."""
        return self._trained.targets(schedule, x_start, x_input, noise, t)

    def decode(
        self,
        schedule: Schedule,
        outputs: tuple[Tensor, ...],
        x_t: Tensor,
        x_input: Tensor,
        t: Tensor,
        clipping: Clipping = UNCLIPPED,
    ) -> Prediction:
        """All unknowns from the noise."""
        return OfficialPredictNoise().decode(schedule, (outputs[self._index],), x_t, x_input, t, clipping)


def divided(schedule: Schedule, res: Tensor, x_t: Tensor, x_input: Tensor, t: Tensor) -> Tensor:
    """`noise_from_residual`, and infinite as the official code's where there is no noise and ours is 0."""
    if schedule.betas2_cumsum[t].min() > 0:
        return noise_from_residual(schedule, res, x_t, x_input, t)
    return (x_t - x_input - (at(schedule.alphas_cumsum, t, x_t) - 1) * res) / at(schedule.betas2_cumsum, t, x_t)


@dataclass(frozen=True, slots=True)
class Images:
    """The reference's images; the key decides whether the degraded ones are seen."""

    x_start: Tensor
    x_input: Tensor
    noise: Tensor
    noise2: Tensor
    mask: Tensor

    @classmethod
    def of(cls, arrays: Mapping[str, Tensor]) -> Images:
        """Those of a file.

        Raises:
            KeyError: The file lacks one.
        """
        return cls(arrays["x0"], arrays["x_input"], arrays["noise"], arrays["noise2"], arrays["mask"])

    def draws(self) -> Iterator[Tensor]:
        """The noise that the official code was given, in order, for ever."""
        return cycle([self.noise, self.noise2, -self.noise, -self.noise2])


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """The settings that all kinds of runs share."""

    setup: Setup
    objective: str
    reading: str
    coefficients: Coefficients
    sum_scale: float
    conditional: bool
    masked: bool

    @classmethod
    def of(cls, key: Key) -> Run:
        """Take the settings from a key."""
        return cls._of(key, key.word(OFFICIAL_OBJECTIVES))

    @classmethod
    def of_algebra(cls, key: Key) -> Run:
        """Likewise, where no network is asked."""
        return cls._of(key, "pred_res_noise")

    @classmethod
    def _of(cls, key: Key, objective: str) -> Run:
        setup = SETUPS[key.word(SETUPS, "exp2")]
        sum_scale = key.setting("sum_scale", float, 1.0)
        of_tables = 1.0 if setup.tables.startswith("exp3") else sum_scale
        made = coefficients(setup.tables, key.setting("T", int, 1000), of_tables)
        return cls(
            setup=setup,
            objective=objective,
            reading=key.setting("test", str, "res_noise"),
            coefficients=made,
            sum_scale=sum_scale,
            conditional=not key.flag("UNCONDITIONAL"),
            masked=key.flag("mask"),
        )

    @property
    def schedule(self) -> Schedule:
        """Ours, with the official numbers."""
        return self.coefficients.schedule

    def decoder(self) -> Objective:
        """The objective as it is used, official where that differs.

        Raises:
            ValueError: The reading is unknown.
        """
        if self.reading not in READINGS:
            raise ValueError(f"test={self.reading}; expected one of {READINGS}")
        trained = OBJECTIVES[self.objective]()
        if trained.num_outputs == 1:
            return OfficialPredictNoise() if self.objective == "pred_noise" else trained
        by_reading: dict[str, Callable[[], Objective]] = {
            "res_noise": lambda: trained,
            "res": lambda: OneOutput(trained, "res"),
            "noise": lambda: OfficialNoiseAlone(trained),
        }
        return by_reading[self.reading]()

    def network(self) -> FakeNetwork:
        """The fake network with the objective's outputs."""
        return FakeNetwork(OBJECTIVES[self.objective].output_names, conditional=self.conditional)

    def view(self) -> View:
        """What it sees."""
        inputs = ("x_t", *(("x_input",) if self.conditional else ()), *(("mask",) if self.masked else ()))
        return View(inputs=inputs, signal=self.setup.signal, num_train_timesteps=self.schedule.num_train_timesteps)

    def images(self, images: Images) -> Images:
        """Those of the file; without a degraded image it is 0."""
        return images if self.conditional else replace(images, x_input=torch.zeros_like(images.x_input))

    def denoiser(self, net: nn.Module, images: Images) -> Callable[[Tensor, Tensor], Prediction]:
        """(x_t, t) -> what the official code believes; images as `images` gives them."""
        objective, view = self.decoder(), self.view()

        def believe(x_t: Tensor, t: Tensor) -> Prediction:
            outputs = view.ask(net, self.schedule, x_t, images.x_input, t, images.mask)
            parts = outputs.chunk(objective.num_outputs, dim=1)
            pred = objective.decode(self.schedule, parts, x_t, images.x_input, t, ClipResidual())
            if self.objective == "pred_res" or (self.reading == "res" and len(parts) > 1):
                return replace(pred, noise=divided(self.schedule, pred.res, x_t, images.x_input, t))
            return pred

        return believe


@dataclass(frozen=True, slots=True)
class Sampled:
    """A sampling run: the images, mapped to [0, 1], and the times that the network saw."""

    images: Tensor
    calls: list[float]


def sample(key: Key, file_images: Images) -> Sampled:
    """The run of a key, from its start noise on."""
    run = Run.of(key)
    num_steps, eta = key.setting("S", int), key.setting("eta", float, 0.0)
    images, net, draws = run.images(file_images), run.network(), file_images.draws()
    steps = make_steps(TIME_GRIDS["official"], run.schedule.num_train_timesteps, num_steps)
    # Not the last entry of the tables: a DDIM-converted one ends at 0.99998.
    x = images.x_input + run.sum_scale**0.5 * next(draws)
    seen = [x] if run.conditional else []
    options: dict[str, Any] = {"callback": lambda done, total, x: seen.append(x)}
    sampler: Callable[..., Tensor] = residual_then_noise
    if not run.setup.two_stages:
        # The official code takes S = T to mean the ancestral sampler, whatever eta is.
        sampler = SAMPLERS["ancestral" if num_steps == run.schedule.num_train_timesteps else "deterministic"]
        options |= {"noise": lambda like: next(draws), "eta": eta}
    sampler(run.denoiser(net, images), run.schedule, x, steps, **options)
    return Sampled((torch.stack(seen) + 1) / 2, net.seen)
