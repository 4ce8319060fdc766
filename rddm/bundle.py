"""A model on disk: `config.json`, `weights.safetensors` and `card.json`. Nothing in it can run code."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load_file, save_file
from torch import nn

from rddm.config import AUTO, ModelConfig, build_network, build_restorer
from rddm.errors import BundleError, ConfigError
from rddm.nets import for_inference
from rddm.restorer import Restorer

SCHEMA_VERSION = 2
_CONFIG, _WEIGHTS, _CARD = "config.json", "weights.safetensors", "card.json"
_FILES = {_CONFIG, _WEIGHTS, _CARD}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Bundle:
    """A verified model.

    Attributes:
        config: What it is; the objective is settled.
        card: Where it comes from: schema version, hashes, and what the training said.
        net: The network, in evaluation mode.
    """

    config: ModelConfig
    card: Mapping[str, Any]
    net: nn.Module

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights' file, in hexadecimal."""
        return str(self.card["sha256"][_WEIGHTS])

    def restorer(self) -> Restorer:
        """What restores with it: the network made ready for inference."""
        return build_restorer(self.config, self.config.objective, for_inference(self.net))


def save_bundle(folder: Path, *, config: ModelConfig, net: nn.Module, card: Mapping[str, Any]) -> None:
    """Write a bundle whole or not at all.

    Args:
        folder: A path that does not exist yet.
        config: The model; its objective is not `auto` any more.
        net: The network that the config describes.
        card: Provenance, in JSON values.

    Raises:
        BundleError: The folder exists, or the objective is not settled.
    """
    if folder.exists():
        raise BundleError(f"{folder} exists; a bundle is never overwritten, choose another folder")
    if config.objective == AUTO:
        raise BundleError("the model's objective is 'auto'; a bundle holds the objective that was chosen")
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
        save_file(weights, staging / _WEIGHTS)
        (staging / _CONFIG).write_text(json.dumps(config.to_dict(), indent=2))
        hashes = {name: _sha256(staging / name) for name in (_CONFIG, _WEIGHTS)}
        whole = {**card, "schema_version": SCHEMA_VERSION, "sha256": hashes}
        (staging / _CARD).write_text(json.dumps(whole, indent=2))
        staging.chmod(0o755)
        os.rename(staging, folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def load_bundle(folder: Path) -> Bundle:
    """Read and verify a bundle.

    Raises:
        BundleError: A file is missing, damaged or not a bundle's, or the schema is of another version.
    """
    _check_files(folder)
    card = _read_json(folder / _CARD)
    if card.get("schema_version") != SCHEMA_VERSION:
        raise BundleError(
            f"{folder} has schema version {card.get('schema_version')!r}; this release reads {SCHEMA_VERSION}"
        )
    _check_hashes(folder, card)
    try:
        config = ModelConfig.from_dict(_read_json(folder / _CONFIG))
        net = build_network(config, config.objective)
        net.load_state_dict(load_file(folder / _WEIGHTS))
    except (ConfigError, RuntimeError, safetensors.SafetensorError) as error:
        raise BundleError(f"{folder}: config and weights do not fit: {' '.join(str(error).split())[:300]}") from None
    return Bundle(config=config, card=card, net=net.eval().requires_grad_(False))


def _check_files(folder: Path) -> None:
    if not folder.is_dir():
        raise BundleError(f"{folder} is no folder; expected a bundle: {', '.join(sorted(_FILES))}")
    found = {path.name for path in folder.iterdir()}
    if found != _FILES:
        missing, extra = sorted(_FILES - found), sorted(found - _FILES)
        raise BundleError(f"{folder} is no bundle: missing {missing or 'nothing'}, not expected {extra or 'nothing'}")


def _check_hashes(folder: Path, card: Mapping[str, Any]) -> None:
    recorded = card.get("sha256")
    for name in (_CONFIG, _WEIGHTS):
        expected = recorded.get(name) if isinstance(recorded, Mapping) else None
        found = _sha256(folder / name)
        if found != expected:
            raise BundleError(
                f"{folder / name} has SHA-256 {found}; the card says {expected}. It is damaged; fetch it again"
            )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} is not readable JSON: {error}") from None
    if not isinstance(values, dict):
        raise BundleError(f"{path} holds a {type(values).__name__}; expected an object")
    return values


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
