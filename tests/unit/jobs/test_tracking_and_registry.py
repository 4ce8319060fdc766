"""The two doors to MLflow, on a real SQLite store."""

from __future__ import annotations

import hashlib
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch

from jobs import tracking
from jobs.config import PromoteConfig, RunConfig, TrackingConfig
from jobs.figures import comparison_grid, plot_schedule, thumbnail
from jobs.model_registry import ModelRegistry, Version
from jobs.promote import SCORE_TAG_PREFIX, TEST_SET_TAG
from jobs.promote import run as promote
from jobs.terminal import Terminal
from pipelines.config import PreprocessConfig
from rddm.bundle import save_bundle
from rddm.config import ModelConfig, NetworkConfig, build_network
from rddm.errors import BundleError, GateRefusedError, ModelNotFoundError, RegistryUnreachableError
from rddm.schedules import CURVES, make_schedule

TINY = ModelConfig(objective="pred_res", network=NetworkConfig(name="tiny"))


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture(scope="module")
def run_id(uri: str) -> str:
    return tracking.start_run(uri, experiment="tests", run_name="one")


def register(uri: str, run_id: str, folder: Path, name: str, **scores: float) -> Version:
    save_bundle(folder, config=TINY, net=build_network(TINY, "pred_res"), card={})
    registry = ModelRegistry(uri)
    version = registry.register(folder, run_id=run_id, name=name, tags={"weights_sha256": sha256_of(folder)})
    registry.set_tags(version, {f"{SCORE_TAG_PREFIX}{key}": str(value) for key, value in scores.items()})
    registry.set_tags(version, {TEST_SET_TAG: "set"})
    return version


def sha256_of(folder: Path) -> str:
    return hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()


def test_a_tracker_keeps_everything_and_no_step_twice(uri: str, run_id: str) -> None:
    tracker = tracking.MlflowTracker(uri, run_id)
    tracker.params(tracking.flatten({"train": {"steps": 3, "selection": {}}, "name": "x" * 10_000}))
    tracker.log({"loss": 1.0}, step=1)
    tracker.log({"loss": 0.5}, step=2)
    resumed = tracking.MlflowTracker(uri, run_id)  # as after a restart: step 2 is repeated
    resumed.log({"loss": 0.5, "other": 7.0}, step=2)
    resumed.log({"loss": 0.25}, step=3)
    tracker.image("grid", np.zeros((4, 4, 3), np.uint8), step=3)
    tracker.figure("schedule.png", plot_schedule(make_schedule(CURVES["uniform"](9), CURVES["uniform"](9))))
    tracker.json("a.json", {"b": 1})
    client = tracking.client(uri)
    assert [(p.step, p.value) for p in client.get_metric_history(run_id, "loss")] == [(1, 1.0), (2, 0.5), (3, 0.25)]
    assert client.get_run(run_id).data.params["train.steps"] == "3"
    names = {item.path for item in client.list_artifacts(run_id)}
    assert {"grid", "schedule.png", "a.json"} <= names


def test_a_registered_version_restores_through_every_door(uri: str, run_id: str, tmp_path: Path) -> None:
    version = register(uri, run_id, tmp_path / "bundle", "doors")
    registry = ModelRegistry(uri)
    registry.set_alias(version, "champion")
    assert registry.resolve("models:/doors@champion") == registry.resolve(version.uri)
    image = torch.rand(1, 3, 20, 31)
    expected = registry.bundle(str(tmp_path / "bundle")).restorer().restore(image, seeds=[0])
    ours = registry.bundle("models:/doors@champion").restorer().restore(image, seeds=[0])
    assert torch.equal(ours, expected)
    mlflow.set_tracking_uri(uri)
    served = mlflow.pyfunc.load_model("models:/doors@champion").predict(image.numpy())
    assert np.array_equal(served, expected.numpy())


def test_changed_weights_are_refused(uri: str, run_id: str, tmp_path: Path) -> None:
    version = register(uri, run_id, tmp_path / "bundle", "poisoned")
    ModelRegistry(uri).set_tags(version, {"weights_sha256": "0" * 64})
    with pytest.raises(BundleError, match="changed after registration"):
        ModelRegistry(uri).bundle(version.uri)


@pytest.mark.parametrize(
    ("model_uri", "message"),
    [
        ("models:/nothing@champion", "registered models: "),
        ("models:/aliases@best", "aliases of 'aliases': none"),
        ("models:/aliases/9", "does not exist"),
        ("models:/aliases", "is no model URI"),
    ],
)
def test_a_model_that_is_not_there_is_named(
    uri: str, run_id: str, tmp_path: Path, model_uri: str, message: str
) -> None:
    if not ModelRegistry(uri).versions("aliases"):
        register(uri, run_id, tmp_path / "bundle", "aliases")
    with pytest.raises(ModelNotFoundError, match=message):
        ModelRegistry(uri).resolve(model_uri)


@pytest.mark.parametrize("dead", ["http://127.0.0.1:9", "sqlite:////proc/nothing/here.db"])
def test_a_registry_that_does_not_answer_says_so(dead: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryUnreachableError, match="Nothing was changed"):
        tracking.client(dead)


def test_promotion_moves_the_alias_or_changes_nothing(uri: str, run_id: str, tmp_path: Path) -> None:
    config = RunConfig(
        name="story",
        workspace=str(tmp_path),
        data=PreprocessConfig(),
        tracking=TrackingConfig(uri=uri),
        promote=PromoteConfig(min_psnr_gain_db=3.0),
    )
    registry, terminal = ModelRegistry(uri), Terminal()
    first = register(uri, run_id, tmp_path / "1", "story", psnr_db=30.0, input_psnr_db=20.0, ssim=0.9)
    assert promote(config, terminal).previous is None
    register(uri, run_id, tmp_path / "2", "story", psnr_db=29.0, input_psnr_db=20.0, ssim=0.9)
    with pytest.raises(GateRefusedError, match=r"Not promoted: models:/story/2: .*29\.00 dB.* Nothing was changed"):
        promote(config, terminal)
    assert registry.resolve("models:/story@champion").number == first.number
    register(uri, run_id, tmp_path / "3", "story", psnr_db=30.5, input_psnr_db=20.0, ssim=0.9)
    report = promote(config, terminal)
    assert (report.previous, report.version) == (first.number, registry.resolve("models:/story@champion").number)
    assert "promotion.champion" in registry.resolve("models:/story@champion").tags


def test_grids_and_thumbnails() -> None:
    wide = np.full((100, 640, 3), 200, np.uint8)
    assert thumbnail(wide, 320).shape == (50, 320, 3)
    assert thumbnail(wide, 1000) is wide
    grid = comparison_grid([("one", [wide, wide]), ("two", [wide // 2, wide])], ["input", "clean"])
    assert grid.shape[1] >= 1280
    assert (grid == 100).any()
