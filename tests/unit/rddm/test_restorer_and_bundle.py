from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rddm.bundle import load_bundle, save_bundle
from rddm.config import ModelConfig, NetworkConfig, SamplingConfig, ScheduleConfig, build_network, build_restorer, check
from rddm.errors import BundleError, ConfigError
from rddm.nets import for_inference
from rddm.objectives import OBJECTIVES

TINY = ModelConfig(
    objective="pred_res",
    network=NetworkConfig(name="unet", options={"channels": 8}),
    schedule=ScheduleConfig(num_train_timesteps=20),
    sampling=SamplingConfig(num_inference_steps=3, eta=1.0),
)


def trained(config: ModelConfig = TINY) -> torch.nn.Module:
    torch.manual_seed(0)
    net = build_network(config, config.objective)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return net.eval()


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (16, 16), (33, 50)])
def test_any_size_comes_back_in_range(size: tuple[int, int]) -> None:
    restorer = build_restorer(TINY, "pred_res", trained())
    restored = restorer.restore(torch.rand(2, 3, *size), seeds=[1, 2])
    assert restored.shape == (2, 3, *size)
    assert restored.min() >= 0
    assert restored.max() <= 1


def test_a_result_depends_on_its_seed_and_not_on_its_batch() -> None:
    restorer = build_restorer(TINY, "pred_res", trained())
    images = torch.rand(3, 3, 16, 16)
    together = restorer.restore(images, seeds=[1, 2, 3])
    torch.testing.assert_close(together[1:2], restorer.restore(images[1:2], seeds=[2]), atol=1e-6, rtol=0)
    assert not torch.equal(together[1:2], restorer.restore(images[1:2], seeds=[4]))


def test_an_untrained_residual_network_changes_nothing() -> None:
    config = dataclasses.replace(TINY, sampling=SamplingConfig(num_inference_steps=1))
    restorer = build_restorer(config, "pred_res", build_network(config, "pred_res").eval())
    image = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(restorer.restore(image, seeds=[0]), image)


def test_every_image_needs_a_seed() -> None:
    with pytest.raises(ValueError, match="1 seeds for 2 images"):
        build_restorer(TINY, "pred_res", trained()).restore(torch.rand(2, 3, 8, 8), seeds=[0])


def test_a_bundle_restores_like_what_was_saved(tmp_path: Path) -> None:
    net = trained()
    save_bundle(tmp_path / "bundle", config=TINY, net=net, card={"name": "test"})
    bundle = load_bundle(tmp_path / "bundle")
    image = torch.rand(1, 3, 16, 16)
    ready, as_trained = (build_restorer(TINY, "pred_res", each) for each in (for_inference(net), net))
    restored = bundle.restorer().restore(image, seeds=[3])
    assert torch.equal(restored, ready.restore(image, seeds=[3]))
    torch.testing.assert_close(restored, as_trained.restore(image, seeds=[3]), atol=1e-6, rtol=0)
    assert bundle.config == TINY
    assert bundle.card["name"] == "test"
    assert len(bundle.weights_sha256) == 64


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def change_schema(folder: Path) -> None:
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, "schema_version": 99}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: flip_a_byte(f / "weights.safetensors"), "damaged"),
        (lambda f: (f / "config.json").write_text("{}"), "damaged"),
        (lambda f: (f / "weights.pkl").write_bytes(b"\x80\x04."), "not expected"),
        (lambda f: (f / "card.json").unlink(), "missing"),
        (lambda f: (f / "card.json").write_text("no json"), "not readable JSON"),
        (change_schema, "schema version 99"),
    ],
)
def test_what_is_no_whole_bundle_is_refused(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    save_bundle(tmp_path / "bundle", config=TINY, net=trained(), card={})
    damage(tmp_path / "bundle")
    with pytest.raises(BundleError, match=message):
        load_bundle(tmp_path / "bundle")


def test_a_bundle_is_never_overwritten_and_never_undecided(tmp_path: Path) -> None:
    save_bundle(tmp_path / "bundle", config=TINY, net=trained(), card={})
    with pytest.raises(BundleError, match="exists"):
        save_bundle(tmp_path / "bundle", config=TINY, net=trained(), card={})
    with pytest.raises(BundleError, match="'auto'"):
        save_bundle(tmp_path / "other", config=dataclasses.replace(TINY, objective="auto"), net=trained(), card={})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]


@pytest.mark.parametrize("objective", list(OBJECTIVES))
def test_a_config_survives_json(objective: str) -> None:
    config = dataclasses.replace(TINY, objective=objective)
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": "pred_rez"}, "did you mean 'pred_res'"),
        ({"network": NetworkConfig(name="unett")}, "did you mean 'unet'"),
        ({"network": NetworkConfig(options={"chanels": 3})}, "chanels"),
        ({"schedule": ScheduleConfig(alphas="decresing")}, "did you mean 'decreasing'"),
        ({"schedule": ScheduleConfig(terminal_noise_variance=-1)}, "terminal_noise_variance"),
        ({"sampling": SamplingConfig(num_inference_steps=2000)}, "expected 1 to 1000"),
        ({"sampling": SamplingConfig(eta=2.0)}, "eta is 2.0"),
        ({"sampling": SamplingConfig(clipping="all")}, "unknown clipping"),
        ({"sampling": SamplingConfig(path="residual_first")}, "time_signal"),
        ({"sampling": SamplingConfig(output="noise"), "objective": "pred_res"}, "no output 'noise'"),
        ({"sampling": SamplingConfig(steps_offset=1)}, "steps_offset is 1"),
        ({"schedule": ScheduleConfig(name="resshift", options={"kapa": 1})}, "kapa"),
        ({"schedule": ScheduleConfig(name="tables", options={"alphas_cumsum": [0], "betas2_cumsum": [0]})}, "T \\+ 1"),
        ({"inputs": ("x_input",)}, "expected x_t"),
        ({"network": NetworkConfig(time_signal="levls")}, "did you mean 'levels'"),
    ],
)
def test_a_bad_name_is_found_before_any_work(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(dataclasses.replace(ModelConfig(), **change))  # type: ignore[arg-type]
