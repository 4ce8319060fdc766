"""Ours for every kind of entry of official.json: kind -> a handler, which gives a verdict for each number or table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from rddm.losses import LOSSES
from rddm.objectives import OBJECTIVES
from rddm.process import q_sample
from rddm.registry import Registry
from rddm.schedules import Schedule
from rddm.selection import ObjectiveWeight, decide, selection_loss
from rddm.times import TIME_GRIDS, make_steps
from rddm.training import training_loss
from rddm.view import View
from tests.reference import unets
from tests.reference.coefficients import NAMES, TABLES, coefficients, of_note, one_based, zero_based
from tests.reference.judge import COEFFICIENT, TENSOR, Verdict, attempt, judge
from tests.reference.keys import Key, integers, kind_of
from tests.reference.runs import OFFICIAL_OBJECTIVES, SETUPS, FakeNetwork, Images, sample

Arrays = Mapping[str, Tensor]
Handler = Callable[[str, Any, Arrays], Iterator[Verdict]]
Compute = Callable[[Key, Arrays], Any]
HANDLERS: Registry[Handler] = Registry("kind of entry")
_THRESHOLD = 0.01
_TIMES = [37, 803]


def check_entries(entries: Mapping[str, Any], arrays: Arrays) -> Iterator[Verdict]:
    """A verdict for everything in official.json."""
    for raw, value in entries.items():
        yield from attempt(raw, _entry, raw, value, arrays)


def _entry(raw: str, value: Any, arrays: Arrays) -> Iterable[Verdict]:
    if isinstance(value, str):
        return [Verdict(raw, "given", text=value)]
    return HANDLERS[kind_of(raw)](raw, value, arrays)


def _numbers(kind: str, tolerance: float, *, nested: bool = False) -> Callable[[Compute], Compute]:
    """Register how the numbers of a kind are computed.

    Args:
        kind: Name of the kind.
        tolerance: As in `judge`.
        nested: Whether the value is a dictionary of keys of their own.
    """

    def enrol(compute: Compute) -> Compute:
        def judged(raw: str, official: Any, arrays: Arrays) -> Iterator[Verdict]:
            key = Key(raw)
            ours = compute(key, arrays)
            key.end()
            yield judge(raw, _tensor(official), _tensor(ours), tolerance)

        def each(raw: str, value: Any, arrays: Arrays) -> Iterator[Verdict]:
            for inner, official in value.items():
                yield from attempt(f"{kind}|{inner}", judged, f"{kind}|{inner}", official, arrays)

        HANDLERS.register(kind)(each if nested else judged)
        return compute

    return enrol


def _tensor(value: Any) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64)


@_numbers("gen_coefficients", COEFFICIENT, nested=True)
def gen_coefficients(key: Key, arrays: Arrays) -> Tensor:
    """Increments of a curve times sum_scale."""
    family, name = key.word(("exp2", "exp0/3/4/5/6")), key.word(NAMES)
    num_train_timesteps, sum_scale = key.setting("T", int), key.setting("sum_scale", float, 1.0)
    power = key.setting("ratio", float, key.setting("power", float, 1.0))
    make = one_based if family == "exp2" else zero_based
    return make(name, num_train_timesteps, power) * sum_scale


@HANDLERS.register("gen_coefficients_assert_float32")
def sums(raw: str, value: Any, arrays: Arrays) -> Iterator[Verdict]:
    """Whether the official code's own check, that a float32 curve sums to 1, holds."""
    for inner, official in value.items():
        key = Key(f"{raw}|{inner}")
        curve = zero_based(key.word(NAMES), key.setting("T", int), key.setting("ratio", float, 1.0))
        miss = abs(curve.sum().item() - 1)
        key.end()
        yield Verdict(key.raw, "ok" if (miss < COEFFICIENT) == (official == "ok") else "FAIL", miss, miss)


def tables(raw: str, value: Any, arrays: Arrays) -> Iterator[Verdict]:
    """Coefficient tables: whole, or selected entries by their index."""
    key = Key(raw)
    selected = key.flag("selected")
    sum_scale = key.setting("sum_scale", float, 1.0)
    num_train_timesteps = key.setting("T", int, 1000)
    note = key.notes[0] if key.notes else ""
    made = (
        of_note(key.kind, note, num_train_timesteps, sum_scale)
        if note
        else coefficients(key.kind, num_train_timesteps, sum_scale)
    )
    key.end()
    for name, official in value.items():
        if name not in TABLES:
            raise ValueError(f"nobody knows the table {name!r}")
        ours = made.tables[name]
        if selected:
            ours, official = ours[[int(index) for index in official]], list(official.values())
        yield judge(f"{raw}|{name}", _tensor(official).to(torch.float32), ours, COEFFICIENT)


for _kind in ("exp0", "exp2", "exp3_ddim", "exp4", "exp5", "exp6"):
    HANDLERS.register(_kind)(tables)


@_numbers("ddim_time_grid", COEFFICIENT, nested=True)
def ddim_time_grid(key: Key, arrays: Arrays) -> list[int]:
    """The official indices that are visited; -1 is the clean image."""
    steps = make_steps(TIME_GRIDS["official"], key.setting("T", int), key.setting("S", int))
    return [steps[0][0] - 1, *(s - 1 for _, s in steps)]


@_numbers("q_posterior_var_logvar", COEFFICIENT)
def q_posterior(key: Key, arrays: Arrays) -> list[Tensor]:
    """Variance and its clipped logarithm at one time."""
    setup = SETUPS[key.word(SETUPS, "exp2")]
    made = coefficients(setup.tables, key.setting("T", int, 1000), key.setting("sum_scale", float, 1.0))
    t = key.setting("t", int)
    return [made.tables[name][t].to(torch.float32) for name in ("posterior_variance", "posterior_log_variance_clipped")]


@_numbers("sample_calls", COEFFICIENT)
def sample_calls(key: Key, arrays: Arrays) -> list[float]:
    """The times that the network saw."""
    return sample(key, Images.of(arrays)).calls


def _losses(objective: str, loss: str, schedule: Schedule, view: View, times: list[int], arrays: Arrays) -> list[float]:
    chosen, images = OBJECTIVES[objective](), Images.of(arrays)
    t = torch.tensor(times) + 1
    parts = training_loss(
        FakeNetwork(chosen.output_names), schedule, chosen, LOSSES[loss], images.x_start, images.x_input, t,
        images.noise, view=view,
    )  # fmt: skip
    return [part.item() for part in parts.per_output.values()]


@_numbers("p_losses", TENSOR, nested=True)
def p_losses(key: Key, arrays: Arrays) -> float:
    """The training loss: the sum over the outputs."""
    setup = SETUPS[key.word(SETUPS, "exp2")]
    made = coefficients(setup.tables, key.setting("T", int, 1000), key.setting("sum_scale", float, 1.0))
    view = View(signal=setup.signal, num_train_timesteps=made.schedule.num_train_timesteps)
    objective, loss = key.word(OFFICIAL_OBJECTIVES), key.word(LOSSES)
    return sum(_losses(objective, loss, made.schedule, view, key.setting("t", integers, _TIMES), arrays))


@HANDLERS.register("p_losses_exp3_list")
def p_losses_of_each_output(raw: str, value: Any, arrays: Arrays) -> Iterator[Verdict]:
    """The loss of each output, with DDIM-converted coefficients; the settings stand in the note."""
    objective, loss, *rest = Key(raw).notes[0].split(",")
    if rest != ["ddim coef"]:
        raise ValueError(f"nobody knows what {rest} means here")
    ours = _losses(objective, loss, _converted(), _INDEXED, _TIMES, arrays)
    yield judge(raw, _tensor(value), _tensor(ours), TENSOR)


_INDEXED = View(signal=SETUPS["exp3_ddimcoef"].signal)


def _converted() -> Schedule:
    return coefficients("exp3_after_init", 1000, 1.0).schedule


@HANDLERS.register("AOSA")
def automatic_selection(raw: str, value: Any, arrays: Arrays) -> Iterator[Verdict]:
    """Both losses and the gradient while undecided; afterwards the chosen objective's loss alone."""
    key = Key(raw)
    weight = key.setting("lambda", float)
    times, loss = key.setting("t", integers, _TIMES), key.word(LOSSES, "l1")
    key.end()
    chosen = decide(weight, _THRESHOLD)
    ours = _undecided(weight, loss, times, arrays) if chosen is None else _decided(chosen, loss, times, arrays)
    for name, official in value.items():
        if name not in ours:
            raise ValueError(f"nobody knows what {name!r} is; expected one of {list(ours)}")
        yield judge(f"{raw}|{name}", _tensor(official), _tensor(ours[name]), TENSOR)


def _undecided(weight: float, loss: str, times: list[int], arrays: Arrays) -> dict[str, Any]:
    images, learned = Images.of(arrays), ObjectiveWeight()
    learned.value.data.fill_(weight)
    parts = selection_loss(
        FakeNetwork(("res",)), learned, _converted(), LOSSES[loss], images.x_start, images.x_input,
        torch.tensor(times) + 1, images.noise, view=_INDEXED,
    )  # fmt: skip
    parts.total.backward()  # type: ignore[no-untyped-call]
    return {
        "L_res": parts.res.item(),
        "L_noise": parts.noise.item(),
        "total(=lam*L_res+(1-lam)*L_noise)": parts.total.item(),
        "d total/d lambda": learned.value.grad,
    }


def _decided(chosen: str, loss: str, times: list[int], arrays: Arrays) -> dict[str, Any]:
    """The one output is the residual's, whatever it is compared with."""
    images, t = Images.of(arrays), torch.tensor(times) + 1
    parts = {"pred_res": images.x_input - images.x_start, "pred_noise": images.noise}
    x_t = q_sample(_converted(), images.x_start, parts["pred_res"], t, images.noise)
    output = _INDEXED.ask(FakeNetwork(("res",)), _converted(), x_t, images.x_input, t)
    losses = [LOSSES[loss](output, parts[name]).mean().item() if name == chosen else 0.0 for name in parts]
    return {"losses": losses, "alpha_res_to_0_or_1": int(chosen == "pred_res")}


@HANDLERS.register("unet_state_dict_names")
def state_dict_names(raw: str, value: Any, arrays: Arrays) -> Iterator[Verdict]:
    """Names and shapes, in order."""
    for call, official in value.items():
        same = unets.names_and_shapes(call) == official
        yield Verdict(f"{raw}|{call}", "ok" if same else "FAIL", text="" if same else "other names or shapes")


@HANDLERS.register("param_counts")
def param_counts(raw: str, value: Any, arrays: Arrays) -> Iterator[Verdict]:
    """Of networks of full size."""
    for call, official in value.items():
        yield judge(f"{raw}|{call}", _tensor(official), _tensor(unets.parameter_count(call)), 0.0)
