"""What a conversion writes is seen when it is whole, and never replaces anything."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rddm.errors import ConversionError


def refuse_existing(output: Path) -> None:
    """Say at once that a name is taken, before any work is done.

    Raises:
        ConversionError: It is.
    """
    if output.exists():
        raise ConversionError(f"{output} exists; nothing is overwritten, choose another name")


@contextmanager
def staged(output: Path) -> Iterator[Path]:
    """A new path beside the output to write a file or a folder to; it gets its final name when the block ends well.

    Raises:
        ConversionError: The output exists.
    """
    refuse_existing(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        yield staging / output.name
        refuse_existing(output)
        os.rename(staging / output.name, output)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ConversionError: There is none.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConversionError(f"{path} is not readable JSON: {error}") from None
    if not isinstance(values, dict):
        raise ConversionError(f"{path} holds a {type(values).__name__}; expected an object")
    return values


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """A JSON object, in a new folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
