"""What a run tells about itself: the `Tracker` protocol, MLflow's, a silent one and a recording one."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from rddm.errors import RegistryUnreachableError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient
    from numpy.typing import NDArray

_MAX_PARAM_CHARS = 6000


class Tracker(Protocol):
    """Where a job puts its numbers, pictures and files."""

    def params(self, values: Mapping[str, Any]) -> None:
        """Keep the settings of the run, by dotted name."""

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Keep one point of each named curve."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Keep facts by which runs are found."""

    def image(self, name: str, pixels: NDArray[np.uint8], *, step: int) -> None:
        """Keep a picture, uint8 of shape (height, width, 3)."""

    def figure(self, name: str, figure: Figure) -> None:
        """Keep a plot under an artifact name such as `schedule.png`."""

    def json(self, name: str, value: Mapping[str, Any]) -> None:
        """Keep a mapping as a JSON artifact."""

    def files(self, folder: Path, *, into: str) -> None:
        """Keep a local folder's files as artifacts."""


class NullTracker:
    """Keeps nothing: what every worker but the first one speaks to."""

    def params(self, values: Mapping[str, Any]) -> None:
        """Nothing."""

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Nothing."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Nothing."""

    def image(self, name: str, pixels: NDArray[np.uint8], *, step: int) -> None:
        """Nothing."""

    def figure(self, name: str, figure: Figure) -> None:
        """Nothing."""

    def json(self, name: str, value: Mapping[str, Any]) -> None:
        """Nothing."""

    def files(self, folder: Path, *, into: str) -> None:
        """Nothing."""


@dataclass(kw_only=True, slots=True)
class RecordingTracker:
    """Keeps everything in memory, for tests."""

    kept_params: dict[str, Any] = field(default_factory=dict)
    points: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    kept_tags: dict[str, str] = field(default_factory=dict)
    artifacts: list[str] = field(default_factory=list)

    def params(self, values: Mapping[str, Any]) -> None:
        """Remember settings."""
        self.kept_params.update(values)

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Remember a point."""
        self.points.append((step, dict(metrics)))

    def tags(self, values: Mapping[str, str]) -> None:
        """Remember tags."""
        self.kept_tags.update(values)

    def image(self, name: str, pixels: NDArray[np.uint8], *, step: int) -> None:
        """Remember a picture's name."""
        self.artifacts.append(f"{name}@{step}")

    def figure(self, name: str, figure: Figure) -> None:
        """Remember a plot's name."""
        self.artifacts.append(name)

    def json(self, name: str, value: Mapping[str, Any]) -> None:
        """Remember a document's name."""
        self.artifacts.append(name)

    def files(self, folder: Path, *, into: str) -> None:
        """Remember where files went."""
        self.artifacts.append(into)


class MlflowTracker:
    """Writes to one MLflow run through a client: no global state, no active run.

    A training that starts again after a failure repeats the steps since its checkpoint with the same numbers;
    points at or before the last step that a curve already holds are not written twice.
    """

    def __init__(self, uri: str, run_id: str) -> None:
        """Attach to a run that exists."""
        self.run_id = run_id
        self._client = client(uri)
        self._last_step: dict[str, int] = {}

    def params(self, values: Mapping[str, Any]) -> None:
        """Log settings as MLflow params; a very long value is cut, for it stands whole in the config artifact."""
        from mlflow.entities import Param

        items = [Param(key, str(value)[:_MAX_PARAM_CHARS]) for key, value in values.items()]
        for start in range(0, len(items), 100):
            self._client.log_batch(self.run_id, params=items[start : start + 100])

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Log one point of each curve, in one request."""
        from mlflow.entities import Metric
        from mlflow.utils.time import get_current_time_millis

        now = get_current_time_millis()
        fresh = {name: value for name, value in metrics.items() if step > self._step_of(name)}
        self._client.log_batch(self.run_id, metrics=[Metric(name, float(v), now, step) for name, v in fresh.items()])
        self._last_step.update(dict.fromkeys(fresh, step))

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        for key, value in values.items():
            self._client.set_tag(self.run_id, key, value)

    def image(self, name: str, pixels: NDArray[np.uint8], *, step: int) -> None:
        """Log a picture as an artifact that sorts by step."""
        from PIL import Image

        self._client.log_image(self.run_id, Image.fromarray(pixels), artifact_file=f"{name}/step-{step:07d}.png")

    def figure(self, name: str, figure: Figure) -> None:
        """Log a plot."""
        self._client.log_figure(self.run_id, figure, name)

    def json(self, name: str, value: Mapping[str, Any]) -> None:
        """Log a JSON document."""
        self._client.log_dict(self.run_id, dict(value), name)

    def files(self, folder: Path, *, into: str) -> None:
        """Log a folder's files."""
        self._client.log_artifacts(self.run_id, str(folder), into)

    def _step_of(self, name: str) -> int:
        if name not in self._last_step:
            history = self._client.get_metric_history(self.run_id, name)
            self._last_step[name] = max((point.step for point in history), default=-1)
        return self._last_step[name]


def client(uri: str) -> MlflowClient:
    """An MLflow client for a tracking and registry URI.

    Raises:
        RegistryUnreachableError: Nothing answers there.
    """
    for name in ("alembic", "mlflow", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    _make_sqlite_folder(uri)
    import requests
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        connected = MlflowClient(tracking_uri=uri, registry_uri=uri)
        connected.search_experiments(max_results=1)
    except (MlflowException, requests.RequestException, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RegistryUnreachableError(
            f"MLflow at {uri} does not answer: {reason[:300]}. Start it, or set tracking.uri or MLFLOW_TRACKING_URI. "
            "Nothing was changed."
        ) from None
    return connected


def start_run(uri: str, *, experiment: str, run_name: str) -> str:
    """Create an MLflow run, and its experiment where it is new.

    Returns:
        The run's id.

    Raises:
        RegistryUnreachableError: MLflow does not answer.
    """
    connected = client(uri)
    found = connected.get_experiment_by_name(experiment)
    location = _artifact_location(uri, experiment)
    experiment_id = found.experiment_id if found else connected.create_experiment(experiment, location)
    run = connected.create_run(experiment_id, run_name=run_name)
    return str(run.info.run_id)


def finish_run(uri: str, run_id: str, *, failed: bool = False) -> None:
    """Close a run as finished or failed."""
    client(uri).set_terminated(run_id, "FAILED" if failed else "FINISHED")


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _make_sqlite_folder(uri: str) -> None:
    if uri.startswith("sqlite:///"):
        try:
            os.makedirs(os.path.dirname(uri.removeprefix("sqlite:///")) or ".", exist_ok=True)
        except OSError as error:
            raise RegistryUnreachableError(f"MLflow at {uri}: {error}. Nothing was changed.") from None


def _artifact_location(uri: str, experiment: str) -> str | None:
    if not uri.startswith("sqlite:///"):
        return None  # a server knows where its artifacts go
    folder = os.path.dirname(os.path.abspath(uri.removeprefix("sqlite:///")))
    return f"file://{folder}/mlartifacts/{experiment}"
