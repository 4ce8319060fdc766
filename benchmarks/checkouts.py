"""Another checkout of this project beside the one that runs, so that both can be measured in one process."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Load = Callable[[str], Any]
"""Name of a module of `rddm` -> the other checkout's."""


@contextmanager
def other_checkout(folder: Path) -> Iterator[Load]:
    """Import modules of `rddm` from another folder; what was imported before is there again at the end.

    Args:
        folder: The root of the other checkout.
    """
    ours = _taken_out()
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(str(folder))
        _taken_out()
        sys.modules.update(ours)


def _taken_out() -> dict[str, Any]:
    names = [name for name in sys.modules if name.split(".")[0] == "rddm"]
    return {name: sys.modules.pop(name) for name in names}
