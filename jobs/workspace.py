"""Where a run keeps what: one folder or bucket prefix, one name for each thing in it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from jobs.config import RunConfig
from pipelines import storage


@dataclass(frozen=True, kw_only=True, slots=True)
class Workspace:
    """The places of one run.

    Attributes:
        root: Absolute local path, or `s3://` prefix.
    """

    root: str

    @classmethod
    def of(cls, config: RunConfig) -> Workspace:
        """The workspace of a run; a relative local path is taken from the current folder."""
        root = config.workspace
        return cls(root=root if is_remote(root) else str(Path(root).expanduser().resolve()))

    @property
    def dataset_uri(self) -> str:
        """What `preprocess` writes and `train` and `evaluate` read."""
        return storage.join(self.root, "dataset")

    @property
    def training_uri(self) -> str:
        """One folder for each training, with its checkpoints."""
        return storage.join(self.root, "train")

    @property
    def evaluation_uri(self) -> str:
        """One folder for each evaluated version."""
        return storage.join(self.root, "evaluation")

    @property
    def restored_uri(self) -> str:
        """One folder for each batch restoration that names no other."""
        return storage.join(self.root, "restored")

    @property
    def generated_uri(self) -> str:
        """One folder for each generation that names no other."""
        return storage.join(self.root, "generated")


def is_remote(uri: str) -> bool:
    """Whether a URI names something that is not on this machine's disk."""
    return "://" in uri and not uri.startswith("file://")


def tracking_uri(config: RunConfig) -> str:
    """The MLflow that a run speaks to: the config's, the environment's, or SQLite inside a local workspace."""
    if uri := config.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI", ""):
        return uri
    workspace = Workspace.of(config)
    home = Path.cwd() if is_remote(workspace.root) else Path(workspace.root)
    return f"sqlite:///{home / 'mlflow.db'}"


def timestamp() -> str:
    """The present moment in UTC, as it stands in names: sortable, and free of characters that file systems dislike."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")[:-3] + "Z"
