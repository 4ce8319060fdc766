"""Against numbers of the official implementation: coefficients to 1e-6, images to 1e-5."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rddm.losses import LOSSES
from rddm.objectives import CLIPPINGS, OBJECTIVES, Prediction
from rddm.process import at, noise_from_residual, posterior, q_sample, start_from_both, start_from_noise
from rddm.sampling import deterministic, time_grid
from rddm.schedules import CURVES, Schedule, from_ddim, make_schedule
from rddm.selection import ObjectiveWeight, selection_loss
from rddm.training import training_loss

T = 1000


@pytest.fixture(scope="module")
def arrays(shared: Path) -> dict[str, Tensor]:
    with np.load(shared / "fixtures/rddm/official.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


@pytest.fixture(scope="module")
def tables(shared: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((shared / "fixtures/rddm/official.json").read_text())
    return loaded


def restoration(variance: float = 1.0, steps: int = T) -> Schedule:
    return make_schedule(CURVES["decreasing"](steps), CURVES["increasing"](steps), terminal_noise_variance=variance)


def fake_network(x: Tensor, time: Tensor, outputs: tuple[str, ...]) -> Tensor:
    """The network of the reference's README; `time` is the official index."""
    t = time.to(torch.float32)[:, None, None, None]
    x_t, x_input = x[:, :3], x[:, 3:6]
    a = 0.45 * x_input - 0.30 * x_t + (0.05 * t / 1000 - 0.02)
    b = 0.80 * x_t - 0.55 * x_input + 0.10 * torch.sin(0.01 * t)
    # The only output of pred_noise is the second one, everywhere else the first comes first.
    return {1: {"noise": b}.get(outputs[0], a), 2: torch.cat([a, b], dim=1)}[len(outputs)]


class Fake(nn.Module):
    """The fake network as our loss functions call it: with t / T, the paper's t being one more than the index."""

    def __init__(self, outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return fake_network(x, time * T - 1, self.outputs)


def denoise(schedule: Schedule, objective: str, x_t: Tensor, x_input: Tensor, t: Tensor) -> Prediction:
    chosen = OBJECTIVES[objective]()
    outputs = fake_network(torch.cat([x_t, x_input], 1), t - 1, chosen.output_names).chunk(chosen.num_outputs, 1)
    return chosen.decode(schedule, outputs, x_t, x_input, t, CLIPPINGS["residual"]())


@pytest.mark.parametrize("steps", [5, 10, 1000])
@pytest.mark.parametrize("variance", [1, 0.01])
def test_coefficients(arrays: dict[str, Tensor], steps: int, variance: float) -> None:
    schedule = restoration(variance, steps)
    ours = {
        "alphas": schedule.alphas_cumsum.diff(),
        "alphas_cumsum": schedule.alphas_cumsum[1:],
        "one_minus_alphas_cumsum": 1 - schedule.alphas_cumsum[1:],
        "betas2": schedule.betas2_cumsum.diff(),
        "betas": schedule.betas2_cumsum.diff().sqrt(),
        "betas2_cumsum": schedule.betas2_cumsum[1:],
        "betas_cumsum": schedule.sqrt_betas2_cumsum[1:],
    }
    for name, table in ours.items():
        official = arrays[f"exp2|T={steps}|sum_scale={variance}|{name}"]
        torch.testing.assert_close(table.to(official.dtype), official, atol=1e-6, rtol=0, msg=name)
    one_step = [posterior(schedule, t, t - 1) for t in range(2, steps + 1)]
    for name, values in {
        "posterior_mean_coef1": [p.of_x_t for p in one_step],
        "posterior_mean_coef2": [p.of_res for p in one_step],
        "posterior_mean_coef3": [p.of_x_start for p in one_step],
        "posterior_variance": [p.variance for p in one_step],
    }.items():
        official = arrays[f"exp2|T={steps}|sum_scale={variance}|{name}"][1:]
        torch.testing.assert_close(torch.tensor(values), official, atol=1e-6, rtol=0, msg=name)


def test_the_zero_based_family(tables: dict[str, Any]) -> None:
    selected = tables["exp4(__init__: decreased/increased, ratio 1, 0-based)|T=1000|sum_scale=1|selected"]
    alphas, betas2 = CURVES["decreasing_zero_based"](T), CURVES["increasing_zero_based"](T)
    for index, value in selected["alphas"].items():
        assert alphas[int(index)].item() == pytest.approx(value, abs=1e-6)
    assert betas2[0] == 0
    assert alphas[-1] == 0


@pytest.mark.parametrize("kind", ["q_sample", "predict_noise_from_res", "predict_start_from_xinput_noise",
                                  "predict_start_from_res_noise"])  # fmt: skip
def test_algebra(arrays: dict[str, Tensor], kind: str) -> None:
    x_start, x_input, noise = arrays["x0"], arrays["x_input"], arrays["noise"]
    keys = [key for key in arrays if key.startswith(f"{kind}|")]
    assert keys
    for key in keys:
        schedule = restoration(float(found[1]) if (found := re.search(r"sum_scale=([\d.]+)", key)) else 1.0)
        t = torch.full((2,), int(re.search(r"t=(\d+)", key)[1]) + 1)  # type: ignore[index]
        x_t = q_sample(schedule, x_start, x_input - x_start, t, noise)
        if kind == "predict_start_from_xinput_noise" and schedule.alphas_cumsum[t[0]] == 1:
            continue  # the official code divides by a made-up 1e-6 here
        match kind:
            case "q_sample":
                ours = x_t
            case "predict_noise_from_res":
                ours = noise_from_residual(schedule, x_input - x_start, x_t, x_input, t)
            case "predict_start_from_xinput_noise":
                ours = start_from_noise(schedule, noise, x_t, x_input, t)
            case _:
                ours = start_from_both(schedule, x_input - x_start, noise, x_t, t)
        # Where the division is by a small number, float32 itself is no better than this.
        smallest = min(1.0, at(schedule.sqrt_betas2_cumsum, t, x_t).min().item())
        scale = 1 / smallest if kind == "predict_noise_from_res" else 1.0
        torch.testing.assert_close(ours, arrays[key], atol=1e-5 * scale, rtol=1e-5)


# Not pred_noise at index 999: official replaces a division by 0 there; here the objective refuses such a schedule.
SERVED = [(name, index) for name in OBJECTIVES for index in (0, 999) if (name, index) != ("pred_noise", 999)]


@pytest.mark.parametrize(("objective", "index"), SERVED)
def test_predictions_with_official_clipping(arrays: dict[str, Tensor], objective: str, index: int) -> None:
    schedule = restoration()
    x_start, x_input, noise = arrays["x0"], arrays["x_input"], arrays["noise"]
    t = torch.full((2,), index + 1)
    x_t = q_sample(schedule, x_start, x_input - x_start, t, noise)
    pred = denoise(schedule, objective, x_t, x_input, t)
    official = {part: arrays[f"model_predictions|{objective}|sum_scale=1|t={index}|{part}"]
                for part in ("pred_res", "pred_noise", "pred_x_start")}  # fmt: skip
    torch.testing.assert_close(pred.res, official["pred_res"], atol=1e-5, rtol=0)
    torch.testing.assert_close(pred.noise, official["pred_noise"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(pred.x_start, official["pred_x_start"], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "key",
    [
        "pred_res_noise|T=1000|S=5|eta=0|sum_scale=1",
        "pred_res_noise|T=1000|S=5|eta=0|sum_scale=0.01",
        "pred_res_add_noise|T=1000|S=5|eta=0|sum_scale=1",
        "pred_x0_noise|T=1000|S=5|eta=0|sum_scale=1",
        "pred_x0_add_noise|T=1000|S=5|eta=0|sum_scale=1",
        "pred_res|T=1000|S=5|eta=0|sum_scale=1",
        "pred_res_noise|T=1000|S=1|eta=0|sum_scale=1",
        "pred_res_noise|T=1000|S=2|eta=0|sum_scale=1",
        "pred_res_noise|T=1000|S=5|eta=1.0|sum_scale=1",
    ],
)
def test_sampling(arrays: dict[str, Tensor], key: str) -> None:
    objective, _, steps, eta, variance = (
        re.split(r"\|\w+=|\|", key.replace("|T=1000", "|T="))[0],
        0,
        *(re.findall(r"(?:S|eta|sum_scale)=([\d.]+)", key)),
    )
    schedule = restoration(float(variance))
    x_input = arrays["x_input"]
    draws = iter([arrays["noise2"], -arrays["noise"], -arrays["noise2"], arrays["noise"], arrays["noise2"]])
    seen: list[Tensor] = []
    deterministic(
        lambda x_t, t: denoise(schedule, objective, x_t, x_input, t),
        schedule,
        x_input + schedule.terminal_noise_variance**0.5 * arrays["noise"],
        time_grid(T, int(steps)),
        noise=lambda like: next(draws),
        eta=float(eta),
        callback=lambda done, total, x: seen.append(x),
    )
    official = arrays[f"sample|exp2|{key}"][1:]
    torch.testing.assert_close((torch.stack(seen) + 1) / 2, official, atol=1e-5, rtol=0)


@pytest.mark.parametrize("variance", ["1", "0.01"])
@pytest.mark.parametrize("loss", ["l1", "l2"])
@pytest.mark.parametrize("objective", list(OBJECTIVES))
def test_training_losses(
    arrays: dict[str, Tensor], tables: dict[str, Any], objective: str, loss: str, variance: str
) -> None:
    official = tables["p_losses"][f"exp2|{objective}|{loss}|sum_scale={variance}|t=[37,803]"]
    chosen = OBJECTIVES[objective]()
    parts = training_loss(
        Fake(chosen.output_names), restoration(float(variance)), chosen, LOSSES[loss],
        arrays["x0"], arrays["x_input"], torch.tensor([38, 804]), arrays["noise"],
    )  # fmt: skip
    assert parts.total.item() == pytest.approx(official, abs=1e-5)


def test_selection_loss_and_its_gradient(arrays: dict[str, Tensor], tables: dict[str, Any]) -> None:
    key = next(key for key in tables if key.startswith("AOSA|lambda=0.5|"))
    weight = ObjectiveWeight()
    products = torch.cumprod(1 - torch.linspace(1e-4, 0.02, T, dtype=torch.float64), 0)  # the DDIM-converted schedule
    parts = selection_loss(
        Fake(("res",)), weight, from_ddim(products), LOSSES["l1"],
        arrays["x0"], arrays["x_input"], torch.tensor([38, 804]), arrays["noise"],
    )  # fmt: skip
    parts.total.backward()  # type: ignore[no-untyped-call]
    official = list(tables[key].values())
    assert weight.value.grad is not None
    ours = [parts.res.item(), parts.noise.item(), parts.total.item(), weight.value.grad.item()]
    assert ours == pytest.approx(official, abs=1e-5)
