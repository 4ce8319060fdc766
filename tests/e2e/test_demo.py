"""The whole demo at toy size, as a person runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from jobs import tracking
from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.ray, pytest.mark.e2e]

TOY = {
    "data.degrade.variants": "1",
    "model.network.options.channels": "8",
    "model.schedule.num_train_timesteps": "100",
    "train.steps": "60",
    "train.global_batch": "4",
    "train.crop_px": "48",
    "train.learning_rate": "3e-3",
    "train.validate_every": "30",
    "train.checkpoint_every": "30",
    "train.selection.learning_rate": "1e-3",
}


def clean_environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {"PYTHONPATH": str(REPOSITORY)}


def rddm(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = clean_environment()
    return subprocess.run(
        [sys.executable, "-m", "jobs", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run of the demo; its folder."""
    home = tmp_path_factory.mktemp("demo")
    settings = [word for key, value in TOY.items() for word in ("--set", f"{key}={value}")]
    done = rddm("demo", "--json", *settings, cwd=home)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Traceback" not in done.stderr
    (folder,) = (home / "runs/demo").iterdir()
    assert json.loads(done.stdout) == json.loads((folder / "summary.json").read_text())
    return folder


def test_the_summary_tells_of_a_gain(demo: Path) -> None:
    summary = json.loads((demo / "summary.json").read_text())
    assert summary["restored_psnr_db"] > summary["input_psnr_db"] + 3
    assert summary["restored_ssim"] > summary["input_ssim"]
    assert summary["objective"] in {"pred_res", "pred_noise"}
    assert summary["objective_chosen_by"] == "AOSA"
    assert (summary["images_restored"], summary["images_quarantined"], summary["model_version"]) == (4, 0, 1)
    assert all(Path(path).exists() for path in summary["paths"].values())


def test_the_archive_comes_back_with_its_names_and_sizes(demo: Path) -> None:
    with (
        zipfile.ZipFile(demo / "archive/degraded.zip") as before,
        zipfile.ZipFile(demo / "restored/restored.zip") as after,
    ):
        assert before.namelist() == after.namelist()
        assert len({info.file_size for info in after.infolist()}) == 4


def test_mlflow_knows_the_whole_story(demo: Path) -> None:
    client = tracking.client(f"sqlite:///{demo}/mlflow.db")
    version = client.get_model_version_by_alias("demo", "champion")
    assert client.get_model_version("demo", version.version).tags["objective.chosen_by"] == "AOSA"
    run = client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["train.steps"] == "60"
    assert {"train/loss", "train/images_per_s", "val/psnr_db", "val/ssim", "aosa/weight", "test/psnr_db",
            "test/frechet_random_conv64"} <= run.data.metrics.keys()  # fmt: skip
    steps = [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")]
    assert steps == sorted(set(steps))
    assert steps[-1] == 60
    artifacts = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"aosa.json", "aosa.png", "schedule.png", "config.json", "validation", "evaluation"} <= artifacts


def test_checkpoints_stay_and_a_finished_training_resumes_to_the_same_end(demo: Path) -> None:
    (run,) = (demo / "train").iterdir()
    assert [path for path in run.iterdir() if path.name.startswith("checkpoint_")]
    done = rddm("train", "--config", str(demo / "config.yaml"), "--resume", run.name, "--json", cwd=demo)
    assert done.returncode == 0, done.stderr[-4000:]
    report = json.loads(done.stdout)
    assert (report["run_name"], report["steps"], report["version"]) == (run.name, 60, 2)
    client = tracking.client(f"sqlite:///{demo}/mlflow.db")
    first, second = (client.get_model_version("demo", number).tags["weights_sha256"] for number in ("1", "2"))
    assert first == second


def test_a_training_that_was_killed_goes_on_to_the_same_weights(demo: Path) -> None:
    config = str(demo / "config.yaml")
    before = set((demo / "train").iterdir())
    with (demo / "killed.log").open("wb") as log:
        victim = subprocess.Popen(
            [sys.executable, "-m", "jobs", "train", "--config", config],
            cwd=demo, env=clean_environment(), stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            for _ in range(1200):
                assert victim.poll() is None, (demo / "killed.log").read_text()[-4000:]
                runs = set((demo / "train").iterdir()) - before
                if runs and any(path.name.startswith("checkpoint_") for path in next(iter(runs)).iterdir()):
                    break
                time.sleep(0.1)
        finally:
            os.killpg(victim.pid, signal.SIGKILL)
            victim.wait()
    (run,) = runs
    done = rddm("train", "--config", config, "--resume", run.name, "--json", cwd=demo)
    assert done.returncode == 0, done.stderr[-4000:]
    client = tracking.client(f"sqlite:///{demo}/mlflow.db")
    report = json.loads(done.stdout)
    hashes = {
        number: client.get_model_version("demo", number).tags["weights_sha256"]
        for number in ("1", str(report["version"]))
    }
    assert len(set(hashes.values())) == 1, "the weights of the unbroken training, bit for bit"
    steps = [point.step for point in client.get_metric_history(report["run_id"], "train/loss")]
    assert steps == sorted(set(steps)), "no step is told twice"


def test_a_trial_chooses_for_another_task(demo: Path) -> None:
    """Inpainting, whose objective short trainings decide on; its network is shown the hole."""
    changes = {
        "model.task": "inpainting",
        "model.inputs": "[x_t, x_input, mask]",
        "train.selection.method": "trial",
        "train.selection.budget_steps": "14",
        "train.steps": "4",
        "train.accumulate": "2",
        "tracking.model_name": "filled",
    }
    settings = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    done = rddm("train", "--config", str(demo / "config.yaml"), *settings, "--json", cwd=demo)
    assert done.returncode == 0, done.stderr[-4000:]
    report = json.loads(done.stdout)
    assert report["objective_chosen_by"] == "trial"
    assert report["objective"] in {"pred_res", "pred_noise", "pred_res_noise"}
    client = tracking.client(f"sqlite:///{demo}/mlflow.db")
    assert {"trial.json", "trial.png"} <= {item.path for item in client.list_artifacts(report["run_id"])}
    tried = {name for name in client.get_run(report["run_id"]).data.metrics if name.startswith("trial/")}
    assert tried == {f"trial/{name}/psnr_db" for name in ("pred_res", "pred_noise", "pred_res_noise")}


def test_every_verb_works_by_hand_on_what_is_there(demo: Path) -> None:
    config = str(demo / "config.yaml")
    assert rddm("preprocess", "--config", config, cwd=demo).returncode == 1, "nothing is overwritten"
    dry = rddm("promote", "--config", config, "--version", "1", "--dry-run", "--json", cwd=demo)
    assert json.loads(dry.stdout)["would_promote"] is True
    archive = demo / "mixed.zip"
    with zipfile.ZipFile(demo / "archive/degraded.zip") as good, zipfile.ZipFile(archive, "w") as mixed:
        name = good.namelist()[0]
        mixed.writestr("good.png", good.read(name))
        mixed.writestr("torn.png", good.read(name)[:500])
    output = demo / "again"
    done = rddm("restore", "--config", config, "--input", str(archive), "--output", str(output), "--json", cwd=demo)
    assert done.returncode == 4, done.stderr[-4000:]
    report = json.loads(done.stdout)
    assert (report["num_restored"], report["num_quarantined"]) == (1, 1)
    assert report["model_uri"] == "models:/demo/1"
    with zipfile.ZipFile(output / "restored.zip") as ours, zipfile.ZipFile(demo / "restored/restored.zip") as theirs:
        assert ours.namelist() == ["good.png"]
        assert len(ours.read("good.png")) > 0
        assert theirs.testzip() is None
