"""`rddm restore`: an archive of degraded pictures -> an archive of restored ones, a manifest and a report."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from jobs.cluster import ray_session
from jobs.config import RunConfig
from jobs.model_registry import ModelRegistry, load_bundle_at
from jobs.terminal import Terminal
from jobs.workspace import Workspace, timestamp, tracking_uri
from pipelines import storage
from pipelines.archive import ArchiveReport, restore_archive
from pipelines.ops.restore import PixelRestorer
from rddm.errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rddm.restorer import Restorer


class NumpyRestorer:
    """A `Restorer` as pipelines hold it: one image, numpy in and numpy out."""

    def __init__(self, restorer: Restorer) -> None:
        """Wrap a restorer."""
        self._restorer = restorer

    def __call__(self, pixels: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
        """Restore one float32 image in [0, 1] of shape (height, width, 3)."""
        batch = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
        restored = self._restorer.restore(batch, seeds=[seed])
        return np.ascontiguousarray(restored[0].permute(1, 2, 0).numpy())


def load_restorer(registry_uri: str, model_uri: str) -> PixelRestorer:
    """What each actor calls once: the verified bundle behind a URI, ready to restore."""
    return NumpyRestorer(load_bundle_at(registry_uri, model_uri).restorer())


def run(config: RunConfig, terminal: Terminal) -> ArchiveReport:
    """Restore `restore.input_uri` into `restore.output_uri`.

    The alias is resolved once, before the actors start, so that all of them load the same version.

    Raises:
        ConfigError: No input is named.
        DataError: The input does not exist, or the output does.
        ModelNotFoundError: The model, its version or its alias does not exist.
        ClusterUnreachableError, RegistryUnreachableError: Ray or MLflow does not answer.
    """
    input_uri, output_uri, model_uri = _places(config)
    registry_uri = tracking_uri(config)
    pinned = pinned_model(registry_uri, model_uri)
    terminal.say(f"Restoring {input_uri} with {model_uri}" + (f" = {pinned}" if pinned != model_uri else ""))
    with ray_session(config.cluster), terminal.progress("restore") as advance:
        return restore_archive(
            input_uri=input_uri,
            output_uri=output_uri,
            load_restorer=functools.partial(load_restorer, registry_uri),
            model_uri=pinned,
            config=config.restore.archive,
            progress=lambda done, total, failed: advance(done, total, f"{failed} quarantined" if failed else ""),
        )


def plan(config: RunConfig, terminal: Terminal) -> dict[str, Any]:
    """Resolve the model and the places, and write nothing."""
    input_uri, output_uri, model_uri = _places(config)
    return {
        "input": input_uri,
        "would_write": output_uri,
        "model": pinned_model(tracking_uri(config), model_uri),
    }


def _places(config: RunConfig) -> tuple[str, str, str]:
    restore = config.restore
    if not restore.input_uri:
        raise ConfigError("restore.input_uri is empty; give --input ARCHIVE.zip, or set it in the config")
    if not storage.exists(restore.input_uri):
        raise DataError(f"No archive at {restore.input_uri}; give --input an existing zip archive or folder.")
    output = restore.output_uri or storage.join(Workspace.of(config).restored_uri, timestamp())
    model = restore.model_uri or f"models:/{config.model_name}@{config.promote.alias}"
    return restore.input_uri, output, model


def pinned_model(registry_uri: str, model_uri: str) -> str:
    """The version that a model URI stands for now, so that an alias that moves meanwhile changes nothing.

    Raises:
        ModelNotFoundError: There is none.
        BundleError: A folder is no whole bundle.
    """
    registry = ModelRegistry(registry_uri)
    if model_uri.startswith("models:/"):
        return registry.resolve(model_uri).uri
    registry.bundle(model_uri)  # a bundle that does not load is found here, not in every actor
    return str(Path(model_uri).resolve())
