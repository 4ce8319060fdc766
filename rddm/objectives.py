r"""What the network predicts: each objective's targets and the way back, side by side (paper, sections 3.1 and 3.4).

A prediction always holds all three of residual, noise and clean image; what the network does not give follows from
the forward process. `rddm.clipping` says what happens where a prediction leaves the range of images.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

from rddm.clipping import UNCLIPPED, Clipping
from rddm.process import at, noise_from_residual, start_from_both, start_from_noise
from rddm.registry import Registry
from rddm.schedules import Schedule
from rddm.shapes import Images, Times

Outputs = tuple[Images, ...]
_AMPLIFICATION_MAX = 1e5
"""Above this, rounding I_t to float32 alone moves the clean image by more than a hundredth of its range."""


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What is believed of an image at time t; images in [-1, 1], the residual in [-2, 2]."""

    res: Images
    noise: Images
    x_start: Images


class Objective(ABC):
    """A choice of targets, and how all unknowns follow from a network that hits them."""

    output_names: ClassVar[tuple[str, ...]]

    @property
    def num_outputs(self) -> int:
        """Images that the network returns."""
        return len(self.output_names)

    @abstractmethod
    def targets(self, schedule: Schedule, x_start: Images, x_input: Images, noise: Images, t: Times) -> Outputs:
        """What each output should be at time t."""

    @abstractmethod
    def decode(
        self,
        schedule: Schedule,
        outputs: Outputs,
        x_t: Images,
        x_input: Images,
        t: Times,
        clipping: Clipping = UNCLIPPED,
    ) -> Prediction:
        """All unknowns from the outputs at time t."""

    def first_time(self, schedule: Schedule) -> int:
        """The largest t at which the outputs say what the clean image is: where sampling can begin.

        Raises:
            ValueError: There is none; the message says why and what to choose.
        """
        return schedule.num_train_timesteps


OBJECTIVES: Registry[type[Objective]] = Registry("objective")


@OBJECTIVES.register("pred_res_noise")
@final
class PredictResidualAndNoise(Objective):
    """SM-Res-N: two outputs, the residual and the noise."""

    output_names = ("res", "noise")

    def targets(self, schedule: Schedule, x_start: Images, x_input: Images, noise: Images, t: Times) -> Outputs:
        """Residual and noise."""
        return x_input - x_start, noise

    def decode(
        self,
        schedule: Schedule,
        outputs: Outputs,
        x_t: Images,
        x_input: Images,
        t: Times,
        clipping: Clipping = UNCLIPPED,
    ) -> Prediction:
        """The clean image is what remains of x_t."""
        res, noise = clipping.residual(outputs[0], x_input), outputs[1]
        return Prediction(res, noise, clipping.start(start_from_both(schedule, res, noise, x_t, t)))


@OBJECTIVES.register("pred_res")
@final
class PredictResidual(Objective):
    """SM-Res: the network returns the residual; the noise follows from the forward process."""

    output_names = ("res",)

    def targets(self, schedule: Schedule, x_start: Images, x_input: Images, noise: Images, t: Times) -> Outputs:
        """The residual."""
        return (x_input - x_start,)

    def decode(
        self,
        schedule: Schedule,
        outputs: Outputs,
        x_t: Images,
        x_input: Images,
        t: Times,
        clipping: Clipping = UNCLIPPED,
    ) -> Prediction:
        """The clean image is the input less the residual."""
        res = clipping.residual(outputs[0], x_input)
        return Prediction(res, noise_from_residual(schedule, res, x_t, x_input, t), clipping.start(x_input - res))


@OBJECTIVES.register("pred_noise")
@final
class PredictNoise(Objective):
    r"""SM-N: the network returns the noise; the clean image follows, except where $\bar\alpha_t = 1$."""

    output_names = ("noise",)

    def targets(self, schedule: Schedule, x_start: Images, x_input: Images, noise: Images, t: Times) -> Outputs:
        """The noise."""
        return (noise,)

    def decode(
        self,
        schedule: Schedule,
        outputs: Outputs,
        x_t: Images,
        x_input: Images,
        t: Times,
        clipping: Clipping = UNCLIPPED,
    ) -> Prediction:
        """The residual is the input less the clean image."""
        (noise,) = outputs
        x_start = clipping.start(start_from_noise(schedule, noise, x_t, x_input, t))
        return Prediction(clipping.residual(x_input - x_start, x_input), noise, x_start)

    def first_time(self, schedule: Schedule) -> int:
        r"""The largest t where $\bar\beta_t / (1 - \bar\alpha_t)$ is small enough.

        An error of the noise comes back in the clean image times that; at $\bar\alpha_t = 1$ the noise says nothing of
        it at all. Sampling begins where it does, as if $I_t$ were $I_{in} + \bar\beta_t \epsilon$.
        """
        left = 1 - schedule.alphas_cumsum
        known = (left > 0) & (schedule.sqrt_betas2_cumsum <= _AMPLIFICATION_MAX * left)
        first = int(known.nonzero().max())
        if first == 0:
            raise ValueError(
                "pred_noise can be used at no time of this schedule: nothing is left of the clean image beside the "
                "noise; use pred_res or pred_res_noise"
            )
        return first


@OBJECTIVES.register("pred_x0")
@final
class PredictStart(Objective):
    """The network returns the clean image; the noise follows, before clipping (diffusers: `sample`)."""

    output_names = ("x_start",)

    def targets(self, schedule: Schedule, x_start: Images, x_input: Images, noise: Images, t: Times) -> Outputs:
        """The clean image."""
        return (x_start,)

    def decode(
        self,
        schedule: Schedule,
        outputs: Outputs,
        x_t: Images,
        x_input: Images,
        t: Times,
        clipping: Clipping = UNCLIPPED,
    ) -> Prediction:
        """The residual is the input less the clean image."""
        noise = noise_from_residual(schedule, x_input - outputs[0], x_t, x_input, t)
        x_start = clipping.start(outputs[0])
        return Prediction(clipping.residual(x_input - x_start, x_input), noise, x_start)


@OBJECTIVES.register("pred_v")
@final
class PredictVelocity(Objective):
    r"""The network returns $v = (1 - \bar\alpha_t) \epsilon - \bar\beta_t I_0$ (Salimans and Ho 2022; diffusers).

    It says something of the clean image at every time, also where nothing but noise is left of it.
    """

    output_names = ("v",)

    def targets(self, schedule: Schedule, x_start: Images, x_input: Images, noise: Images, t: Times) -> Outputs:
        """The velocity."""
        return (
            (1 - at(schedule.alphas_cumsum, t, x_start)) * noise
            - at(schedule.sqrt_betas2_cumsum, t, x_start) * x_start,
        )

    def decode(
        self,
        schedule: Schedule,
        outputs: Outputs,
        x_t: Images,
        x_input: Images,
        t: Times,
        clipping: Clipping = UNCLIPPED,
    ) -> Prediction:
        r"""Solves $v$ and $I_t - \bar\alpha_t I_{in} = (1 - \bar\alpha_t) I_0 + \bar\beta_t \epsilon$ for both."""
        alpha_bar = at(schedule.alphas_cumsum, t, x_t)
        signal, beta_bar = 1 - alpha_bar, at(schedule.sqrt_betas2_cumsum, t, x_t)
        rest, power = x_t - alpha_bar * x_input, signal**2 + beta_bar**2
        x_start = clipping.start((signal * rest - beta_bar * outputs[0]) / power)
        noise = (beta_bar * rest + signal * outputs[0]) / power
        return Prediction(clipping.residual(x_input - x_start, x_input), noise, x_start)

    def first_time(self, schedule: Schedule) -> int:
        """The largest t at which noise or signal is left: without either, v is 0 whatever the image."""
        return int(((1 - schedule.alphas_cumsum) ** 2 + schedule.betas2_cumsum > 0).nonzero().max())


@OBJECTIVES.register("pred_x0_noise")
@final
class PredictStartAndNoise(Objective):
    """Two outputs, the clean image and the noise."""

    output_names = ("x_start", "noise")

    def targets(self, schedule: Schedule, x_start: Images, x_input: Images, noise: Images, t: Times) -> Outputs:
        """Clean image and noise."""
        return x_start, noise

    def decode(
        self,
        schedule: Schedule,
        outputs: Outputs,
        x_t: Images,
        x_input: Images,
        t: Times,
        clipping: Clipping = UNCLIPPED,
    ) -> Prediction:
        """The residual is the input less the clean image."""
        x_start, noise = clipping.start(outputs[0]), outputs[1]
        return Prediction(clipping.residual(x_input - x_start, x_input), noise, x_start)


@OBJECTIVES.register("pred_res_add_noise")
@final
class PredictResidualAddNoise(Objective):
    """Two outputs, the residual and the sum of residual and noise."""

    output_names = ("res", "res_add_noise")

    def targets(self, schedule: Schedule, x_start: Images, x_input: Images, noise: Images, t: Times) -> Outputs:
        """Residual, and residual plus noise."""
        res = x_input - x_start
        return res, res + noise

    def decode(
        self,
        schedule: Schedule,
        outputs: Outputs,
        x_t: Images,
        x_input: Images,
        t: Times,
        clipping: Clipping = UNCLIPPED,
    ) -> Prediction:
        """The noise is the outputs' difference."""
        res = clipping.residual(outputs[0], x_input)
        noise = outputs[1] - res
        return Prediction(res, noise, clipping.start(start_from_both(schedule, res, noise, x_t, t)))


@OBJECTIVES.register("pred_x0_add_noise")
@final
class PredictStartAddNoise(Objective):
    """Two outputs, the clean image and the sum of clean image and noise."""

    output_names = ("x_start", "x_start_add_noise")

    def targets(self, schedule: Schedule, x_start: Images, x_input: Images, noise: Images, t: Times) -> Outputs:
        """Clean image, and clean image plus noise."""
        return x_start, x_start + noise

    def decode(
        self,
        schedule: Schedule,
        outputs: Outputs,
        x_t: Images,
        x_input: Images,
        t: Times,
        clipping: Clipping = UNCLIPPED,
    ) -> Prediction:
        """The noise is the outputs' difference."""
        x_start = clipping.start(outputs[0])
        return Prediction(clipping.residual(x_input - x_start, x_input), outputs[1] - x_start, x_start)


@final
class OneOutput(Objective):
    """A two-output model used through one of its outputs alone (paper, section 3.4).

    Args:
        trained: The objective that the model was trained with.
        output: `res` or `noise`, if it is one of its outputs.

    Raises:
        ValueError: The objective has no such output.
    """

    def __init__(self, trained: Objective, output: str) -> None:
        """Find the output and the objective that it alone would serve."""
        alone = {"res": PredictResidual, "noise": PredictNoise}
        if output not in alone or output not in trained.output_names:
            usable = sorted(alone.keys() & set(trained.output_names))
            raise ValueError(f"there is no output {output!r} that can be used alone; expected one of {usable}")
        self._trained, self._index, self._alone = trained, trained.output_names.index(output), alone[output]()

    @property
    def num_outputs(self) -> int:
        """Images that the network returns, the unused one included."""
        return self._trained.num_outputs

    def targets(self, schedule: Schedule, x_start: Images, x_input: Images, noise: Images, t: Times) -> Outputs:
        """What each output was trained to be."""
        return self._trained.targets(schedule, x_start, x_input, noise, t)

    def decode(
        self,
        schedule: Schedule,
        outputs: Outputs,
        x_t: Images,
        x_input: Images,
        t: Times,
        clipping: Clipping = UNCLIPPED,
    ) -> Prediction:
        """All unknowns from the one output."""
        return self._alone.decode(schedule, (outputs[self._index],), x_t, x_input, t, clipping)

    def first_time(self, schedule: Schedule) -> int:
        """As the objective that the output alone would serve."""
        return self._alone.first_time(schedule)
