"""`rddm train`: data-parallel training on Ray Train, tracked by MLflow, ending in a registered version."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jobs import config_file, figures, tracking
from jobs.cluster import ray_session
from jobs.config import RunConfig
from jobs.model_registry import ModelRegistry
from jobs.terminal import Terminal
from jobs.workspace import Workspace, timestamp, tracking_uri
from pipelines import storage
from pipelines.graphs import root_cause
from pipelines.manifest import DatasetManifest, read_manifest
from pipelines.shards import PairShards
from rddm.bundle import Bundle, load_bundle
from rddm.config import build_network, build_schedule
from rddm.errors import ConfigError, DataError, TrainingError
from rddm.tasks import TASKS

_RUN_FILE = "run.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainReport:
    """What a training left behind.

    Attributes:
        run_name: Its folder below the workspace's `train`; what `--resume` takes.
        run_id: MLflow run.
        objective: Objective that was trained.
        objective_chosen_by: `AOSA`, `trial` or `config`.
        model: Registered model.
        version: Version that was added to it.
        steps: Updates done.
        seconds: Wall time of this call.
    """

    run_name: str
    run_id: str
    objective: str
    objective_chosen_by: str
    model: str
    version: int
    steps: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        return asdict(self)


def run(config: RunConfig, terminal: Terminal, *, resume: str | None = None) -> TrainReport:
    """Train on the workspace's data set and register the result.

    Args:
        config: The run.
        terminal: Where progress is shown.
        resume: Name of a training of the same config that was cut short; it goes on from its last checkpoint.

    Raises:
        ConfigError: The config cannot be trained as it stands, or is not the one that is resumed.
        DataError: There is no data set.
        TrainingError: The workers failed more often than `train.max_failures` allows, or AOSA did not decide.
        ClusterUnreachableError, RegistryUnreachableError: Ray or MLflow does not answer.
    """
    started = time.monotonic()
    _check(config)
    dataset_uri = Workspace.of(config).dataset_uri
    manifest = read_manifest(dataset_uri)
    _check_masks(config, manifest)
    uri = tracking_uri(config)
    run_name, run_id = _resumed(config, resume) if resume else _started(config, uri)
    terminal.say(f"Training {run_name}; MLflow run {run_id} at {uri}")
    try:
        tracker = tracking.MlflowTracker(uri, run_id)
        _describe(tracker, config, manifest.fingerprint)
        with ray_session(config.cluster, min_cpus=config.train.num_workers), TemporaryDirectory() as folder:
            _fit(config, terminal, run_name=run_name, run_id=run_id, uri=uri, bundle_folder=Path(folder) / "bundle")
            bundle = load_bundle(Path(folder) / "bundle")
            number = _register(config, bundle, Path(folder) / "bundle", run_id, manifest.fingerprint)
    except BaseException:
        tracking.finish_run(uri, run_id, failed=True)
        terminal.say(f"The training's checkpoints stay; go on with: rddm train --config FILE --resume {run_name}")
        raise
    tracking.finish_run(uri, run_id)
    return TrainReport(
        run_name=run_name,
        run_id=run_id,
        objective=bundle.config.objective,
        objective_chosen_by=_chosen_by(bundle),
        model=config.model_name,
        version=number,
        steps=config.train.steps,
        seconds=round(time.monotonic() - started, 1),
    )


def plan(config: RunConfig, terminal: Terminal, *, resume: str | None = None) -> dict[str, Any]:
    """Check the config against the data set, count parameters, and train nothing."""
    _check(config)
    dataset_uri = Workspace.of(config).dataset_uri
    _check_masks(config, read_manifest(dataset_uri))
    pairs = len(PairShards(dataset_uri, "train"))
    name = "pred_res" if config.model.objective == "auto" else config.model.objective
    parameters = sum(p.numel() for p in build_network(config.model, name).parameters())
    return {
        "dataset": dataset_uri,
        "training_pairs": pairs,
        "validation_pairs": len(PairShards(dataset_uri, "val")),
        "parameters": parameters,
        "objective": config.model.objective,
        "steps": config.train.steps,
        "epochs": round(config.train.steps * config.train.global_batch / max(1, pairs), 1),
        "workers": config.train.num_workers,
        "would_write": storage.join(Workspace.of(config).training_uri, resume or "<new run>"),
    }


def _check(config: RunConfig) -> None:
    train = config.train
    least = train.num_workers * train.accumulate
    if train.num_workers < 1 or train.accumulate < 1 or train.global_batch < least or train.global_batch % least:
        raise ConfigError(
            f"train.global_batch is {train.global_batch}; expected a multiple of num_workers ({train.num_workers}) "
            f"times accumulate ({train.accumulate})"
        )
    if train.steps < 1:
        raise ConfigError(f"train.steps is {train.steps}; expected 1 or more")


def _check_masks(config: RunConfig, manifest: DatasetManifest) -> None:
    if TASKS[config.model.task].needs_mask and not manifest.has_masks:
        raise DataError(
            f"model.task is {config.model.task!r}, and not every pair of the data set {manifest.title!r} has a mask; "
            "name their template in data.source.mask and make the data set again, or choose another task"
        )


def _started(config: RunConfig, uri: str) -> tuple[str, str]:
    run_name = timestamp()
    run_id = tracking.start_run(uri, experiment=config.experiment, run_name=f"{config.name}-{run_name}")
    memory = {"run_id": run_id, "config_sha256": config_file.digest(config), "config": config_file.to_mapping(config)}
    folder = storage.join(Workspace.of(config).training_uri, run_name)
    storage.publish_bytes(storage.join(folder, _RUN_FILE), json.dumps(memory, indent=2).encode())
    return run_name, run_id


def _resumed(config: RunConfig, run_name: str) -> tuple[str, str]:
    place = storage.join(Workspace.of(config).training_uri, run_name, _RUN_FILE)
    if not storage.exists(place):
        raise ConfigError(f"--resume {run_name}: no such training ({place} does not exist)")
    memory = json.loads(storage.read_bytes(place))
    if memory["config_sha256"] != config_file.digest(config):
        raise ConfigError(f"--resume {run_name}: its config was another one; the one it began with is in {place}")
    return run_name, memory["run_id"]


def _describe(tracker: tracking.Tracker, config: RunConfig, fingerprint: str) -> None:
    mapping = config_file.to_mapping(config)
    tracker.params(tracking.flatten(mapping))
    tracker.json("config.json", mapping)
    packages = {f"version.{name}": version(name) for name in ("rddm", "torch", "ray", "mlflow")}
    tracker.tags({"dataset_fingerprint": fingerprint, **packages})
    if config.model.objective != "auto":
        tracker.tags({"objective": config.model.objective, "objective.chosen_by": "config"})
    tracker.figure("schedule.png", figures.plot_schedule(build_schedule(config.model)))


def _fit(config: RunConfig, terminal: Terminal, *, run_name: str, run_id: str, uri: str, bundle_folder: Path) -> None:
    """Run the workers to the end and fetch the bundle that the last checkpoint carries."""
    import ray.train
    from ray.train import CheckpointConfig, FailureConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from jobs.board import shown_board
    from jobs.train_worker import train_worker

    train = config.train
    with shown_board(terminal) as board:
        trainer = TorchTrainer(
            train_worker,
            train_loop_config={
                "config": config_file.to_mapping(config),
                "dataset_uri": Workspace.of(config).dataset_uri,
                "tracking_uri": uri,
                "run_id": run_id,
                "board": board,
            },
            scaling_config=ScalingConfig(num_workers=train.num_workers, use_gpu=train.use_gpu),
            run_config=ray.train.RunConfig(
                name=run_name,
                storage_path=Workspace.of(config).training_uri,
                failure_config=FailureConfig(max_failures=train.max_failures),
                checkpoint_config=CheckpointConfig(num_to_keep=train.keep_checkpoints),
                worker_runtime_env={"env_vars": _worker_environment()},
            ),
        )
        try:
            result = trainer.fit()
        except ray.train.TrainingFailedError as error:
            raise TrainingError(f"Training {run_name} failed: {root_cause(error)}") from error
    with result.checkpoint.as_directory() as folder:
        _copy_bundle(Path(folder), bundle_folder, run_name)


def _copy_bundle(checkpoint: Path, target: Path, run_name: str) -> None:
    import shutil

    source = checkpoint / "bundle"
    if not source.is_dir():
        raise TrainingError(f"The last checkpoint of {run_name} carries no bundle; resume the training to finish it.")
    shutil.copytree(source, target)


def _chosen_by(bundle: Bundle) -> str:
    decision = bundle.card.get("objective_decision")
    return str(decision["method"]) if decision else "config"


def _register(config: RunConfig, bundle: Bundle, folder: Path, run_id: str, fingerprint: str) -> int:
    tags = {
        "objective": bundle.config.objective,
        "objective.chosen_by": _chosen_by(bundle),
        "weights_sha256": bundle.weights_sha256,
        "dataset_fingerprint": fingerprint,
        "steps": str(config.train.steps),
    }
    return ModelRegistry(tracking_uri(config)).register(folder, run_id=run_id, name=config.model_name, tags=tags).number


def _worker_environment() -> dict[str, str]:
    wanted = ("NO_ALBUMENTATIONS_UPDATE", "MLFLOW_DISABLE_TELEMETRY", "MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    return {name: os.environ[name] for name in wanted if name in os.environ}
