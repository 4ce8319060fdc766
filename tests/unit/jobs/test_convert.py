"""`rddm convert`: what is converted gives the same images, what has no counterpart is refused with the reason."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jobs.conversions.ddim import DDIMSettings, model_config, settings_of, trained_betas
from rddm.bundle import load_bundle, save_bundle
from rddm.config import ModelConfig, NetworkConfig, SamplingConfig, ScheduleConfig, build_network, build_schedule
from rddm.nets import NETWORKS
from rddm.sampling import keyed_noise
from tests.conftest import REPOSITORY
from tests.unit.jobs.conversions import Evil, refusal, run

SMALL = {
    "sample_size": 8,
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": (8, 16),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "norm_num_groups": 4,
}
STEPS = 20


# ---------------------------------------------------------------------------------------------- diffusers


@pytest.fixture
def diffusers() -> Any:
    return pytest.importorskip("diffusers", reason="diffusers is not installed: pip install 'rddm[diffusers]'")


def pipeline(diffusers: Any, folder: Path, kind: str = "DDIM", unet: dict[str, Any] | None = None, **given: Any) -> Any:
    """A small random pipeline, saved as diffusers saves it."""
    torch.manual_seed(0)
    net = diffusers.UNet2DModel(**{**SMALL, **(unet or {})}).eval()
    scheduler = getattr(diffusers, f"{kind}Scheduler")(**given)
    made = getattr(diffusers, f"{kind}Pipeline")(unet=net, scheduler=scheduler)
    made.save_pretrained(folder)
    return made


def draw_as_diffusers(made: Any, steps: int, start: Tensor) -> Tensor:
    """What `DDIMPipeline` does, from a given noise: images in [0, 1]."""
    scheduler = made.scheduler
    scheduler.set_timesteps(steps)
    x = start
    with torch.no_grad():
        for step in scheduler.timesteps:
            x = scheduler.step(made.unet(x, step).sample, step, x, eta=0.0).prev_sample
    return (x / 2 + 0.5).clamp(0, 1)


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_pipeline_folder_becomes_a_bundle_that_draws_the_same_images(
    diffusers: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], clip: bool, prediction: str
) -> None:
    # Few times: a random network's noise is not what is there, and over many the images leave their range altogether.
    made = pipeline(diffusers, tmp_path / "pipe", clip_sample=clip, prediction_type=prediction, num_train_timesteps=100)
    code, out, _ = run("convert", "diffusers", tmp_path / "pipe", tmp_path / "bundle", "--steps", 12, "--json",
                       capsys=capsys)  # fmt: skip
    assert code == 0
    assert json.loads(out)["image"] == "3 x 8"
    seeds = [3, 4]
    start = keyed_noise([torch.Generator().manual_seed(seed) for seed in seeds])(torch.zeros(2, 3, 8, 8))
    expected = draw_as_diffusers(made, 12, start)
    drawn = load_bundle(tmp_path / "bundle").restorer().generate((3, 8, 8), seeds=seeds)
    torch.testing.assert_close(drawn, expected, atol=2e-5, rtol=0)
    assert expected.std() > 0.1


def test_a_ddpm_folder_without_an_index_is_read_as_ddim_reads_it(
    diffusers: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline(diffusers, tmp_path / "pipe", "DDPM", beta_schedule="squaredcos_cap_v2", variance_type="fixed_large")
    (tmp_path / "pipe" / "model_index.json").unlink()
    code, *_ = run("convert", "diffusers", tmp_path / "pipe", tmp_path / "bundle", capsys=capsys)
    assert code == 0
    config = load_bundle(tmp_path / "bundle").config
    expected = DDIMSettings(beta_schedule="squaredcos_cap_v2")
    assert settings_of(config) == expected
    assert config.sampling.num_inference_steps == 50


def test_there_and_back_again(diffusers: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = pipeline(diffusers, tmp_path / "pipe", clip_sample_range=2.0, timestep_spacing="trailing")
    for command in (("diffusers", "pipe", "bundle"), ("to-diffusers", "bundle", "again")):
        code, _, err = run("convert", command[0], *(tmp_path / name for name in command[1:]), capsys=capsys)
        assert code == 0, err
    again = diffusers.DDIMPipeline.from_pretrained(tmp_path / "again")
    for name, weight in made.unet.state_dict().items():
        assert torch.equal(again.unet.state_dict()[name], weight), name
    ignored = {"_use_default_values"}
    assert {k: v for k, v in again.scheduler.config.items() if k not in ignored} == {
        k: v for k, v in made.scheduler.config.items() if k not in ignored
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"thresholding": True}, "thresholding is true"),
        ({"beta_schedule": "sigmoid"}, "beta_schedule is 'sigmoid'; expected one of linear"),
        ({"_class_name": "EulerDiscreteScheduler"}, "the scheduler is a EulerDiscreteScheduler"),
        ({"prediction_type": "flow"}, "prediction_type is 'flow'"),
        ({"timestep_spacing": "log"}, "timestep_spacing is 'log'"),
        ({"num_train_timesteps": "many"}, "num_train_timesteps is 'many'; expected a int"),
    ],
)
def test_a_scheduler_that_cannot_be_served_is_refused(
    diffusers: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], message: str
) -> None:
    pipeline(diffusers, tmp_path / "pipe")
    path = tmp_path / "pipe/scheduler/scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    code, line = refusal("diffusers", tmp_path / "pipe", tmp_path / "bundle", capsys=capsys)
    assert code == 1
    assert message in line


def test_other_refusals(diffusers: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline(diffusers, tmp_path / "variance", unet={"out_channels": 6})
    pipeline(diffusers, tmp_path / "classes", unet={"num_class_embeds": 3})
    pipeline(diffusers, tmp_path / "latent")
    index = tmp_path / "latent/model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "vqvae": ["diffusers", "VQModel"]}))
    pipeline(diffusers, tmp_path / "damaged")
    weights = tmp_path / "damaged/unet/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    (tmp_path / "empty").mkdir()
    for name, message in {
        "variance": "in_channels is 3 and out_channels 6",
        "classes": "told a class",
        "latent": "lists vqvae",
        "damaged": "is no UNet2DModel",
        "empty": "has neither unet/config.json nor config.json",
    }.items():
        assert message in refusal("diffusers", tmp_path / name, tmp_path / "bundle", capsys=capsys)[1]
    (tmp_path / "bundle").mkdir()
    assert "nothing is overwritten" in refusal("diffusers", tmp_path / "latent", tmp_path / "bundle", capsys=capsys)[1]


def test_code_in_a_pipeline_s_weights_is_not_run(
    diffusers: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline(diffusers, tmp_path / "pipe")
    (tmp_path / "pipe/unet/diffusion_pytorch_model.safetensors").unlink()
    torch.save({"conv_in.weight": Evil(tmp_path / "it-ran")}, tmp_path / "pipe/unet/diffusion_pytorch_model.bin")
    code, line = refusal("diffusers", tmp_path / "pipe", tmp_path / "bundle", capsys=capsys)
    assert (code, "is no UNet2DModel" in line) == (1, True)
    assert not (tmp_path / "it-ran").exists()


def test_without_the_extra_an_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from rddm.errors import ConfigError

    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ConfigError, match=r"pip install 'rddm\[diffusers\]'"):
        NETWORKS["diffusers_unet2d"](3, 3)


# ------------------------------------------------------------------------------------------- to diffusers


def ddim_model(**changes: Any) -> ModelConfig:
    settings = DDIMSettings(num_train_timesteps=50)
    made = model_config(
        settings, NetworkConfig(name="tiny", options={"channels": 4}), image_channels=3, num_inference_steps=10
    )
    return replace(made, **changes)


def bundle_of(config: ModelConfig, folder: Path) -> Path:
    torch.manual_seed(0)
    net = build_network(config, config.objective)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    save_bundle(folder, config=config, net=net, card={})
    return folder


def test_a_schedule_of_our_own_that_is_a_ddim_s_is_written_beta_by_beta(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    products = torch.linspace(0.99, 0.2, STEPS, dtype=torch.float64)
    tables = {"alphas_cumsum": [0.0, *(1 - products.sqrt()).tolist()], "betas2_cumsum": [0.0, *(1 - products).tolist()]}
    config = ddim_model(schedule=ScheduleConfig(name="tables", num_train_timesteps=STEPS, options=tables))
    source = bundle_of(config, tmp_path / "bundle")
    code, _, err = run("convert", "to-diffusers", source, tmp_path / "out", capsys=capsys)
    assert code == 0, err
    written = json.loads((tmp_path / "out/scheduler_config.json").read_text())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["scheduler_config.json"]
    torch.testing.assert_close(
        torch.cumprod(1 - torch.tensor(written["trained_betas"], dtype=torch.float64), 0), products
    )
    assert written["_class_name"] == "DDIMScheduler"


def test_betas_of_a_named_schedule_give_its_own_products() -> None:
    config = ddim_model()
    products = torch.cumprod(1 - torch.tensor(trained_betas(config), dtype=torch.float64), 0)
    torch.testing.assert_close(1 - products, build_schedule(config).betas2_cumsum[1:], atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        (
            {"schedule": ScheduleConfig(num_train_timesteps=50)},
            ["this schedule has no DDIM: at t =", "DDIM ties it to"],
        ),
        ({"task": "restoration"}, ["the task is 'restoration'", "I_in is 0"]),
        ({"objective": "pred_res"}, ["the objective is 'pred_res'", "epsilon, sample, v_prediction"]),
        ({"sampling": SamplingConfig()}, ["it samples in another way: sampler 'deterministic'", "--ddim-sampling"]),
    ],
)
def test_what_is_no_ddim_is_refused_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], messages: list[str]
) -> None:
    source = bundle_of(ddim_model(**changes), tmp_path / "bundle")
    code, line = refusal("to-diffusers", source, tmp_path / "out", capsys=capsys)
    assert code == 1
    assert all(message in line for message in messages), line


def test_another_way_of_sampling_is_given_up_only_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = bundle_of(ddim_model(sampling=SamplingConfig()), tmp_path / "bundle")
    dry = ("convert", "to-diffusers", source, tmp_path / "out", "--ddim-sampling", "--dry-run", "--json")
    code, out, _ = run(*dry, capsys=capsys)
    assert code == 0
    assert json.loads(out)["timestep_spacing"] == "trailing"
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------------------- ONNX


@pytest.fixture(scope="module")
def onnx_bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    pytest.importorskip("onnxscript", reason="the ONNX packages are not installed: pip install 'rddm[onnx]'")
    pytest.importorskip("onnxruntime", reason="the ONNX packages are not installed: pip install 'rddm[onnx]'")
    return folder


def convert_elsewhere(*arguments: object) -> subprocess.CompletedProcess[str]:
    """In a process of its own, because what checks shapes while tests run cannot be traced."""
    command = [sys.executable, "-m", "jobs", "convert", *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=400)


@pytest.mark.parametrize(
    ("network", "objective", "shape"),
    [
        (NetworkConfig(name="tiny"), "pred_res", (2, 9, 13)),
        (NetworkConfig(name="unet", options={"channels": 8, "multipliers": [1, 2]}), "pred_res", (1, 34, 20)),
        (
            NetworkConfig(
                name="official_unet", options={"channels": 8, "multipliers": [1, 2]}, time_signal="official_index"
            ),
            "pred_res",
            (1, 20, 34),
        ),
        (
            NetworkConfig(
                name="unet", options={"channels": 8, "multipliers": [1], "arrangement": "two"}, time_signal="levels"
            ),
            "pred_res_noise",
            (3, 7, 5),
        ),
    ],
    ids=["tiny", "unet", "official_unet", "two-times"],
)
def test_onnx_gives_what_torch_gives_at_any_size(
    onnx_bundles: Path, network: NetworkConfig, objective: str, shape: tuple[int, int, int]
) -> None:
    import onnxruntime

    name = f"{network.name}-{objective}"
    config = ModelConfig(objective=objective, network=network)
    source, output = bundle_of(config, onnx_bundles / name), onnx_bundles / f"{name}.onnx"
    done = convert_elsewhere("onnx", source, output, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["max_difference"] <= 1e-4
    assert sorted(path.name for path in onnx_bundles.iterdir() if name in path.name) == [name, f"{name}.onnx"]
    session = onnxruntime.InferenceSession(str(output), providers=["CPUExecutionProvider"])
    batch, height, width = shape
    x = torch.randn(batch, 6, height, width)
    time = torch.rand(batch, 2) if network.time_signal == "levels" else torch.rand(batch)
    (given,) = session.run(None, {"x": x.numpy(), "time": time.numpy()})
    with torch.no_grad():
        expected = load_bundle(source).net(x, time)
    torch.testing.assert_close(torch.from_numpy(given), expected, atol=1e-4, rtol=1e-4)
    assert expected.abs().max() > 1e-2
    properties = session.get_modelmeta().custom_metadata_map
    assert ModelConfig.from_dict(json.loads(properties["rddm.config"])) == config


def test_onnx_says_what_is_missing_and_overwrites_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    code, line = refusal("onnx", tmp_path / "none", tmp_path / "model.onnx", capsys=capsys)
    assert (code, "pip install 'rddm[onnx]'" in line) == (2, True)
    (tmp_path / "model.onnx").touch()
    assert "nothing is overwritten" in refusal("onnx", tmp_path / "none", tmp_path / "model.onnx", capsys=capsys)[1]


# ------------------------------------------------------------------------------------------ command line


@pytest.mark.parametrize("command", ["diffusers", "to-diffusers", "official", "onnx"])
def test_every_conversion_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("convert", command, "--help", capsys=capsys)
    assert code == 0
    assert "--json" in out
    assert "--dry-run" in out
    assert "OUTPUT" in out
