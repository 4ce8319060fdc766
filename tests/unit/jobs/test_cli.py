"""What a person sees who makes a mistake: one line, what to do, the right exit code, and nothing half written."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs import cli, config_file
from rddm.presets import PRESETS
from tests.conftest import REPOSITORY
from tests.unit.pipelines.pictures import write_pairs

VERBS = ["demo", "preprocess", "train", "evaluate", "promote", "restore", "generate"]


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    captured = capsys.readouterr()
    code = stopped.value.code
    assert isinstance(code, int)
    return code, captured.out, captured.err


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "run.yaml"
    path.write_text(
        f"name: x\nworkspace: {tmp_path}/runs\n"
        f"data: {{source: {{root: {tmp_path}/pairs, degraded: '{{split}}/low/{{key}}.{{ext}}',"
        f" clean: '{{split}}/high/{{key}}.{{ext}}'}}}}\n"
    )
    return str(path)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(verb, "--help", capsys=capsys)
    assert code == 0
    for option in ("--config", "--set", "--submit", "--follow", "--dry-run", "--json"):
        assert option in out


def test_help_answers_at_once_and_imports_nothing_heavy() -> None:
    program = "import sys, jobs.cli; print(sorted({'torch', 'ray', 'mlflow', 'albumentations'} & set(sys.modules)))"
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.strip() == "[]"
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["preprocess", "--set", "train.stepps=1"], 2, "unknown key train.stepps; did you mean train.steps?"),
        (["preprocess"], 1, "pairs does not exist"),
        (["train"], 1, "make it first: rddm preprocess"),
        (["evaluate"], 1, "No version of 'x'"),
        (["promote"], 1, "No version of 'x'"),
        (["restore"], 2, "restore.input_uri is empty"),
        (["restore", "--input", "gone.zip"], 1, "No archive at gone.zip"),
        (["restore", "--input", ".", "--model", "models:/x@champion"], 1, "models:/x@champion does not exist"),
        (["restore", "--input", ".", "--model", "models:/x"], 1, "expected models:/NAME@ALIAS or models:/NAME/VERSION"),
        (["restore", "--input", ".", "--model", "no/bundle"], 1, "No bundle folder at no/bundle"),
        (["promote", "--set", "tracking.uri=http://127.0.0.1:9"], 5, "does not answer"),
        (["train", "--set", "train.global_batch=3"], 2, "expected a multiple of num_workers (2)"),
        (["train", "--resume", "never"], 1, "make it first"),
        (["train", "--submit", "http://127.0.0.1:9"], 2, "lies outside the current folder"),
    ],
)
def test_a_mistake_is_one_clear_line(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    found, _, err = run(*arguments, "--config", config, capsys=capsys)
    (line,) = [line for line in err.splitlines() if line.startswith("rddm: ")]
    assert message in line
    assert "Traceback" not in err
    assert found == code
    assert not (tmp_path / "runs/dataset").exists()


def test_a_cluster_that_is_not_there_is_exit_code_5(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run("train", "--config", config, "--submit", "http://127.0.0.1:9", capsys=capsys)
    assert code == 5
    assert "Nothing was submitted" in err


def test_a_dry_run_counts_and_writes_nothing(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pairs(tmp_path / "pairs", ["1", "2", "3"])
    code, out, _ = run("preprocess", "--config", config, "--dry-run", "--json", capsys=capsys)
    assert code == 0
    assert json.loads(out)["pairs"] == {"train": 2, "val": 1}
    assert not (tmp_path / "runs").exists()


def test_an_empty_data_set_is_said_to_be_empty(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pairs").mkdir()
    code, _, err = run("preprocess", "--config", config, capsys=capsys)
    assert code == 1
    assert "No pair below" in err


def test_a_port_in_use_is_named(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = run("ui", "--config", config, "--port", str(port), capsys=capsys)
    assert code == 2
    assert f"Port {port} is in use" in err


def test_config_show_resolves_and_schema_is_one(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("config", "show", "--config", config, "--set", "train.steps=5", "--json", capsys=capsys)
    assert (code, json.loads(out)["train"]["steps"]) == (0, 5)
    code, out, _ = run("config", "schema", capsys=capsys)
    assert (code, "train" in json.loads(out)["properties"]) == (0, True)


def test_a_schedule_is_printed_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "schedule.png"
    options = ["--set", "num_train_timesteps=50", "--set", "kappa=1.5"]
    code, out, _ = run("schedule", "show", "resshift", *options, "--plot", str(picture), "--json", capsys=capsys)
    shown = json.loads(out)
    assert code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert len(shown["alphas_cumsum"]) == 51
    assert shown["betas2_cumsum"][-1] == pytest.approx(1.5**2 * 0.999)
    assert shown["first_time"]["pred_res"] == 50
    assert run("schedule", "show", "istd_shadow", capsys=capsys)[0] == 0
    assert run("schedule", "show", "resshift", "--plot", str(picture), capsys=capsys)[0] == 1, "nothing is overwritten"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["schedule", "show", "linear"], "unknown schedule 'linear'"),
        (["schedule", "show", "ddim", "--set", "beta_schedule=sigmoid"], "expected linear, scaled_linear"),
        (["schedule", "show", "ddim", "--set", "beta"], "expected KEY=VALUE"),
        (["schedule", "show", "ddim", "--plot", "x.gif"], "ends with .png"),
        (["preset", "show", "istd"], "unknown preset 'istd'"),
    ],
)
def test_a_mistake_about_the_method_is_one_clear_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(*arguments, capsys=capsys)
    assert code == 2
    assert err.startswith("rddm: ")
    assert message in err


def test_presets_are_listed_and_shown_as_yaml_that_a_run_can_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run("preset", "list", "--json", capsys=capsys)
    assert (code, list(json.loads(out))) == (0, list(PRESETS))
    code, out, _ = run("preset", "show", "raindrop", capsys=capsys)
    assert "32.51" in out
    path = tmp_path / "copied.yaml"
    path.write_text(f"name: x\nworkspace: runs/x\n{out}")
    assert config_file.load(path).model == PRESETS["raindrop"].model
    code, out, _ = run("schedule", "list", "--json", capsys=capsys)
    assert "resshift" in json.loads(out)["schedules"]
