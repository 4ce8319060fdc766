"""Against numbers of the official implementation, key by key; and beside its known errors, what is right.

`python -m tests.reference.official` checks whole files; here it is checked itself.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rddm.clipping import CLIPPINGS
from rddm.ddim import ddim
from rddm.objectives import OBJECTIVES, Prediction
from rddm.official import OfficialPredictNoise, residual_then_noise
from rddm.paths import along, residual_first
from rddm.process import q_sample
from rddm.sampling import deterministic
from rddm.schedules import CURVES, Schedule, make_schedule
from rddm.times import TIME_GRIDS, Step, make_steps
from tests.reference.entries import check_entries
from tests.reference.keys import Key
from tests.reference.official import check_array, main, read_arrays, read_entries
from tests.unit.rddm.oracle import Oracle, images

T = 1000
GIVEN = ("x0", "x_input", "noise", "noise2", "mask")
FILES = Path(__file__).resolve().parents[4] / "shared/fixtures/rddm"
ARRAYS = list(read_arrays(FILES / "official.npz")) if FILES.is_dir() else []
ENTRIES = list(read_entries(FILES / "official.json")) if FILES.is_dir() else []


@pytest.fixture(scope="module")
def arrays(shared: Path) -> dict[str, Tensor]:
    return read_arrays(shared / "fixtures/rddm/official.npz")


@pytest.fixture(scope="module")
def entries(shared: Path) -> dict[str, Any]:
    return read_entries(shared / "fixtures/rddm/official.json")


@pytest.mark.parametrize("key", ARRAYS)
def test_every_array_is_the_official_one(arrays: dict[str, Tensor], key: str) -> None:
    verdict = check_array(key, arrays)
    assert verdict.passed, str(verdict)
    assert verdict.status == "ok" or key in (*GIVEN, "unet|input", "unet|t")


@pytest.mark.parametrize("key", ENTRIES)
def test_every_entry_is_the_official_one(entries: dict[str, Any], arrays: dict[str, Tensor], key: str) -> None:
    """Among them training losses, and AOSA's losses and gradient."""
    verdicts = list(check_entries({key: entries[key]}, arrays))
    assert verdicts
    assert [str(verdict) for verdict in verdicts if verdict.status != "ok"] == []


@pytest.mark.parametrize(
    ("key", "by"),
    [
        ("exp2|T=10|sum_scale=1|posterior_mean_coef2", 2e-6),
        ("exp3_ddim_after_init()|T=1000|one_minus_alphas_cumsum", -2e-6),
        ("q_sample|exp2|T=1000|sum_scale=1|t=499", 2e-5),
        ("model_predictions|pred_noise|sum_scale=1|t=999|pred_x_start", 2e-5),
        ("sample|exp2|pred_res_noise|T=1000|S=5|eta=0|sum_scale=1", -2e-5),
        ("unet|Unet(dim=8,dim_mults=(1,2),condition=True)|out", 2e-5),
        ("q_sample|exp2|T=1000|sum_scale=1|t=0", torch.nan),
        ("q_sample|exp2|T=1000|sum_scale=1|t=1", torch.inf),
    ],
)
def test_one_wrong_number_is_found(arrays: dict[str, Tensor], key: str, by: float) -> None:
    wrong = arrays[key].clone()
    wrong.view(-1)[3] += by
    assert check_array(key, {**arrays, key: wrong}).status == "FAIL"


@pytest.mark.parametrize(
    "key", ["p_losses", "AOSA|lambda=0.5|t=[37,803]|l1", "param_counts", "exp6(__init__)|T=1000|selected"]
)
def test_one_wrong_entry_is_found(entries: dict[str, Any], arrays: dict[str, Tensor], key: str) -> None:
    name, value = next(iter(entries[key].items()))
    wrong = {**value, "0": value["0"] + 2e-6} if isinstance(value, dict) else value + 1
    failed = [v for v in check_entries({key: {**entries[key], name: wrong}}, arrays) if not v.passed]
    assert [verdict.status for verdict in failed] == ["FAIL"]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("nonsense|T=5", "unknown kind of key 'nonsense'"),
        ("exp2|T=5|sum_scale=1|alpha", "none of its words"),
        ("exp2|T=5|sum_scale=1|depth=3|alphas", "nobody knows what depth=3 means here"),
        ("exp2|T=5|T=6|sum_scale=1|alphas", "T is given twice"),
        ("exp2|T=five|sum_scale=1|alphas", "invalid literal"),
        ("exp2|sum_scale=1|alphas", r"T=\.\.\. is missing"),
        ("sample|exp2|pred_red|T=1000|S=5", "none of its words"),
        ("sample|exp9|pred_res|T=1000|S=5", "nobody knows what exp9 means here"),
        ("q_sample|exp2|T=10|t=10", "expected 0 to 9"),
        ("model_predictions|pred_res_noise|test=both|t=3|pred_res", "test=both"),
        ("unet|Unet(dim=8,depth=3)|out", "nobody knows what"),
        ("unet|UNet(dim=8)|out", "no official network"),
        ("unet|Unet(dim=8,dim_mults=(1,2),condition=True)|out1", "network with 1 outputs"),
    ],
)
def test_what_cannot_be_read_is_an_error(arrays: dict[str, Tensor], key: str, message: str) -> None:
    verdict = check_array(key, {**arrays, key: torch.zeros(1)})
    assert verdict.status == "ERROR"
    with pytest.raises(ValueError, match=message):
        raise ValueError(verdict.text)


def test_an_entry_that_cannot_be_read_is_an_error(arrays: dict[str, Tensor]) -> None:
    for key, value in {"nonsense": 1, "exp2|T=5|sum_scale=1": {"alpha": [1.0]}, "p_losses": {"pred_re|l1": 1}}.items():
        assert [verdict.status for verdict in check_entries({key: value}, arrays)] == ["ERROR"]


def test_a_description_is_listed(arrays: dict[str, Tensor]) -> None:
    (verdict,) = check_entries({"why": "because"}, arrays)
    assert (verdict.status, verdict.text) == ("given", "because")


def test_the_order_of_settings_and_notes_do_not_matter(arrays: dict[str, Tensor]) -> None:
    shuffled = "sample|S=5 (of T)|sum_scale=1.0|pred_res_noise|exp2|eta=0.0 T=1000"
    official = arrays["sample|exp2|pred_res_noise|T=1000|S=5|eta=0|sum_scale=1"]
    assert check_array(shuffled, {**arrays, shuffled: official}).status == "ok"
    key = Key("sample|UNCONDITIONAL T=7|S=7 (=T: ancestral p_sample_loop)|t=[37, 803]")
    assert (key.flag("UNCONDITIONAL"), key.setting("T", int), key.setting("t", str)) == (True, 7, "[37,803]")


@pytest.mark.parametrize(("key", "value", "code"), [("T", 2.0, 0), ("T", 2.1, 1), ("x", 2.0, 1)])
def test_the_command_tells_by_its_exit_code(
    arrays: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str, value: float, code: int
) -> None:
    tables = {f"exp2|{key}=1|sum_scale=4|betas": np.array([value], dtype=np.float32)}
    np.savez(tmp_path / "some.npz", **{name: arrays[name].numpy() for name in GIVEN}, **tables)  # type: ignore[arg-type]
    (tmp_path / "official.json").write_text('{"ddim_time_grid(official)": {"T=7|S=3": [6, 3, 1, -1]}}')
    assert main([str(tmp_path / "some.npz")]) == code
    assert f"all: {7 - code} of 7 pass" in capsys.readouterr().out


def restoration(num_train_timesteps: int = T) -> Schedule:
    return make_schedule(CURVES["decreasing"](num_train_timesteps), CURVES["increasing"](num_train_timesteps))


def restored(schedule: Schedule, objective: str, clipping: str, steps: list[Step]) -> tuple[Tensor, Tensor]:
    """What a perfect network restores, and the truth; its residuals leave [-1, 1]."""
    x_start, x_input, noise = images()
    first = torch.full((x_start.shape[0],), steps[0][0])
    drawn = deterministic(
        Oracle(schedule, objective, clipping, x_start, x_input),
        schedule,
        q_sample(schedule, x_start, x_input - x_start, first, noise),
        steps,
        noise=torch.randn_like,
    )
    return drawn, x_start


@pytest.mark.parametrize("objective", ["pred_res", "pred_res_noise"])
def test_official_clipping_is_wrong_for_large_residuals_and_ours_is_right(objective: str) -> None:
    """H1: clamping the residual to [-1, 1] loses what is above, even with a perfect network."""
    steps = make_steps(TIME_GRIDS["official"], T, 5)
    x_start, x_input, _ = images()
    excess = ((x_input - x_start).abs() - 1).clamp(min=0)
    official, ours = (restored(restoration(), objective, clipping, steps)[0] for clipping in ("residual", "x_start"))
    assert excess.max() > 0.5
    assert (official - x_start).abs().max() > 0.2
    torch.testing.assert_close(ours, x_start, atol=1e-9, rtol=0)


def test_official_sm_n_is_wrong_at_the_last_time_and_ours_begins_where_it_can() -> None:
    """H2: at T nothing of the image is left beside the noise; a division by 1e-6 does not bring it back."""
    schedule, (x_start, x_input, noise) = restoration(), images()
    last = torch.full((x_start.shape[0],), T)
    x_t = q_sample(schedule, x_start, x_input - x_start, last, noise)
    official = OfficialPredictNoise().decode(schedule, (noise,), x_t, x_input, last, CLIPPINGS["residual"]())
    assert (official.x_start - x_start).abs().max() > 0.5
    first = OBJECTIVES["pred_noise"]().first_time(schedule)
    assert T - 10 < first < T
    ours, _ = restored(schedule, "pred_noise", "x_start", make_steps(TIME_GRIDS["official"], first, 5))
    torch.testing.assert_close(ours, x_start, atol=1e-6, rtol=0)


def test_official_sm_n_is_wrong_at_the_last_time_of_a_ddim_schedule_though_signal_is_left() -> None:
    """Its 1 - A_T is 0.0064, and is overwritten with 1e-6 all the same."""
    schedule, (x_start, x_input, noise) = ddim(T), images()
    last = torch.full((x_start.shape[0],), T)
    x_t = q_sample(schedule, x_start, x_input - x_start, last, noise)
    official, ours = (
        objective.decode(schedule, (noise,), x_t, x_input, last, CLIPPINGS["x_start"]())
        for objective in (OfficialPredictNoise(), OBJECTIVES["pred_noise"]())
    )
    assert (official.x_start - x_start).abs().max() > 0.5
    torch.testing.assert_close(ours.x_start, x_start, atol=1e-9, rtol=0)


def test_the_official_two_stage_sampler_subtracts_twice_and_ours_restores() -> None:
    """Residual first, then noise, with a perfect network: official takes the last visited time's share off again."""
    schedule, steps = restoration(), make_steps(TIME_GRIDS["official"], T, 5)
    x_start, x_input, noise = images()
    last = steps[-1][0]

    def believe(table: Schedule) -> Callable[[Tensor, Tensor], Prediction]:
        outputs = (x_input - x_start, noise)
        return lambda x, t: OBJECTIVES["pred_res_noise"]().decode(table, outputs, x, x_input, t)

    official = residual_then_noise(believe(schedule), schedule, x_input + noise, steps)
    share = schedule.alphas_cumsum[last] * (x_input - x_start) + schedule.sqrt_betas2_cumsum[last] * noise
    torch.testing.assert_close(official, x_start - share, atol=1e-9, rtol=0)
    assert share.abs().max() > 0.5
    path = residual_first(schedule, steps)
    ours = deterministic(believe(path), path, x_input + noise, along(path), noise=torch.randn_like)
    torch.testing.assert_close(ours, x_start, atol=1e-9, rtol=0)
