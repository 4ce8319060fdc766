"""Registered models: versions, aliases and tags; `models:/NAME@ALIAS` -> a bundle and a restorer."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import tracking
from rddm.bundle import Bundle, load_bundle
from rddm.errors import BundleError, ModelNotFoundError, RegistryUnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature

_URI = re.compile(r"^models:/(?P<name>[^/@]+)(@(?P<alias>[^/@]+)|/(?P<version>\d+))$")
_ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """One version of a registered model.

    Attributes:
        name: Registered model.
        number: The version.
        run_id: MLflow run that trained it.
        aliases: Aliases that point here.
        tags: Its facts: objective, hashes, scores.
    """

    name: str
    number: int
    run_id: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]

    @property
    def uri(self) -> str:
        """The URI that will always mean this version."""
        return f"models:/{self.name}/{self.number}"


@dataclass(frozen=True, slots=True)
class ModelRegistry:
    """The registry behind one MLflow URI.

    Attributes:
        uri: Tracking and registry URI.
    """

    uri: str

    def register(self, bundle: Path, *, run_id: str, name: str, tags: Mapping[str, str]) -> Version:
        """Store a bundle as a pyfunc model of a run and add it to a registered model.

        Raises:
            RegistryUnreachableError: MLflow does not answer.
        """
        with self._session() as client, _active(self.uri, run_id):
            import mlflow
            import numpy as np

            info = mlflow.pyfunc.log_model(
                name="restorer",
                python_model=str(Path(__file__).with_name("serving_model.py")),
                artifacts={"bundle": str(bundle)},
                signature=_signature(),
                input_example=np.full((1, 3, 16, 16), 0.25, np.float32),
                pip_requirements=["rddm"],
            )
            added = mlflow.register_model(info.model_uri, name, tags=dict(tags))
            return _version(client.get_model_version(name, added.version))

    def resolve(self, model_uri: str) -> Version:
        """The version that `models:/NAME@ALIAS` or `models:/NAME/VERSION` means now.

        Raises:
            ModelNotFoundError: The URI is malformed, or the model, alias or version does not exist.
            RegistryUnreachableError: MLflow does not answer.
        """
        parts = _URI.match(model_uri)
        if parts is None:
            raise ModelNotFoundError(
                f"{model_uri!r} is no model URI; expected models:/NAME@ALIAS or models:/NAME/VERSION"
            )
        with self._session() as client:
            from mlflow.exceptions import MlflowException

            try:
                if alias := parts["alias"]:
                    found = client.get_model_version_by_alias(parts["name"], alias)
                    return _version(client.get_model_version(parts["name"], found.version))
                return _version(client.get_model_version(parts["name"], parts["version"]))
            except MlflowException as error:
                if error.error_code not in _ABSENT:
                    raise
                raise ModelNotFoundError(self._not_found(client, model_uri, parts["name"])) from None

    def champion(self, name: str, alias: str) -> Version | None:
        """The version that an alias points to, or None."""
        try:
            return self.resolve(f"models:/{name}@{alias}")
        except ModelNotFoundError:
            return None

    def latest(self, name: str) -> Version:
        """The version with the highest number.

        Raises:
            ModelNotFoundError: The model has no version.
        """
        found = self.versions(name)
        if not found:
            raise ModelNotFoundError(f"No version of {name!r} at {self.uri}; `rddm train` adds one.")
        return found[-1]

    def versions(self, name: str) -> list[Version]:
        """Every version of a model, the oldest first; empty where there is none."""
        with self._session() as client:
            listed = client.search_model_versions(f"name='{name}'")
            found = [_version(client.get_model_version(name, item.version)) for item in listed]
            return sorted(found, key=lambda version: version.number)

    def set_alias(self, version: Version, alias: str) -> None:
        """Point an alias at a version."""
        with self._session() as client:
            client.set_registered_model_alias(version.name, alias, str(version.number))

    def set_tags(self, version: Version, tags: Mapping[str, str]) -> None:
        """Add facts to a version."""
        with self._session() as client:
            for key, value in tags.items():
                client.set_model_version_tag(version.name, str(version.number), key, value)

    def bundle(self, model_uri: str) -> Bundle:
        """Fetch and verify the bundle of a registered version, or open a bundle's folder.

        Raises:
            ModelNotFoundError: There is no such model.
            BundleError: What is stored there is no whole bundle, or is not the one that was registered.
            RegistryUnreachableError: MLflow does not answer.
        """
        if not model_uri.startswith("models:/"):
            if not Path(model_uri).is_dir():
                raise ModelNotFoundError(f"No bundle folder at {model_uri}; give a folder or models:/NAME@ALIAS.")
            return load_bundle(Path(model_uri))
        version = self.resolve(model_uri)
        with self._session(), tempfile.TemporaryDirectory(prefix="rddm-model-") as folder:
            import mlflow

            source = self._source(version)
            local = mlflow.artifacts.download_artifacts(artifact_uri=source, dst_path=folder, tracking_uri=self.uri)
            return _verified(load_bundle(_bundle_folder(Path(local))), version)

    def _source(self, version: Version) -> str:
        with self._session() as client:
            return str(client.get_model_version_download_uri(version.name, str(version.number)))

    def _not_found(self, client: MlflowClient, model_uri: str, name: str) -> str:
        from mlflow.exceptions import MlflowException

        try:
            aliases = sorted(client.get_registered_model(name).aliases)
        except MlflowException:
            names = sorted(model.name for model in client.search_registered_models())
            return f"{model_uri} does not exist at {self.uri}; registered models: {', '.join(names) or 'none'}."
        known = ", ".join(f"@{alias}" for alias in aliases) or "none; `rddm promote` sets one"
        return f"{model_uri} does not exist at {self.uri}; aliases of {name!r}: {known}."

    @contextmanager
    def _session(self) -> Iterator[MlflowClient]:
        """A client, with MLflow's connection failures turned into the error that callers know."""
        client = tracking.client(self.uri)
        import requests

        try:
            yield client
        except (requests.RequestException, ConnectionError) as error:
            raise RegistryUnreachableError(f"MLflow at {self.uri} stopped answering: {error}") from None


def load_bundle_at(registry_uri: str, model_uri: str) -> Bundle:
    """The bundle behind a model URI: an importable function of plain strings, for use inside Ray actors."""
    return ModelRegistry(registry_uri).bundle(model_uri)


def _signature() -> ModelSignature:
    """Batches of RGB images in [0, 1], of any height and width."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    images = Schema([TensorSpec(np.dtype(np.float32), (-1, 3, -1, -1))])
    return ModelSignature(inputs=images, outputs=images)


@contextmanager
def _active(uri: str, run_id: str) -> Iterator[None]:
    """Make a run MLflow's active one for the block; what was set before is set again."""
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)  # the registry follows
    loggers = [logging.getLogger(name) for name in ("mlflow.utils.environment", "mlflow.models.model")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with mlflow.start_run(run_id=run_id):
            yield
    finally:
        mlflow.set_tracking_uri(before)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _version(found: ModelVersion) -> Version:
    return Version(
        name=found.name,
        number=int(found.version),
        run_id=found.run_id or "",
        aliases=tuple(sorted(found.aliases)),
        tags=dict(found.tags),
    )


def _bundle_folder(model: Path) -> Path:
    found = sorted(path.parent for path in model.rglob("weights.safetensors"))
    if len(found) != 1:
        raise BundleError(
            f"The stored model holds {len(found)} bundles under artifacts/; expected one. Register it again."
        )
    return found[0]


def _verified(bundle: Bundle, version: Version) -> Bundle:
    registered = version.tags.get("weights_sha256")
    if registered is not None and registered != bundle.weights_sha256:
        raise BundleError(
            f"{version.uri}: the stored weights have SHA-256 {bundle.weights_sha256}, registered were {registered}. "
            "The artifact was changed after registration; do not use it."
        )
    return bundle
