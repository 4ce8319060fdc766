r"""What the network predicts: each objective's targets and the way back, side by side (paper, sections 3.1 and 3.4).

A prediction always holds all three of residual, noise and clean image; what the network does not give follows from
the forward process. The three clipping modes say what happens where a prediction leaves the range of images.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

from rddm.process import noise_from_residual, start_from_both, start_from_noise
from rddm.registry import Registry
from rddm.schedules import Schedule
from rddm.shapes import Images, Times

Outputs = tuple[Images, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What is believed of an image at time t; images in [-1, 1], the residual in [-2, 2]."""

    res: Images
    noise: Images
    x_start: Images


class Clipping(ABC):
    """What happens where a prediction leaves the range of images."""

    @abstractmethod
    def residual(self, res: Images, x_input: Images) -> Images:
        """The residual that is believed, before anything else is derived from it."""

    @abstractmethod
    def start(self, x_start: Images) -> Images:
        """The clean image that is believed."""


CLIPPINGS: Registry[type[Clipping]] = Registry("clipping")


@CLIPPINGS.register("x_start")
@final
class ClipStart(Clipping):
    """Clamp the clean image to [-1, 1], and the residual to what leads to such an image."""

    def residual(self, res: Images, x_input: Images) -> Images:
        """The residual whose clean image x_input - res lies in [-1, 1]."""
        return x_input - (x_input - res).clamp(-1, 1)

    def start(self, x_start: Images) -> Images:
        """Clamped."""
        return x_start.clamp(-1, 1)


@CLIPPINGS.register("residual")
@final
class ClipResidual(Clipping):
    """Clamp residual and clean image each to [-1, 1], as the official code does.

    A true residual lies in [-2, 2]: where |res| > 1 this is wrong by |res| - 1 even for a perfect network.
    """

    def residual(self, res: Images, x_input: Images) -> Images:
        """Clamped to [-1, 1]."""
        return res.clamp(-1, 1)

    def start(self, x_start: Images) -> Images:
        """Clamped."""
        return x_start.clamp(-1, 1)


@CLIPPINGS.register("none")
@final
class ClipNothing(Clipping):
    """Leave the prediction as it is."""

    def residual(self, res: Images, x_input: Images) -> Images:
        """As it is."""
        return res

    def start(self, x_start: Images) -> Images:
        """As it is."""
        return x_start


UNCLIPPED = ClipNothing()


class Objective(ABC):
    """A choice of targets, and how all unknowns follow from a network that hits them."""

    output_names: ClassVar[tuple[str, ...]]

    @property
    def num_outputs(self) -> int:
        """Images that the network returns."""
        return len(self.output_names)

    @abstractmethod
    def targets(self, x_start: Images, x_input: Images, noise: Images) -> Outputs:
        """What each output should be."""

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

    def check(self, schedule: Schedule) -> None:  # noqa: B027  # most objectives serve every schedule
        """Say whether sampling from t = T is defined with this schedule.

        Raises:
            ValueError: It is not; the message says why and what to choose.
        """


OBJECTIVES: Registry[type[Objective]] = Registry("objective")


class _GivesResidual(Objective):
    """Objectives whose decoding divides by the noise's standard deviation."""

    def check(self, schedule: Schedule) -> None:
        """Refuse a schedule without noise, from which the noise cannot be recovered."""
        if schedule.betas2_cumsum[-1] == 0:
            raise ValueError(
                "the schedule ends without noise; expected terminal_noise_variance above 0 for this objective"
            )


@OBJECTIVES.register("pred_res_noise")
@final
class PredictResidualAndNoise(Objective):
    """SM-Res-N: two outputs, the residual and the noise."""

    output_names = ("res", "noise")

    def targets(self, x_start: Images, x_input: Images, noise: Images) -> Outputs:
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
class PredictResidual(_GivesResidual):
    """SM-Res: the network returns the residual; the noise follows from the forward process."""

    output_names = ("res",)

    def targets(self, x_start: Images, x_input: Images, noise: Images) -> Outputs:
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

    def targets(self, x_start: Images, x_input: Images, noise: Images) -> Outputs:
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

    def check(self, schedule: Schedule) -> None:
        r"""Refuse $\bar\alpha_T = 1$: at t = T, x_t holds nothing of the clean image."""
        if schedule.alphas_cumsum[-1] >= 1 - 1e-9:
            raise ValueError(
                "pred_noise cannot start at t = T of a schedule whose alphas_cumsum reaches 1: the clean image would "
                "be divided by 1 - 1 = 0. Use a schedule from DDIM, or pred_res or pred_res_noise."
            )


@OBJECTIVES.register("pred_x0_noise")
@final
class PredictStartAndNoise(Objective):
    """Two outputs, the clean image and the noise."""

    output_names = ("x_start", "noise")

    def targets(self, x_start: Images, x_input: Images, noise: Images) -> Outputs:
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

    def targets(self, x_start: Images, x_input: Images, noise: Images) -> Outputs:
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

    def targets(self, x_start: Images, x_input: Images, noise: Images) -> Outputs:
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
