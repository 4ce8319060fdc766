"""The paper's table, as it is: a change of any setting is a change of this file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rddm.config import build_restorer, build_schedule, check
from rddm.nets import NETWORKS
from rddm.presets import PRESETS
from rddm.schedules import CURVES

SNAPSHOT = Path(__file__).with_name("presets.json")


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_preset_is_what_it_was(name: str) -> None:
    told = json.loads(SNAPSHOT.read_text())
    assert told.keys() == set(PRESETS)
    assert json.loads(json.dumps(PRESETS[name].to_dict())) == told[name]


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_preset_can_be_built(name: str) -> None:
    check(PRESETS[name].model)


# The paper's table: objective, networks, noise variance, loss, optimiser, rate, batch, updates, steps.
TABLE = {
    "istd_shadow": ("pred_res_noise", 2, 0.01, "l1", "adam", 8e-5, 2, 80_000, 5),
    "lol_low_light": ("pred_res", 1, 1.0, "l1", "adam", 8e-5, 2, 80_000, 2),
    "raindrop": ("pred_res_noise", 2, 1.0, "l1", "adam", 8e-5, 2, 120_000, 5),
    "celeba_generation": ("pred_res_noise", 2, 1.0, "l2", "radam", 2e-4, 256, 100_000, 10),
    "celeba_generation_noise": ("pred_noise", 1, 1.0, "l2", "radam", 2e-4, 256, 100_000, 10),
    "inpainting": ("pred_res_noise", 2, 1.0, "l2", "radam", 2e-4, 128, 100_000, 10),
    "translation": ("pred_res_noise", 2, 1.0, "l2", "radam", 2e-4, 128, 100_000, 10),
}


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_preset_is_the_paper_s_column(name: str) -> None:
    preset = PRESETS[name]
    model, recipe = preset.model, preset.recipe
    schedule = build_schedule(model)
    networks = 2 if model.network.options.get("arrangement") == "two" else 1
    column = (
        model.objective, networks, model.schedule.terminal_noise_variance, recipe.loss, recipe.optimizer,
        recipe.learning_rate, recipe.global_batch, recipe.steps, model.sampling.num_inference_steps,
    )  # fmt: skip
    assert column == TABLE[name]
    assert schedule.num_train_timesteps == 1000
    assert schedule.terminal_noise_variance == pytest.approx(TABLE[name][2])
    assert (recipe.ema_decay, recipe.ema_every, recipe.gradient_clip) == (0.995, 10, 1.0)
    assert recipe.size_px == (256 if model.task.endswith("restoration") else 64)
    sees = {"istd_shadow": 3, "lol_low_light": 2, "raindrop": 2}.get(name, 1)
    assert len(model.network_inputs) == sees
    assert {model.schedule.alphas, model.schedule.betas2} <= set(CURVES)
    assert model.network.name in NETWORKS


def test_sampling_of_a_preset_visits_the_official_times() -> None:
    restorer = build_restorer(PRESETS["istd_shadow"].model, "pred_res_noise", NETWORKS["tiny"](9, 6))
    assert [t for t, _ in restorer.steps] == [1000, 800, 600, 400, 200]
