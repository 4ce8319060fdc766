from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from jobs import config_file, generate
from jobs.config import RunConfig
from jobs.terminal import Terminal
from rddm.bundle import save_bundle
from rddm.config import ModelConfig, NetworkConfig, SamplingConfig, build_network
from rddm.errors import ConfigError, DataError


def bundle(folder: Path, task: str) -> Path:
    model = ModelConfig(
        task=task,
        objective="pred_res_noise",
        network=NetworkConfig(name="tiny", options={"channels": 8}),
        sampling=SamplingConfig(num_inference_steps=2),
    )
    torch.manual_seed(0)
    net = build_network(model, model.objective)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    save_bundle(folder, config=model, net=net, card={})
    return folder


def run_config(tmp_path: Path, model: Path, **changes: object) -> RunConfig:
    settings = {"num_images": 5, "batch": 2, "height_px": 24, "width_px": 17, "model_uri": str(model), **changes}
    return config_file.from_mapping(
        {"name": "x", "workspace": str(tmp_path / "runs"), "data": {}, "generate": settings}
    )


def test_pictures_come_out_of_noise_and_depend_on_their_number_alone(tmp_path: Path) -> None:
    model = bundle(tmp_path / "bundle", "generation")
    for batch, name in [(2, "a"), (5, "b")]:
        config = run_config(tmp_path, model, batch=batch, output_uri=str(tmp_path / name))
        report = generate.run(config, Terminal())
        assert (report.images, report.output_uri) == (5, str(tmp_path / name))
    names = [f"{number:05d}.png" for number in range(5)]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [*names, "manifest.json", "sheet.png"]
    pictures = [[(tmp_path / folder / name).read_bytes() for name in names] for folder in "ab"]
    assert pictures[0] == pictures[1]
    assert len(set(pictures[0])) == 5
    assert Image.open(tmp_path / "a/00000.png").size == (17, 24)
    assert Image.open(tmp_path / "a/sheet.png").size == (3 * 17 + 4, 2 * 24 + 2)
    assert json.loads((tmp_path / "a/manifest.json").read_text())["model_uri"] == str(model)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    config = run_config(tmp_path, bundle(tmp_path / "bundle", "generation"), output_uri=str(tmp_path / "out"))
    generate.run(config, Terminal())
    with pytest.raises(DataError, match="exists"):
        generate.run(config, Terminal())


def test_a_model_for_restoration_is_refused(tmp_path: Path) -> None:
    config = run_config(tmp_path, bundle(tmp_path / "bundle", "restoration"))
    with pytest.raises(ConfigError, match="trained for another task"):
        generate.run(config, Terminal())
    assert not (tmp_path / "runs").exists()


def test_no_picture_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be 1 or more"):
        generate.run(run_config(tmp_path, bundle(tmp_path / "b", "generation"), num_images=0), Terminal())
