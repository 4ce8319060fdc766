from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from jobs import config_file
from rddm import config as model_config
from rddm.errors import ConfigError
from rddm.presets import PRESETS

CONFIGS = sorted((Path(__file__).parents[3] / "jobs/configs").glob("*.yaml"))
MINIMAL = "name: x\nworkspace: runs/x\ndata: {}\n"


def write(tmp_path: Path, text: str = MINIMAL) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_shipped_config_loads_explains_itself_and_fits_its_schema(path: Path) -> None:
    config = config_file.load(path)
    model_config.check(config.model)
    text = path.read_text()
    assert "# Hardware" in text
    assert "# Run" in text
    assert "# Result" in text
    jsonschema.validate(yaml.safe_load(config_file.to_yaml(config)), config_file.json_schema())


def test_a_resolved_run_reads_back_as_itself(tmp_path: Path) -> None:
    config = config_file.load(CONFIGS[0], ["train.steps=7", "train.learning_rate=1e-4"])
    again = config_file.load(write(tmp_path, config_file.to_yaml(config)))
    assert again == config
    assert config_file.digest(again) == config_file.digest(config)
    assert config_file.from_mapping(json.loads(json.dumps(config_file.to_mapping(config)))) == config


def test_overrides_reach_every_depth(tmp_path: Path) -> None:
    changes = [
        "train.learning_rate=1e-4",
        "data.source.root=a b",
        "model.network.options.channels=8",
        "promote.min_ssim=0.5",
    ]
    config = config_file.load(write(tmp_path), changes)
    assert config.train.learning_rate == 1e-4
    assert config.data.source.root == "a b"
    assert config.model.network.options == {"channels": 8}
    assert config.promote.min_ssim == 0.5


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (MINIMAL, ["train.stepps=3"], "unknown key train.stepps; did you mean train.steps?"),
        (MINIMAL, ["trains.steps=3"], "unknown key trains; did you mean train?"),
        (MINIMAL, ["train.steps=many"], "train.steps is 'many'; input should be a valid integer"),
        (MINIMAL, ["train.steps='7'"], "train.steps is '7'"),
        (MINIMAL, ["train.decay=linear"], "train.decay is 'linear'; input should be 'constant' or 'cosine'"),
        (MINIMAL, ["train.steps"], "expected KEY=VALUE"),
        (MINIMAL, ["name.inner=1"], "'name' holds a value"),
        (MINIMAL, ["train.steps=[1"], "not valid YAML"),
        ("workspace: x\ndata: {}\n", [], "name is missing"),
        ("- 1\n", [], "holds a list; expected a mapping"),
        ("a: [1\n", [], "is not valid YAML"),
        ("", [], "holds a NoneType"),
    ],
)
def test_a_mistake_names_its_path(tmp_path: Path, text: str, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_file.load(write(tmp_path, text), overrides)
    assert message in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file.*existing YAML file"):
        config_file.load(tmp_path / "missing.yaml")


def walk(values: dict[str, Any]) -> int:
    return sum(walk(value) if isinstance(value, dict) else 1 for value in values.values())


def test_the_resolved_run_is_complete(tmp_path: Path) -> None:
    assert walk(config_file.to_mapping(config_file.load(write(tmp_path)))) > 60


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_run_with_a_preset_is_the_preset(tmp_path: Path, name: str) -> None:
    config = config_file.load(write(tmp_path), [f"preset={name}", "train.num_workers=1"])
    preset = PRESETS[name]
    assert config.model == preset.model
    assert config.train.learning_rate == preset.recipe.learning_rate
    assert config.train.optimizer == preset.recipe.optimizer
    assert (config.train.steps, config.train.global_batch) == (preset.recipe.steps, preset.recipe.global_batch)
    assert (config.data.resize_px, config.train.crop_px) == (preset.recipe.size_px, preset.recipe.size_px)
    assert config_file.load(write(tmp_path, config_file.to_yaml(config))) == config


@pytest.mark.parametrize(
    "override",
    ["model.objective=pred_noise", "model.schedule.terminal_noise_variance=0.5", "train.steps=10", "train.loss=l2",
     "model.sampling.num_inference_steps=50", "data.resize_px=0", "data.equalise_input=false",
     "model.network.options={channels: 8}", "model.sampling.clipping=none"],
)  # fmt: skip
def test_a_run_cannot_contradict_its_preset(tmp_path: Path, override: str) -> None:
    key = override.partition("=")[0]
    with pytest.raises(ConfigError, match=rf"{key}.* is .*preset 'lol_low_light' fixes it at .*remove the key"):
        config_file.load(write(tmp_path), ["preset=lol_low_light", override])


def test_an_unknown_preset_names_the_near_miss(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'raindrop'"):
        config_file.load(write(tmp_path), ["preset=raindrops"])
