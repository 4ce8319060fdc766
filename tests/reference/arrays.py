"""Ours for every kind of key of official.npz: kind -> a handler, which reads the key and computes the array."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rddm.official import start_from_noise
from rddm.process import q_sample, start_from_both
from rddm.registry import Registry
from tests.reference import unets
from tests.reference.coefficients import TABLES, Coefficients, coefficients, of_curves
from tests.reference.judge import COEFFICIENT, TENSOR
from tests.reference.keys import Key
from tests.reference.runs import Images, Run, divided, sample

Arrays = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Ours:
    """What we compute, None where the entry is given; the rest as in `judge`."""

    value: Tensor | None
    tolerance: float = TENSOR
    whole: bool = False
    text: str = ""


Handler = Callable[[Key, Arrays], Ours]
HANDLERS: Registry[Handler] = Registry("kind of key")


def _given(key: Key, arrays: Arrays) -> Ours:
    return Ours(None)


for _name in ("x0", "x_input", "noise", "noise2", "mask"):
    HANDLERS.register(_name)(_given)


@HANDLERS.register("x_res")
def x_res(key: Key, arrays: Arrays) -> Ours:
    """The residual."""
    return Ours(arrays["x_input"] - arrays["x0"])


def _tables(make: Callable[[Key, int, float], Coefficients]) -> Handler:
    def handle(key: Key, arrays: Arrays) -> Ours:
        made = make(key, key.setting("T", int), key.setting("sum_scale", float, 1.0))
        return Ours(made.tables[key.word(TABLES)], COEFFICIENT)

    return handle


def _zero_based(key: Key, num_train_timesteps: int, sum_scale: float) -> Coefficients:
    power = key.setting("ratio", float, 1.0)
    return of_curves(num_train_timesteps, sum_scale, ("decreased", power), ("increased", power))


HANDLERS.register("exp2")(_tables(lambda key, t, scale: coefficients("exp2", t, scale)))
HANDLERS.register("exp3_ddim_init")(_tables(lambda key, t, scale: coefficients("exp3_init", t, scale)))
HANDLERS.register("exp3_ddim_after_init")(_tables(lambda key, t, scale: coefficients("exp3_after_init", t, scale)))
HANDLERS.register("exp4_gen")(_tables(_zero_based))


@dataclass(frozen=True, slots=True)
class Point:
    """A noisy image at a time, and all that it was made of."""

    run: Run
    images: Images
    t: int
    x_t: Tensor

    @property
    def times(self) -> Tensor:
        """The paper's t for each image."""
        return torch.full((self.x_t.shape[0],), self.t)

    @property
    def res(self) -> Tensor:
        """The true residual."""
        return self.images.x_input - self.images.x_start

    def entry(self, table: str) -> Tensor:
        """An official coefficient at this time, as float32 knows it."""
        return self.run.coefficients.tables[table][self.t - 1].to(torch.float32)


def _point(run: Run, t: int, arrays: Arrays) -> Point:
    """The noisy image at the paper's t.

    Raises:
        ValueError: The time is outside the schedule.
    """
    last = run.schedule.num_train_timesteps
    if not 1 <= t <= last:
        raise ValueError(f"t={t - 1}; expected 0 to {last - 1}")
    images = run.images(Images.of(arrays))
    times = torch.full((images.x_start.shape[0],), t)
    x_t = q_sample(run.schedule, images.x_start, images.x_input - images.x_start, times, images.noise)
    return Point(run, images, t, x_t)


def _algebra(compute: Callable[[Point], Tensor]) -> Handler:
    def handle(key: Key, arrays: Arrays) -> Ours:
        run = Run.of_algebra(key)
        return Ours(compute(_point(run, key.setting("t", int) + 1, arrays)))

    return handle


def _posterior_mean(point: Point) -> Tensor:
    """By the tables, whose rows are `rddm.process.posterior` and the official repair of the first one."""
    names = ("posterior_mean_coef1", "posterior_mean_coef2", "posterior_mean_coef3")
    of_x_t, of_res, of_x_start = (point.entry(name) for name in names)
    return of_x_t * point.x_t + of_res * point.res + of_x_start * point.images.x_start


def _posterior_mean_from_both(point: Point) -> Tensor:
    r"""$I_t - \alpha_t I_{res} - \beta_t^2 / \bar\beta_t \epsilon$: the same mean, by the increments."""
    of_noise = point.entry("betas2") / point.entry("betas_cumsum")
    return point.x_t - point.entry("alphas") * point.res - of_noise * point.images.noise


def _start(point: Point) -> Tensor:
    return start_from_both(point.run.schedule, point.res, point.images.noise, point.x_t, point.times)


HANDLERS.register("q_sample")(_algebra(lambda point: point.x_t))
HANDLERS.register("predict_noise_from_res")(
    _algebra(lambda p: divided(p.run.schedule, p.res, p.x_t, p.images.x_input, p.times))
)
HANDLERS.register("predict_start_from_xinput_noise")(
    _algebra(lambda p: start_from_noise(p.run.schedule, p.images.noise, p.x_t, p.images.x_input, p.times))
)
HANDLERS.register("predict_start_from_res_noise")(_algebra(_start))
HANDLERS.register("q_posterior_from_res_noise")(_algebra(_posterior_mean_from_both))
HANDLERS.register("q_posterior_mean")(_algebra(_posterior_mean))


@HANDLERS.register("model_predictions")
def model_predictions(key: Key, arrays: Arrays) -> Ours:
    """What is believed at one time."""
    run, t = Run.of(key), key.setting("t", int) + 1
    point = _point(run, t, arrays)
    pred = run.denoiser(run.network(), point.images)(point.x_t, point.times)
    parts = {"pred_res": pred.res, "pred_noise": pred.noise, "pred_x_start": pred.x_start}
    return Ours(parts[key.next_word()])


@HANDLERS.register("sample")
def sampled(key: Key, arrays: Arrays) -> Ours:
    """A whole run."""
    return Ours(sample(key, Images.of(arrays)).images)


@HANDLERS.register("unet")
def unet(key: Key, arrays: Arrays) -> Ours:
    """One output of a tiny network."""
    call = key.next_word()
    if call == "t" or call.startswith("input"):
        return Ours(None)
    output = unets.output(call, key.next_word(), arrays)
    plain = (output.plain - arrays[key.raw]).abs().max().item() if output.plain.shape == arrays[key.raw].shape else 0.0
    return Ours(output.ours, whole=True, text=f"(operation after operation: {plain:.2e})")
