"""What a training run must remember, on disk: written whole or not at all, read without running code."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from rddm.errors import TrainingError

_STATE = "state.pt"
_MARK = "checkpoint.json"
_VERSION = 1


def save(folder: Path, state: Mapping[str, Any]) -> None:
    """Write tensors and plain values; the mark with the hash comes last.

    Args:
        folder: An existing folder.
        state: Nested mappings of tensors, numbers, strings and lists.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    data = buffer.getvalue()
    _write(folder / _STATE, data)
    mark = {"version": _VERSION, "sha256": hashlib.sha256(data).hexdigest(), "step": state.get("step")}
    _write(folder / _MARK, json.dumps(mark).encode())


def load(folder: Path) -> dict[str, Any]:
    """Read what `save` wrote.

    Raises:
        TrainingError: The checkpoint is not whole, is damaged, or is of another version.
    """
    try:
        mark = json.loads((folder / _MARK).read_bytes())
        data = (folder / _STATE).read_bytes()
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"Checkpoint {folder} is not whole ({error}); remove it to go on from the one before."
        ) from None
    if mark.get("version") != _VERSION:
        raise TrainingError(f"Checkpoint {folder} has version {mark.get('version')!r}; this release reads {_VERSION}.")
    if hashlib.sha256(data).hexdigest() != mark["sha256"]:
        raise TrainingError(f"Checkpoint {folder} is damaged: its SHA-256 is not the recorded one; remove it.")
    state: dict[str, Any] = torch.load(io.BytesIO(data), weights_only=True)
    return state


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
