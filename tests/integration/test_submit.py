"""Jobs on a real Ray cluster with a token, started as a person starts it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.unit.pipelines.pictures import write_pairs

pytestmark = pytest.mark.ray

RAY = str(Path(sys.executable).with_name("ray"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class Cluster:
    """A head node's job server, the environment that may speak to it, and a project folder to submit from."""

    address: str
    environment: dict[str, str]
    project: Path

    def rddm(self, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "jobs", *arguments],
            cwd=self.project,
            env=self.environment | changes,
            capture_output=True,
            text=True,
            timeout=400,
        )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    project = tmp_path_factory.mktemp("project")
    for room in ("rddm", "pipelines", "jobs"):
        shutil.copytree(REPOSITORY / room, project / room, ignore=shutil.ignore_patterns("__pycache__"))
    write_pairs(project / "pairs", [f"{n}" for n in range(8)])
    (project / "run.yaml").write_text(
        "name: submitted\nworkspace: runs/submitted\n"
        "data: {source: {root: pairs, degraded: '{split}/low/{key}.{ext}', clean: '{split}/high/{key}.{ext}'}}\n"
        "model: {objective: pred_res, network: {name: tiny}, schedule: {num_train_timesteps: 10}}\n"
        "train: {num_workers: 1, steps: 4, global_batch: 2, crop_px: 16, log_every: 1, checkpoint_every: 2}\n"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")} | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "a-token-for-this-test-only",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    dashboard = free_port()
    temporary = Path("/tmp") / f"ray-submit-{os.getpid()}"  # Ray's sockets want a short path
    head = subprocess.Popen(
        [
            RAY, "start", "--head", "--block", f"--port={free_port()}", f"--dashboard-port={dashboard}",
            "--dashboard-host=127.0.0.1", f"--dashboard-agent-listen-port={free_port()}", "--num-cpus=3",
            f"--temp-dir={temporary}", "--object-store-memory=200000000", "--disable-usage-stats",
            "--min-worker-port=0", "--max-worker-port=0", f"--ray-client-server-port={free_port()}",
        ],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        _wait_for(dashboard, head)
        yield Cluster(f"http://127.0.0.1:{dashboard}", environment, project)
    finally:
        os.killpg(head.pid, signal.SIGTERM)
        try:
            head.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(head.pid, signal.SIGKILL)
        shutil.rmtree(temporary, ignore_errors=True)


def _wait_for(port: int, head: subprocess.Popen[bytes]) -> None:
    for _ in range(240):
        assert head.poll() is None, f"ray start ended with {head.returncode}"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                time.sleep(2)
                return
        time.sleep(0.5)
    raise AssertionError("no job server after two minutes")


def test_a_run_is_submitted_followed_and_comes_back_with_its_exit_code(cluster: Cluster) -> None:
    submit = ("--config", "run.yaml", "--submit", cluster.address, "--follow")
    early = cluster.rddm("train", *submit)
    assert early.returncode == 1, early.stderr
    assert "rddm preprocess" in early.stderr, "the job's own words came back"

    data = cluster.rddm("preprocess", *submit)
    assert data.returncode == 0, data.stderr
    manifest = json.loads((cluster.project / "runs/submitted/dataset/manifest.json").read_text())
    assert manifest["rows"] == {"train": 7, "val": 1, "test": 0}, "written where this machine can see it"

    trained = cluster.rddm("train", *submit)
    assert trained.returncode == 0, trained.stderr
    assert "succeeded" in trained.stderr
    assert list((cluster.project / "runs/submitted/train").glob("*/checkpoint_*"))


def test_a_wrong_token_submits_nothing(cluster: Cluster) -> None:
    done = cluster.rddm(
        "train", "--config", "run.yaml", "--submit", cluster.address, RAY_AUTH_TOKEN="another-token-altogether"
    )
    assert done.returncode == 5, done.stderr
    assert "Nothing was submitted" in done.stderr


def test_a_folder_of_this_machine_is_no_place_for_another_cluster(cluster: Cluster) -> None:
    done = cluster.rddm("train", "--config", "run.yaml", "--submit", "http://cluster.example:8265")
    assert done.returncode == 2, done.stderr
    assert "workspace is 'runs/submitted', a folder of this machine" in done.stderr
