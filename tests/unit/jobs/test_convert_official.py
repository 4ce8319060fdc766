"""`rddm convert official`: checkpoints of the official code, whole, damaged and hostile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rddm.bundle import load_bundle
from rddm.config import ModelConfig, ScheduleConfig, build_schedule
from rddm.nets import NETWORKS
from tests.unit.jobs.conversions import TINY_OFFICIAL, Evil, refusal, run

STEPS = 20


def official_net(in_channels: int, out_channels: int, arrangement: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return NETWORKS["official_unet"](in_channels, out_channels, arrangement=arrangement, **TINY_OFFICIAL)


def diffusion(net: nn.Module, schedule: ScheduleConfig, prefix: str = "model.") -> dict[str, Tensor]:
    """A state dict as the official diffusion's: the network below a prefix, the coefficients beside it, t from 1."""
    tables = build_schedule(ModelConfig(schedule=schedule))
    alphas, betas2 = tables.alphas_cumsum[1:], tables.betas2_cumsum[1:]
    buffers = {
        "alphas": alphas.diff(prepend=torch.zeros(1)),
        "alphas_cumsum": alphas,
        "one_minus_alphas_cumsum": 1 - alphas,
        "betas2": betas2.diff(prepend=torch.zeros(1)),
        "betas2_cumsum": betas2,
        "betas_cumsum": betas2.sqrt(),
    }
    return {
        **{name: table.float() for name, table in buffers.items()},
        **{f"{prefix}{name}": weight for name, weight in net.state_dict().items()},
    }


def checkpoint(path: Path, raw: nn.Module, ema: nn.Module, schedule: ScheduleConfig | None = None) -> Path:
    chosen = schedule or ScheduleConfig()
    averaged, online = diffusion(ema, chosen), diffusion(raw, chosen)
    torch.save(
        {
            "step": 80_000,
            "model": online,
            "opt": {"state": {}, "param_groups": [{"lr": 8e-5}]},
            "ema": {
                "initted": torch.tensor([True]),
                "step": torch.tensor([80_000]),
                **{f"online_model.{name}": value for name, value in online.items()},
                **{f"ema_model.{name}": value for name, value in averaged.items()},
            },
            "scaler": None,
            "version": "1.0",
        },
        path,
    )
    return path


@pytest.mark.parametrize("weights", ["ema", "raw"])
@pytest.mark.parametrize(
    ("arrangement", "in_channels", "out_channels", "options", "variance"),
    [
        ("one", 6, 3, ["--objective", "pred_res"], 1.0),
        ("wrapped", 6, 3, ["--preset", "lol_low_light"], 1.0),
        ("two", 9, 6, ["--preset", "istd_shadow"], 0.01),
        ("shared_encoder", 6, 6, ["--objective", "pred_res_noise"], 0.01),
    ],
)
def test_an_official_checkpoint_loads_name_by_name(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    weights: str,
    arrangement: str,
    in_channels: int,
    out_channels: int,
    options: list[str],
    variance: float,
) -> None:
    raw, ema = (official_net(in_channels, out_channels, arrangement, seed) for seed in (0, 1))
    schedule = ScheduleConfig(terminal_noise_variance=variance)
    file = checkpoint(tmp_path / "model-80.pt", raw, ema, schedule)
    code, out, err = run("convert", "official", file, tmp_path / "bundle", *options, "--weights", weights, "--json",
                         capsys=capsys)  # fmt: skip
    assert code == 0, err
    report = json.loads(out)
    assert (report["arrangement"], report["channels"], report["multipliers"]) == (arrangement, 8, "1x2")
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.config.schedule == schedule
    assert bundle.config.network.time_signal == "official_index"
    x, time = torch.randn(1, in_channels, 8, 8), torch.tensor([400.0])
    expected = ema if weights == "ema" else raw
    torch.testing.assert_close(bundle.net(x, time), expected.eval()(x, time))


def test_the_generation_code_s_curves_are_found_and_come_with_its_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = official_net(3, 6, "two")
    schedule = ScheduleConfig(alphas="decreasing_zero_based", betas2="increasing_zero_based")
    file = checkpoint(tmp_path / "model-100.pt", net, net, schedule)
    code, _, err = run("convert", "official", file, tmp_path / "bundle", "--objective", "pred_res_noise", capsys=capsys)
    assert code == 0, err
    config = load_bundle(tmp_path / "bundle").config
    assert config.schedule == schedule
    assert (config.task, config.network.time_signal) == ("generation", "official_alphas")


def test_what_weights_cannot_say_must_be_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = official_net(6, 3, "one")
    file = checkpoint(tmp_path / "model.pt", net, net)
    code, line = refusal("official", file, tmp_path / "bundle", capsys=capsys)
    assert code == 2
    assert (
        "1 output, and weights do not say of what; give --objective, --preset or --config: pred_res, pred_noise" in line
    )
    code, line = refusal("official", file, tmp_path / "bundle", "--objective", "pred_res_noise", capsys=capsys)
    assert code == 2
    assert "'pred_res_noise' has 2 outputs and the checkpoint's network 1" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preset", "istd_shadow"], "has 2 outputs and the checkpoint's network 1"),
        (["--preset", "celeba_generation"], "outputs"),
        (["--objective", "pred_res", "--weights", "raw"], "at t = "),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    net = official_net(6, 3, "one")
    other = ScheduleConfig(alphas="normal", betas2="normal")
    file = checkpoint(tmp_path / "model.pt", net, net, other)
    if options[1] == "celeba_generation":
        from rddm.presets import PRESETS

        options = ["--preset", next(name for name in PRESETS if PRESETS[name].model.task == "generation")]
    _, line = refusal("official", file, tmp_path / "bundle", *options, capsys=capsys)
    assert message in line


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    marker = tmp_path / "it-ran"
    net = official_net(6, 3, "one")
    torch.save({"model": diffusion(net, ScheduleConfig()), "opt": Evil(marker)}, tmp_path / "evil.pt")
    code, line = refusal("official", tmp_path / "evil.pt", tmp_path / "bundle", "--weights", "raw", "--objective",
                         "pred_res", capsys=capsys)  # fmt: skip
    assert code == 1
    assert "nothing of it was run" in line
    assert not marker.exists()
    torch.load(tmp_path / "evil.pt", weights_only=False)  # the trap works: a trusting reader does run it
    assert marker.exists()


@pytest.mark.parametrize("damage", ["cut", "zeros", "empty", "text", "list", "nan", "no-ema", "missing"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    net = official_net(6, 3, "one")
    file = checkpoint(tmp_path / "model.pt", net, net)
    content = file.read_bytes()
    match damage:
        case "cut":
            file.write_bytes(content[: len(content) // 2])
        case "zeros":
            file.write_bytes(bytes(len(content)))
        case "empty":
            file.write_bytes(b"")
        case "text":
            file.write_text("<html>not found</html>")
        case "list":
            torch.save([1, 2], file)
        case "nan":
            nn.init.constant_(next(net.parameters()), torch.nan)
            checkpoint(file, net, net)
        case "no-ema":
            torch.save({"model": diffusion(net, ScheduleConfig())}, file)
        case "missing":
            file.unlink()
    code, line = refusal("official", file, tmp_path / "bundle", "--objective", "pred_res", capsys=capsys)
    assert code == 1
    assert "model.pt" in line
