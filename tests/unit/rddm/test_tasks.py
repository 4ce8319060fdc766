"""Every task trains and samples on real photographs, at small size, with the preset that is named for it."""

from __future__ import annotations

import dataclasses
import importlib.util

import numpy as np
import pytest
import torch
from torch import Tensor

from rddm.config import NetworkConfig, ScheduleConfig, build_network, build_restorer, build_schedule, build_view
from rddm.images import to_signed
from rddm.losses import LOSSES
from rddm.objectives import OBJECTIVES
from rddm.presets import PRESETS, Preset
from rddm.tasks import TASKS, Sample, masked, random_rectangle
from rddm.training import training_loss

SIDE = 32


@pytest.fixture(scope="module")
def photographs() -> Tensor:
    """Crops of real photographs, in [0, 1]."""
    if importlib.util.find_spec("skimage") is None:
        pytest.skip("no scikit-image: its photographs are not here")
    from skimage import data

    pictures = [np.asarray(picture)[..., :3] for picture in (data.astronaut(), data.coffee(), data.chelsea())]
    crops = [p[y : y + SIDE, x : x + SIDE] for p in pictures for y in range(40, 260, 44) for x in range(20, 380, 44)]
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2) / 255


def small(preset: Preset) -> Preset:
    """The preset at a size that trains in seconds; what makes the task stays."""
    options = {**preset.model.network.options, "channels": 8, "multipliers": (1, 2)}
    network = dataclasses.replace(preset.model.network, options=options)
    schedule = dataclasses.replace(preset.model.schedule, num_train_timesteps=100)
    model = dataclasses.replace(preset.model, network=network, schedule=schedule)
    return dataclasses.replace(preset, model=model)


def degraded(clean: Tensor, task: str) -> tuple[Tensor, Tensor | None]:
    """What a data set of the task would hold beside the clean images; all in [0, 1]."""
    if task == "masked_restoration":
        mask = torch.zeros_like(clean)
        mask[..., :, : SIDE // 2] = 1
        return clean * (1 - 0.6 * mask), mask
    if task == "translation":
        return clean.flip(0), None  # another row's picture
    return 0.3 * clean, None


def trained(preset: Preset, clean: Tensor, steps: int) -> tuple[torch.nn.Module, list[float]]:
    model, recipe = preset.model, preset.recipe
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    net, schedule, view = build_network(model, model.objective), build_schedule(model), build_view(model)
    objective, loss, task = OBJECTIVES[model.objective](), LOSSES[recipe.loss], TASKS[model.task]()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    x_input, mask = degraded(clean, model.task)
    losses = []
    for _ in range(steps):
        rows = torch.randint(0, len(clean), (8,), generator=generator).tolist()
        samples = [
            task.sample(
                Sample(to_signed(clean[row]), to_signed(x_input[row]), None if mask is None else mask[row]), generator
            )
            for row in rows
        ]
        masks = [sample.mask for sample in samples if sample.mask is not None]
        t = torch.randint(1, schedule.num_train_timesteps + 1, (8,), generator=generator)
        x_start = torch.stack([sample.x_start for sample in samples])
        parts = training_loss(
            net, schedule, objective, loss, x_start, torch.stack([sample.x_input for sample in samples]), t,
            torch.randn(x_start.shape, generator=generator), torch.stack(masks) if masks else None, view=view,
        )  # fmt: skip
        optimizer.zero_grad()
        parts.total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(parts.total.item())
    return net.eval(), losses


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_preset_s_task_trains_and_samples_on_real_photographs(name: str, photographs: Tensor) -> None:
    preset = small(PRESETS[name])
    net, losses = trained(preset, photographs, 60)
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:5])
    restorer = build_restorer(preset.model, preset.model.objective, net)
    seeds = list(range(4))
    if preset.model.task == "generation":
        drawn = restorer.generate((3, SIDE, SIDE), seeds=seeds)
    else:
        x_input, mask = degraded(photographs[:4], preset.model.task)
        if preset.model.task == "inpainting":
            mask = torch.stack([random_rectangle(x, torch.Generator().manual_seed(0)) for x in x_input])
            x_input = masked(photographs[:4] * 2 - 1, mask) / 2 + 0.5
        drawn = restorer.restore(x_input, seeds=seeds, mask=mask)
    assert drawn.shape == (4, 3, SIDE, SIDE)
    assert torch.isfinite(drawn).all()
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    again = restorer.generate((3, SIDE, SIDE), seeds=[7, 7]) if preset.model.task == "generation" else None
    assert again is None or torch.equal(again[0], again[1])


@pytest.mark.parametrize("name", ["istd_shadow", "raindrop"])
def test_a_restoration_comes_nearer_to_the_clean_picture(name: str, photographs: Tensor) -> None:
    preset = small(PRESETS[name])
    net, _ = trained(preset, photographs, 150)
    x_input, mask = degraded(photographs, preset.model.task)
    restored = build_restorer(preset.model, preset.model.objective, net).restore(
        x_input, seeds=range(len(x_input)), mask=mask
    )
    assert (restored - photographs).abs().mean() < 0.7 * (x_input - photographs).abs().mean()


@pytest.mark.parametrize("inputs", [("x_t", "x_input"), ("x_t", "x_input", "mask")])
def test_inpainting_may_show_the_network_the_hole(inputs: tuple[str, ...], photographs: Tensor) -> None:
    preset = small(PRESETS["inpainting"])
    model = dataclasses.replace(
        preset.model,
        inputs=inputs,
        objective="pred_res",
        network=NetworkConfig(options={"channels": 8, "multipliers": (1, 2)}),
        schedule=ScheduleConfig(num_train_timesteps=100),
    )
    net, _ = trained(dataclasses.replace(preset, model=model), photographs, 120)
    mask = torch.stack([random_rectangle(x, torch.Generator().manual_seed(row)) for row, x in enumerate(photographs)])
    x_input = masked(photographs * 2 - 1, mask) / 2 + 0.5
    filled = build_restorer(model, "pred_res", net).restore(x_input, seeds=range(len(mask)), mask=mask)
    hole = mask.bool()
    assert (filled - photographs)[hole].abs().mean() < (x_input - photographs)[hole].abs().mean()


def test_a_missing_mask_is_refused(photographs: Tensor) -> None:
    with pytest.raises(ValueError, match="has no mask"):
        TASKS["masked_restoration"]().sample(Sample(photographs[0], photographs[0]), torch.Generator())
    model = small(PRESETS["istd_shadow"]).model
    restorer = build_restorer(model, model.objective, build_network(model, model.objective).eval())
    with pytest.raises(ValueError, match="the network sees a mask"):
        restorer.restore(photographs[:1], seeds=[0])


@pytest.mark.parametrize("shape", [(3, 1, 1), (3, 2, 9), (3, 64, 48)])
def test_a_random_rectangle_is_a_hole_with_something_around_it(shape: tuple[int, int, int]) -> None:
    for seed in range(20):
        mask = random_rectangle(torch.zeros(shape), torch.Generator().manual_seed(seed))
        assert ((mask == 0) | (mask == 1)).all()
        assert mask.any()
        assert shape == (3, 1, 1) or not mask.all()
        assert (mask == mask[:1]).all()
